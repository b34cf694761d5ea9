"""The core cannot tell a profile that went through Redis from one that stayed in memory."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

import models.decide
from config.topics import INPUT_NAMES
from models.brain import Brain
from models.chunk import Batch, merge, read_chunk
from models.decide import decide
from models.decisions import GoalExample, effect_id
from models.lane import LaneState
from models.offers.recs import Recs
from models.profile.codec import encode_profile
from models.profile.opened import Opened
from models.profile.state import Profile
from models.wire import Record
from support.goals import goal_scores
from support.lane import BROKER_MS, DAY_MS, HOUR_MS, MINUTE_MS, identify, ms, order, shipped, tick, track

START = ms("2010-03-01 06:00")
USERS = ["anna", "ben"]
ITEMS = ["22423", "85123A", "20725", "007"]
SHOWN = [{"product_id": item} for item in ITEMS[:3]]
RANKING = 32 * "b"
RECS = Recs.of(
    {item: (f"Item {item}", 250) for item in ITEMS},
    {"22423": [("20725", 2.0)], "85123A": [("007", 1.0), ("22423", 0.5)]},
    [("20725", 2.0), ("22423", 1.0)],
)
GOALS = goal_scores(Brain(shipped()), bias=-1.0, silence=-0.2, views_7d=0.3)
BRAIN = Brain(shipped()).with_models(Brain(shipped()).churn, RECS, GOALS)
# Whose conditions do not look at the churn score, which is renewed slice by slice.
UNSCORED = Brain(
    shipped().model_copy(
        update={"offers": tuple(offer for offer in shipped().offers if "churn_score" not in (offer.when or ""))}
    )
).with_models(BRAIN.churn, RECS, GOALS)


class Kept(Opened):
    """Profiles that are never unpacked: those that the last batch left in memory."""

    def __init__(self, held: dict[str, Profile], users: Iterable[str]) -> None:
        super().__init__((user, None) for user in users if user not in held)
        self._held = held
        for user in users:
            if user in held:
                self[user] = held[user]

    def __setitem__(self, user: str, profile: Profile | None) -> None:
        super().__setitem__(user, profile)
        if profile is not None:
            self._held[user] = profile


@dataclass
class Core:
    """The core over one lane; `stored`: every profile is packed and unpacked between two batches."""

    stored: bool
    brain: Brain = BRAIN
    state: LaneState = field(default_factory=lambda: LaneState(watermarks=[0] * len(INPUT_NAMES)))
    packed: dict[str, bytes] = field(default_factory=dict)
    held: dict[str, Profile] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    said: list[Any] = field(default_factory=list)

    def apply(self, batch: Batch) -> None:
        """One transaction, and those for what falls due."""
        watermark = min(
            max([self.state.watermarks[i], *(part.watermark for part in batch.parts if part.source_index == i)])
            for i in range(len(INPUT_NAMES))
        )
        self._step(batch, [user for user, at in sorted(self.due.items()) if at <= watermark])
        while fired := [user for user, at in sorted(self.due.items()) if at <= self.state.watermark]:
            self._step(Batch(0, 1, broker_ms=batch.broker_ms), fired)

    def _step(self, batch: Batch, fired: list[str]) -> None:
        users = dict.fromkeys([event.user for event in batch.inputs] + fired)
        packed = {user: self.packed.get(user) for user in users}
        out = decide(
            Opened(packed.items()) if self.stored else Kept(self.held, users), fired, batch, self.state, self.brain
        )
        self.said.append((out.effects, out.counters, out.offers, out.due))
        self.packed |= out.packed
        for user, at in out.due.items():
            self.due.pop(user, None)
            if at:
                self.due[user] = at

    def result(self) -> dict[str, bytes]:
        """Every profile as it would be stored."""
        return self.packed if self.stored else {user: encode_profile(one) for user, one in self.held.items()}


@st.composite
def a_batch(draw: st.DrawFn) -> list[tuple[str, bytes]]:
    """A few events around one day of the year, some late by weeks, and the end of that day."""
    day = START + draw(st.integers(0, 300)) * DAY_MS
    found = []
    for _ in range(draw(st.integers(0, 5))):
        user, item = draw(st.sampled_from(USERS)), draw(st.sampled_from(ITEMS))
        at = day + draw(st.integers(0, 23 * 60)) * MINUTE_MS - draw(st.sampled_from([0, 0, 0, 40])) * DAY_MS
        sent = effect_id("order-thanks", "1", user, f"Order Completed-{user}-{at}")
        feedback = {"message_id": sent, "campaign_id": "order-thanks"}
        found.append(
            draw(
                st.sampled_from(
                    [
                        ("clickstream", track("Product Viewed", user, at, product_id=item, category=f"c{item}")),
                        ("clickstream", track("Product Added", user, at, product_id=item, price=2.5)),
                        ("purchases", order(user, at, 12.5, products=[{"product_id": item, "price": 12.5}])),
                        ("purchases", track("Order Refunded", user, at, revenue=3.0)),
                        ("profiles", identify(user, at, email="a@x.test", country="France", consent={"email": True})),
                        ("feedback", track("Email Delivered", user, at, **feedback)),
                        ("feedback", track("Email Link Clicked", user, at, **feedback)),
                        ("clickstream", track("Signed Up", user, at)),
                        ("clickstream", track("Product List Viewed", user, at, list_id=RANKING, products=SHOWN)),
                        ("clickstream", track("Product Clicked", user, at, product_id=item, list_id=RANKING)),
                    ]
                )
            )
        )
    return [*found, *((name, tick(day + 24 * HOUR_MS)) for name in INPUT_NAMES)]


def batches(history: list[list[tuple[str, bytes]]]) -> list[Batch]:
    """Chunks of the four inputs, merged; broker time passes with the days."""
    ends, found = dict.fromkeys(INPUT_NAMES, 0), []
    for number, records in enumerate(history):
        parts = []
        for index, name in enumerate(INPUT_NAMES):
            values = [value for topic, value in records if topic == name]
            start, ends[name] = ends[name], ends[name] + len(values)
            log = [Record(start + i, BROKER_MS + number * DAY_MS, b"", value) for i, value in enumerate(values)]
            chunk = {"topic": name, "topic_index": index, "lane": 0, "lanes": 1, "start": start, "end": ends[name]}
            parts.append(read_chunk(log, **chunk, future_limit_ms=0))  # type: ignore[arg-type]
        found.append(merge(parts))
    return found


def plain(effect: Any) -> bytes:
    """An effect; without the score of an example that begins and ends in one batch, which comes between slices."""
    if isinstance(effect, GoalExample):
        effect = msgspec.structs.replace(effect, p_e4=-1)
    return msgspec.json.encode(effect)


HISTORIES = st.lists(a_batch(), min_size=1, max_size=12).map(lambda found: sorted(found, key=lambda one: one[-1][1]))


@settings(max_examples=150)
@given(HISTORIES, st.sampled_from([1, 2, 3]))
def test_how_a_batch_is_cut_into_slices_changes_nothing(history: list[list[tuple[str, bytes]]], at_a_time: int) -> None:
    whole, cut = Core(stored=True, brain=UNSCORED), Core(stored=True, brain=UNSCORED)
    for batch in batches(history):
        whole.apply(batch)
    with mock.patch.object(models.decide, "SLICE", at_a_time):
        for batch in batches(history):
            cut.apply(batch)
    for one, two in zip(whole.said, cut.said, strict=True):
        (effects, *others), (effects_cut, *others_cut) = one, two
        assert sorted(map(plain, effects)) == sorted(map(plain, effects_cut))
        assert msgspec.json.encode(others, order="sorted") == msgspec.json.encode(others_cut, order="sorted")
    assert whole.result() == cut.result()


@settings(max_examples=120, deadline=None)
@given(HISTORIES, st.sampled_from([1, 2, 128]))
def test_storing_a_profile_between_two_batches_changes_nothing(
    history: list[list[tuple[str, bytes]]], at_a_time: int
) -> None:
    through_redis, in_memory = Core(stored=True), Core(stored=False)
    with mock.patch.object(models.decide, "SLICE", at_a_time):
        for one, two in zip(batches(history), batches(history), strict=True):
            through_redis.apply(one)
            in_memory.apply(two)
    encode = msgspec.json.encode
    for one, two in zip(through_redis.said, in_memory.said, strict=True):
        assert encode(one) == encode(two)
    assert through_redis.result() == in_memory.result()
