"""What comes of an offer that a bandit put first: kept with the user until its window ends, then told to training.

A reward that was told at once would come before the failures of its time, and every new offer would look too good.
Only users whose window is open carry anything: it lies in the timer that ends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from config.definitions import Offer
from models.decisions import Choice, OfferExample, effect_id
from models.offers.bandit import context_of, taken
from models.offers.rank import draw
from models.profile.state import MILLION, Profile, Timer
from models.wire import Input

if TYPE_CHECKING:
    from models.decide import Turn

KIND: Final = "offer"
OPEN: Final = 3  # windows of one user at a time; of further decisions nothing is learned
VIEWED_EVENT, CLICKED_EVENT = "Promotion Viewed", "Promotion Clicked"
PROMOTIONS: Final = frozenset({VIEWED_EVENT, CLICKED_EVENT})
_VIEWED, _CLICKED, _ORDERED = 1, 2, 4
_FIELDS = {_VIEWED: "viewed", _CLICKED: "clicked", _ORDERED: "ordered"}
_FLAGS = {VIEWED_EVENT: _VIEWED, CLICKED_EVENT: _CLICKED}


class Held(msgspec.Struct, array_like=True, gc=False):
    """What is kept of a choice: probability in millionths, what it was among, context, and what came of it (bits)."""

    share: int
    among: list[str]
    x: list[int]
    reward: str
    flags: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Held).decode


def rule_of(offer: str) -> str:
    """Name of an offer among timers and counters; no campaign can have it."""
    return f"offer:{offer}"


class Chosen:
    """Chooses the offer that comes first, once, and remembers how."""

    __slots__ = ("_at", "_occurrence", "_profile", "_turn", "_user", "choice")

    def __init__(self, turn: Turn, user: str, profile: Profile, at: int, occurrence: str) -> None:
        self._turn, self._user, self._profile, self._at = turn, user, profile, at
        self._occurrence = occurrence
        self.choice: Choice | None = None

    def __call__(self, offers: Sequence[Offer]) -> Offer:
        """One of the offers, by a hash of user and occurrence."""
        turn, policy = self._turn, self._turn.brain.definitions.policy.offers
        names, x = [offer.id for offer in offers], context_of(self._profile, self._at)
        shares = turn.brain.bandit.shares(policy, names, x)
        place = taken(shares, draw("offer", self._user, self._occurrence))
        self.choice = Choice(
            offer=names[place],
            propensity=shares[place] / MILLION,
            among={name: share / MILLION for name, share in zip(names, shares, strict=True)},
            snapshot=turn.brain.bandit.version,
        )
        turn.out.count(rule_of(names[place]), "first")
        due = self._at + policy.reward_within_ms
        opened = sum(timer.kind == KIND for timer in self._profile.timers)
        if opened < OPEN and due > turn.watermark_before:
            held = _encode(Held(shares[place], names, x, policy.reward))
            timer = Timer(due, KIND, rule_of(names[place]), self._at, self._occurrence, held)
            self._profile.timers.append(timer)
        return offers[place]


def on_promotion(turn: Turn, profile: Profile, event: Input) -> None:
    """The site tells that an offer was seen or clicked: it counts for the newest time that it was given."""
    if not profile.timers:
        return
    told = event.document()["properties"].get("promotion_id")
    rule = rule_of(told) if isinstance(told, str) else ""
    _came(turn, [timer for timer in profile.timers if timer.rule == rule], event, _FLAGS[event.name])


def on_order(turn: Turn, profile: Profile, event: Input) -> None:
    """An order counts for the offer that was given last before it."""
    _came(turn, profile.timers, event, _ORDERED)


def _came(turn: Turn, timers: Iterable[Timer], event: Input, flag: int) -> None:
    standing = [
        timer
        for timer in timers
        if timer.kind == KIND and timer.set_at <= event.at < timer.due and timer.occurrence != event.message_id
    ]
    if not standing:
        return
    timer = max(standing, key=lambda one: (one.set_at, one.occurrence))
    held = _decode(timer.held)
    if not held.flags & flag:
        held.flags |= flag
        timer.held = _encode(held)
        turn.out.count(timer.rule, _FIELDS[flag])


def on_timer(turn: Turn, user: str, timer: Timer) -> None:
    """The window of an offer is over: what came of it is an example."""
    held = _decode(timer.held)
    offer = timer.rule.partition(":")[2]
    wanted = _CLICKED if held.reward == "click" else _ORDERED
    turn.out.effects.append(
        OfferExample(
            id=effect_id(timer.rule, "example", user, timer.occurrence),
            user=user,
            at=timer.set_at,
            known_at=timer.due,
            offer=offer,
            among=held.among,
            propensity=held.share / MILLION,
            x=held.x,
            reward_by=held.reward,
            within_ms=timer.due - timer.set_at,
            reward=int(bool(held.flags & wanted)),
            viewed=bool(held.flags & _VIEWED),
            clicked=bool(held.flags & _CLICKED),
            ordered=bool(held.flags & _ORDERED),
        )
    )
