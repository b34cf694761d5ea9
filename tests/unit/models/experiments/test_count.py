"""Running counters against an exact recount in plain Python."""

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.brain import Brain
from models.experiments.fields import limbs, whole
from models.experiments.tally import ONCE, tally
from support.lane import DAY_MS, HOUR_MS, LaneRig, definitions, identify, ms, order, track

START = ms("2010-03-01 10:00")
VARIANTS = [{"id": "a", "weight": 0.5}, {"id": "b", "weight": 0.5}]
ORDERED = {"id": "ordered", "event": "Order Completed", "within": "10d"}
EXPERIMENT: dict[str, Any] = {
    "id": "test",
    "variants": VARIANTS,
    "coverage": 0.8,
    "expose_on": {"event": "Product Viewed"},
    "metrics": [
        ORDERED,
        {"id": "revenue", "event": "Order Completed", "within": "10d", "kind": "revenue", "covariate": "money"},
        {"id": "capped", "event": "Order Completed", "within": "10d", "kind": "revenue", "cap": 120},
        {"id": "points", "event": "Game Won", "within": "5d", "kind": "mean", "value": "points"},
        {"id": "games", "event": "Game Won", "within": "5d", "kind": "count"},
        {"id": "mail", "event": "Email Opened", "within": "5d", "campaign": "welcome"},
        {
            "id": "per-game",
            "event": "Order Completed",
            "value": "revenue",
            "denominator_event": "Game Won",
            "within": "10d",
            "kind": "ratio",
            "covariate": "orders",
        },
    ],
    "dimensions": [{"id": "country", "values": ["UK", "FR"]}],
    "refund_window": "3d",
    "lateness": "40d",
}
RULES = definitions(experiments=[EXPERIMENT])
BRAIN = Brain(RULES)
TEST = RULES.experiments[0]
USERS = [f"user-{i}" for i in range(4)]
NAMES = (
    *("Product Viewed", "Product Viewed", "Order Completed", "Order Completed", "Order Refunded", "Order Cancelled"),
    *("Game Won", "Email Opened", "Other", "identify", "Experiment Viewed"),
)

STEPS = st.lists(
    st.tuples(
        st.sampled_from(USERS),
        st.sampled_from(NAMES),
        st.integers(0, 15 * 24).map(lambda hours: START + hours * HOUR_MS),
        st.integers(-5_000, 30_000),
        st.sampled_from(["welcome", "win-back", None]),
        st.sampled_from(range(40)),
        st.sampled_from(["o1", "o2", "o3", "o4"]),
    ),
    max_size=30,
)
_WHOLE = 0
Step = tuple[str, str, int, int, str | None, int, str]


class Person:
    """One user in the recount."""

    def __init__(self) -> None:
        self.arrived: list[Step] = []
        self.exposed: tuple[str, int] | None = None
        self.before: tuple[int, int] | None = None
        self.country = self.frozen = ""
        self.twice = False
        self.money = self.orders = self.last = 0
        self.after: list[Step] = []

    def take(self, user: str, step: Step) -> None:
        """One event that was not seen before."""
        _, name, at, minor, campaign, _, _ = step
        known = (self.money, self.orders) if self.arrived and self.last < at else None
        self.arrived.append(step)
        if name != "Email Opened":  # which does not say that the user was there
            self.last = max(self.last, at)
        if name == "identify":
            self.country = ["UK", "FR", "elsewhere"][minor % 3]
        elif name == "Order Completed":
            self.money, self.orders = self.money + minor, self.orders + 1
        elif name in {"Order Refunded", "Order Cancelled"}:
            self.money -= abs(minor)
        if self.exposed is not None:
            self.after.append(step)
            if name == "Experiment Viewed":
                self.twice |= self.exposed[0] != ("a" if campaign else "b")
        elif name == "Product Viewed" and (variant := BRAIN.assign(TEST, user)) is not None:
            self.exposed, self.before, self.frozen = (variant, at), known, self.country

    def brought(self) -> dict[str, tuple[int, ...]]:
        """Outcome, covariate and missing indicator of each metric."""
        assert self.exposed is not None
        since = self.exposed[1]
        # An order counts by its time even if it came before the exposure; other events count once the user is exposed.
        orders = []
        for number, (_, name, at, minor, _, _, ident) in enumerate(self.arrived):
            if name != "Order Completed" or not 0 < at - since <= 10 * DAY_MS:
                continue
            first = next(n for n, one in enumerate(self.arrived) if one[1] == "Order Completed" and one[6] == ident)
            back = [
                _WHOLE if kind == "Order Cancelled" or not amount else abs(amount)
                for _, kind, then, amount, _, _, other in (self.arrived if number == first else ())
                if kind in {"Order Refunded", "Order Cancelled"} and other == ident and then - at <= 3 * DAY_MS
            ]
            if _WHOLE not in back and not (minor > 0 and sum(back) >= minor):
                orders.append(minor - sum(back) if minor > 0 else minor)
        games = [s for s in self.after if s[1] == "Game Won" and s[2] - since >= 0]
        near = [s[3] for s in games if s[2] - since <= 5 * DAY_MS]
        mails = [
            s for s in self.after if s[1] == "Email Opened" and s[4] == "welcome" and 0 <= s[2] - since <= 5 * DAY_MS
        ]
        money, bought = self.before or (0, 0)
        missing = int(self.before is None)
        total = sum(orders)
        return {
            "ordered": (int(bool(orders)),),
            "revenue": (total, money, missing),
            "capped": (max(-12_000, min(12_000, total)),),
            "points": (sum(near),),
            "games": (len(near),),
            "mail": (int(bool(mails)),),
            "per-game": (total, sum(s[2] - since <= 10 * DAY_MS for s in games), bought, missing),
        }


def people(steps: list[Step]) -> list[Person]:
    seen: set[tuple[str, int]] = set()
    found: dict[str, Person] = defaultdict(Person)
    for step in steps:
        if (step[0], step[5]) not in seen:
            seen.add((step[0], step[5]))
            found[step[0]].take(step[0], step)
    return [one for one in found.values() if one.exposed is not None]


def summed(chosen: list[Person]) -> dict[Any, Any]:
    """Users, sums and sums of products, by variant and metric."""
    found: dict[Any, Any] = {}
    for variant in "ab":
        mine = [one for one in chosen if one.exposed is not None and one.exposed[0] == variant]
        found[variant] = len(mine)
        for metric in TEST.metrics:
            rows = [one.brought()[metric.id] for one in mine]
            size = metric.values + (2 if metric.covariate else 0)
            pairs = [(i, j) for i in range(size) for j in range(i, size)]
            found[variant, metric.id] = (
                tuple(sum(row[i] for row in rows) for i in range(size)),
                tuple(sum(row[i] * row[j] for row in rows) for i, j in pairs),
            )
    return found


def told(rig: LaneRig, **chosen: Any) -> dict[Any, Any]:
    """The same from the counters."""
    found: dict[Any, Any] = {}
    for variant, arm in tally(rig.counters("exp:test"), TEST, **chosen).arms.items():
        found[variant] = arm.exposed
        for metric, moments in arm.metrics.items():
            found[variant, metric] = (moments.sums, moments.products)
            assert moments.n == arm.exposed
    return found


def event(step: Step) -> bytes:
    user, name, at, minor, campaign, message, ident = step
    if name == "identify":
        return identify(user, at, f"m{message}", country=["UK", "FR", "elsewhere"][minor % 3])
    properties: dict[str, Any] = {"revenue": minor / 100, "points": minor / 100, "order_id": ident}
    if name == "Experiment Viewed":
        properties |= {"experiment_id": "test", "variation_id": "a" if campaign else 1}
    if campaign is not None:
        properties["campaign_id"] = campaign
    return track(name, user, at, f"m{message}", **properties)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 12))
def test_counters_equal_the_recount(steps: list[Step], chunk: int) -> None:
    """Whatever the order of event times, however it is cut into chunks, with refunds, duplicates and late events."""
    rig = LaneRig(BRAIN)
    heard: list[Step] = []
    for first in range(0, len(steps), chunk):
        part = steps[first : first + chunk]
        rig.feed("clickstream", *(event(step) for step in part))
        heard += part
    everybody = people(heard)
    assert told(rig) == summed(everybody)
    assert told(rig, segment=ONCE) == summed([one for one in everybody if not one.twice])
    for country in ("UK", "FR"):
        assert told(rig, segment=f"country={country}") == summed([one for one in everybody if one.frozen == country])
    days = {one.exposed[1] // DAY_MS for one in everybody if one.exposed}
    assert set(tally(rig.counters("exp:test"), TEST).days) == days
    for day in days:
        assert told(rig, day=day) == summed([o for o in everybody if o.exposed and o.exposed[1] // DAY_MS == day])


def exposed_user() -> str:
    return next(user for user in USERS if BRAIN.assign(TEST, user) is not None)


def counts_of(rig: LaneRig, metric: str, **chosen: Any) -> tuple[int | float, ...]:
    arms = tally(rig.counters("exp:test"), rig.brain.definitions.experiments[0], **chosen).arms
    return tuple(arm.metrics[metric].sums[0] for arm in arms.values())


def test_an_exposure_is_told_once() -> None:
    rig, user = LaneRig(BRAIN), exposed_user()
    first = rig.feed("clickstream", track("Product Viewed", user, START)).on("exposures")
    again = rig.feed("clickstream", track("Product Viewed", user, START + 1)).on("exposures")
    assert [(one["user"], one["variant"], one["at"]) for one in first] == [(user, BRAIN.assign(TEST, user), START)]
    assert again == []


def test_users_outside_take_no_part() -> None:
    outside = next(f"x{i}" for i in range(100) if BRAIN.assign(TEST, f"x{i}") is None)
    rig = LaneRig(BRAIN)
    rig.feed("clickstream", track("Product Viewed", outside, START), order(outside, START + 1))
    assert rig.counters("exp:test") == {}


@pytest.mark.parametrize("value", ["nan", "inf", [], {}, True, None, 10**400, "many"])
def test_a_value_that_is_no_amount_counts_nothing(value: Any) -> None:
    rig, user = LaneRig(BRAIN), exposed_user()
    rig.feed("clickstream", track("Product Viewed", user, START))
    rig.feed("clickstream", track("Game Won", user, START + 1, points=value))
    assert sum(counts_of(rig, "points")) in {0, 100}
    assert rig.state.rejected == 0


@given(st.lists(st.integers(-(10**24), 10**24), max_size=20))
def test_numbers_of_any_size_lie_in_limbs(changes: list[int]) -> None:
    held: dict[str, int] = defaultdict(int)
    for change in changes:
        for name, by in limbs("x", change):
            held[name] += by
            # The largest change of a counter is 10^24 (a square): 2^35 of them fit into 64 bits.
            assert abs(by) < 2**28
    assert whole(held, "x") == sum(changes)


def test_no_increment_leaves_64_bits_and_one_user_with_a_million_millions_is_counted() -> None:
    """Redis refuses such a one in the middle of a transaction, with the rest of it done."""
    rig, user = LaneRig(BRAIN), exposed_user()
    rig.feed("clickstream", track("Product Viewed", user, START))
    total = 0
    for number in range(12):
        rig.feed("purchases", order(user, START + 1 + number, 1e9, order_id=f"o{number}"))
        total += 10**11
    variant = BRAIN.assign(TEST, user)
    assert variant is not None
    moments = tally(rig.counters("exp:test"), TEST).arms[variant].metrics
    assert moments["revenue"].sums[0] == min(total, 10**12)
    assert moments["revenue"].products[0] == min(total, 10**12) ** 2
    assert moments["capped"].sums[0] == 12_000
    for done in rig.done:
        assert all(abs(by) < 2**40 for fields in done.change.counters.values() for by in fields.values())


def test_an_event_without_properties_is_no_fault() -> None:
    rig, user = LaneRig(BRAIN), exposed_user()
    rig.feed("clickstream", track("Product Viewed", user, START))
    bare = b'{"type":"track","event":"Game Won","userId":"%s","properties":null,"timestamp":%d}' % (
        user.encode(),
        START,
    )
    rig.feed("clickstream", bare)
    assert (rig.state.applied, rig.state.rejected) == (2, 0)


def test_a_variant_that_was_taken_out_counts_no_more_and_stops_nothing() -> None:
    """The profile knows it by its code only."""
    rig = LaneRig(BRAIN)
    user = next(user for user in USERS if BRAIN.assign(TEST, user) == "a")
    rig.feed("clickstream", track("Product Viewed", user, START))
    before = rig.counters("exp:test")
    variants = [{"id": "b", "weight": 0.5}, {"id": "c", "weight": 0.5}]
    rig.brain = Brain(definitions(experiments=[EXPERIMENT | {"variants": variants}]))
    rig.feed("purchases", order(user, START + DAY_MS))
    rig.feed("clickstream", track("Experiment Viewed", user, START + DAY_MS, experiment_id="test", variation_id="c"))
    assert rig.counters("exp:test") == before
    assert rig.profile(user).orders == 1
