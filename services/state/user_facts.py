"""What is expected of a user and which group the user is in, told to whoever asks; and the groups themselves."""

from __future__ import annotations

import threading
from dataclasses import replace

import msgspec
import redis

from models import facts
from models.facts import Facts
from models.learners.portraits import PortraitsPayload
from models.learners.segment_centres import SegmentsPayload, typical
from models.profile.state import Profile
from services.state.people import find_person
from services.state.snapshots import SnapshotReader

DAY_MS = 86_400_000
NEVER_ORDERED = "no order yet: there is nothing to tell it from"
BY_PACE = "not learned yet: by the customer's own recent pace, order value and mean gap"


class UserFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Answer about a user (after a merge: by the id that is left) as of `at` (event time, ms).

    Parameters
    ----------
    expected_value : money expected within `horizon_days`, major units. expected_next_order_days : days until the next
        order, if one comes; None: nothing tells it. next_order_at : the same as a time, ms.
    probability, value_if_ordering : whether an order comes within the horizon, and the money then; None: not learned.
    own_pace : money within the horizon at the customer's own recent pace. own_share : its weight in `expected_value`.
    learned : False while the customer's own pace is all there is; `basis` says so in words.
    segment, portrait : empty: there are none yet (a portrait also where the user told no attribute).
    snapshots : version of each model.
    """

    user: str
    at: int
    expected_value: float
    horizon_days: int
    expected_next_order_days: float | None
    next_order_at: int | None
    probability: float | None
    value_if_ordering: float | None
    own_pace: float
    own_share: float
    learned: bool
    basis: str
    segment: str
    portrait: str
    snapshots: dict[str, int]


class Group(msgspec.Struct, frozen=True):
    """One segment: its share of the customers, and what a typical one is like."""

    name: str
    share: float
    recency_days: float
    purchase_days: float
    money: float


class FactsReader:
    """Answers; synchronous, from any thread.

    Parameters
    ----------
    client : of Redis. lanes : how many there are.

    Notes
    -----
    Computed as the question is asked, with the newest snapshots, by the code that conditions are answered with.
    """

    def __init__(self, client: redis.Redis, lanes: int) -> None:
        self._client, self._lanes = client, lanes
        self._snapshots = SnapshotReader(client)
        self._facts = Facts()
        self._lock = threading.Lock()

    def ask(self, user: str) -> UserFacts | None:
        """Facts of a user; None if nobody knows the user.

        Raises
        ------
        TransientError
            Redis is away.
        IncompatibleSnapshotError
            The newest snapshot is of another version of the code.
        """
        found = find_person(self._client, self._lanes, user)
        return None if found is None else told(found.user, found.profile, found.at_ms, self.newest())

    def newest(self) -> Facts:
        """The newest snapshots."""
        with self._lock:
            latest = self._snapshots.latest(facts.NAMES)
            for name, version in self._facts.versions.items():
                if latest.get(name, 0) != version:
                    wanted = latest.get(name, 0)
                    read = facts.READERS[name](self._snapshots.load(name, wanted)) if wanted else getattr(Facts(), name)
                    self._facts = replace(self._facts, **{name: read})
            return self._facts


def told(user: str, profile: Profile, at_ms: int, known: Facts) -> UserFacts:
    """Facts of a user as of `at_ms`."""
    expected, value = known.expected(profile, at_ms), known.value
    days = expected.days if expected.days >= 0 else None
    learned = value.learned and bool(profile.orders)
    if not profile.orders:
        basis = NEVER_ORDERED
    elif value.payload is None or not learned:
        basis = BY_PACE
    else:
        basis = (
            f"learned from {value.payload.examples:,} customers' known outcomes, {value.payload.buyers:,} with orders"
        )
    return UserFacts(
        user=user,
        at=at_ms,
        expected_value=expected.money,
        horizon_days=value.horizon_days,
        expected_next_order_days=days,
        next_order_at=None if days is None else at_ms + int(days * DAY_MS),
        probability=expected.returns,
        value_if_ordering=expected.if_returns,
        own_pace=expected.own,
        own_share=round(value.payload.own_share, 3) if learned and value.payload else 1.0,
        learned=learned,
        basis=basis,
        segment=known.segment(profile, at_ms),
        portrait=known.portraits.portrait_of(profile.attributes),
        snapshots=known.versions,
    )


def groups_of(payload: SegmentsPayload | None) -> list[Group]:
    """Segments by behaviour, those with most customers first."""
    if payload is None:
        return []
    found = []
    for name, share, centre in zip(payload.names, payload.shares, payload.centres, strict=True):
        found.append(Group(name, round(share, 4), *typical(centre)))
    return sorted(found, key=lambda one: (-one.share, one.name))


def portraits_of(payload: PortraitsPayload | None) -> list[tuple[str, float]]:
    """Portraits and their shares, the largest first."""
    if payload is None:
        return []
    return sorted(zip(payload.names, payload.shares, strict=True), key=lambda pair: (-pair[1], pair[0]))
