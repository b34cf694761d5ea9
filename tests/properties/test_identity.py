"""Merging over random histories: the algebra of profiles, counters against a recount, and nothing lost on the way."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from models.brain import Brain
from models.experiments.count import contribute
from models.experiments.fields import WEIGHTS, whole
from models.experiments.tally import tally
from models.experiments.trial import UNCOUNTED
from models.outcome import Outcome
from models.profile.codec import decode_profile, encode_profile
from models.profile.merge import merge
from models.profile.state import Profile, fields_of
from support.identities import Lanes, alias
from support.lane import DAY_MS, HOUR_MS, LaneRig, definitions, identify, ms, order, shipped, tick, track

START = ms("2010-03-01 06:00")
LANES = 3
USERS = ("anna", "ben", "cat", "dan")
ARMS = ("a", "b", "c")
WITHIN_DAYS = 3
EXPERIMENT: dict[str, Any] = {
    "id": "test",
    "variants": [{"id": "a", "weight": 0.4}, {"id": "b", "weight": 0.4}, {"id": "c", "weight": 0.2}],
    "expose_on": {"event": "Product Viewed"},
    "metrics": [
        {"id": "ordered", "event": "Order Completed", "within": f"{WITHIN_DAYS}d"},
        {
            "id": "revenue",
            "event": "Order Completed",
            "within": f"{WITHIN_DAYS}d",
            "kind": "revenue",
            "cap": 90,
            "covariate": "events",
        },
        {"id": "games", "event": "Game Won", "within": "2d", "kind": "count"},
    ],
    "dimensions": [{"id": "country", "values": ["UK", "FR"]}],
    "refund_window": "20d",
    "lateness": "40d",
}
RULES = definitions(experiments=[EXPERIMENT])
BRAIN = Brain(RULES)
SHIPPED = Brain(shipped())
(TEST,) = RULES.experiments
TRIAL = BRAIN.trials["test"]

# Hours of a minute of their own each: two events of one moment would be told apart by nothing.
AN_EVENT = st.tuples(
    st.sampled_from(USERS), st.sampled_from(["view", "view", "order", "order", "game", "who"]), st.integers(0, 240)
)
AN_ALIAS = st.tuples(st.sampled_from(USERS), st.sampled_from(USERS)).map(lambda pair: (pair[0], "alias", pair[1]))
Step = tuple[str, str, Any]


def a_record(user: str, kind: str, at: int, mid: str) -> tuple[str, bytes]:
    price = at // HOUR_MS % 40 + 1.0
    if kind == "order":
        return "purchases", order(user, at, price, mid)
    if kind == "who":
        country = ("UK", "FR", "IT")[at // HOUR_MS % 3]
        return "profiles", identify(user, at, mid, country=country, consent={"email": at % 2 == 0, country: True})
    name = "Game Won" if kind == "game" else "Product Viewed"
    return "clickstream", track(name, user, at, mid, product_id=f"p{at % 9}", category=f"c{at % 4}")


# ------------------------------------------------------------------ profiles

HISTORIES = st.lists(st.tuples(st.sampled_from(["view", "order", "game", "who"]), st.integers(0, 2_000)), max_size=12)


def a_profile(user: str, history: Sequence[tuple[str, int]], silent_days: int) -> Profile:
    """What the core makes of a history, and of a silence after it."""
    rig = LaneRig(SHIPPED)
    for number, (kind, hour) in enumerate(sorted(history, key=lambda one: one[1])):
        topic, value = a_record(user, kind, START + hour * HOUR_MS + len(user) + number, f"{user}-{number}")
        rig.feed(topic, value)
    if silent_days:
        for topic in rig.logs:
            rig.feed(topic, tick(START + 2_000 * HOUR_MS + silent_days * DAY_MS))
    return rig.profile(user) if user in rig.memory.profiles else Profile()


PROFILES = [st.builds(a_profile, st.just(user), HISTORIES, st.sampled_from([0, 0, 50])) for user in USERS[:3]]
# Here alone it matters who is merged into whom: see the module.
OF_THE_TARGET = {"attributes", "settled", "indexed_due_ms", "samples"}
# Rounded, or cut to a length, or a best guess of what two profiles cannot know together.
ABOUT = {
    *("decayed", "recent_e4", "categories", "purchase_days", "sessions", "session_start", "session_events"),
    *("recent", "bought", "cart"),
}


def plain(profile: Profile, without: set[str]) -> dict[str, Any]:
    found = fields_of(decode_profile(encode_profile(profile)))
    for name in ("seen", "seen_before"):
        found[name] = {found[name][i : i + 8] for i in range(0, len(found[name]), 8)}
    found["timers"] = {repr(timer) for timer in found["timers"]}
    return {name: value for name, value in found.items() if name not in without}


@settings(max_examples=60, deadline=None)
@given(*PROFILES[:2])
def test_merging_is_commutative(one: Profile, other: Profile) -> None:
    before = encode_profile(one), encode_profile(other)
    assert plain(merge(one, other), OF_THE_TARGET) == plain(merge(other, one), OF_THE_TARGET)
    assert (encode_profile(one), encode_profile(other)) == before, "merging changes neither"


@settings(max_examples=60, deadline=None)
@given(*PROFILES)
def test_merging_is_associative(one: Profile, two: Profile, three: Profile) -> None:
    without = ABOUT | {"samples"}
    assert plain(merge(merge(one, two), three), without) == plain(merge(one, merge(two, three)), without)


@settings(max_examples=60, deadline=None)
@given(PROFILES[0])
def test_nobody_is_the_neutral_element(one: Profile) -> None:
    assert plain(merge(one, Profile()), set()) == plain(one, set())
    assert plain(merge(Profile(), one), OF_THE_TARGET) == plain(one, OF_THE_TARGET)


@settings(max_examples=60, deadline=None)
@given(*PROFILES[:2])
def test_a_merged_profile_is_one_that_could_be(one: Profile, other: Profile) -> None:
    both = merge(one, other)
    assert both.events == one.events + other.events
    assert max(one.purchase_days, other.purchase_days) <= both.purchase_days <= max(both.orders, 0)
    if both.orders:
        assert both.purchase_days <= both.last_order_ms // DAY_MS - both.first_order // 86_400 + 1
        assert both.recent_purchases >= 0
    assert max(one.sessions, other.sessions) <= both.sessions <= one.sessions + other.sessions
    for half in (one, other):
        for channel, granted in half.consent.items():
            assert granted or not both.consent[channel], "a refusal stays"
    assert [sample.at for sample in both.samples] == sorted({sample.at for sample in both.samples})


# ------------------------------------------------------------------ counters


def brought(lanes: Lanes) -> dict[str, int]:
    """What the counters must be, by the profiles that are left."""
    out = Outcome()
    for rig in lanes.rigs:
        for user in rig.memory.profiles:
            found = lanes.find(user)
            exposure = found.exposures.get(TRIAL.code) if isinstance(found, Profile) else None
            if exposure is not None and not exposure.flags & UNCOUNTED:
                contribute(out, TRIAL, exposure)
                out.count(TRIAL.key, WEIGHTS + TRIAL.weights)
    out.close()
    return numbers(out.counters.get(TRIAL.key, {}))


def numbers(counts: dict[str, int]) -> dict[str, int]:
    """Counters with their limbs put together: one number may lie in them in several ways."""
    found = {name: whole(counts, name) for name in {name.partition("^")[0] for name in counts}}
    return {name: value for name, value in found.items() if value}


def told(lanes: Lanes, steps: Sequence[Step], settles: Any) -> list[tuple[Step, str, int]]:
    """Feed the steps in the order of their time; returns them with the id that each was about."""
    # An event's hour orders the steps; an alias happens where it stands among the others.
    hour, timed = 0, []
    for number, step in enumerate(steps):
        hour = max(hour, step[2]) if step[1] != "alias" else hour
        timed.append((step, START + hour * HOUR_MS + number))
    found = []
    for number, (step, at) in enumerate(timed):
        user, kind, other = step
        if settles():
            lanes.settle()
        found.append((step, lanes.who(user) if not lanes.waiting() else user, at))
        if kind == "alias":
            lanes.feed("profiles", other, alias(user, other, at, f"m{number}"))
        else:
            topic, value = a_record(user, kind, at, f"m{number}")
            lanes.feed(topic, user, value)
    lanes.settle()
    return found


@settings(max_examples=120, deadline=None)
@given(st.lists(AN_EVENT | AN_EVENT | AN_ALIAS, max_size=25), st.data())
def test_counters_are_what_the_profiles_bring(steps: list[Step], data: Any) -> None:
    """Whatever is under way when, and though every forwarded record comes twice."""
    lanes = Lanes(BRAIN, LANES, twice=True)
    sent = told(lanes, steps, lambda: data.draw(st.booleans()))
    assert numbers(lanes.counters(TRIAL.key)) == brought(lanes)
    assert lanes.balanced()
    assert lanes.count("rejected") == 0
    events = sum(1 for step, _, _ in sent if step[1] != "alias" or step[0] == step[2])
    left = [found for rig in lanes.rigs for user in rig.memory.profiles if (found := lanes.find(user)) is not None]
    assert sum(found.events for found in left if isinstance(found, Profile)) == events


@settings(max_examples=120, deadline=None)
@given(st.lists(AN_EVENT | AN_EVENT | AN_ALIAS, max_size=25))
def test_counters_equal_a_recount_of_the_persons(steps: list[Step]) -> None:
    """In plain Python: the earliest exposure of a person, and all orders inside its window."""
    lanes = Lanes(BRAIN, LANES)
    person = {user: user for user in USERS}
    seen: dict[str, list[tuple[int, str]]] = {}
    orders: dict[str, list[tuple[int, int]]] = {}
    for (user, kind, other), who, at in told(lanes, steps, lambda: True):
        mine = person[user]
        if kind == "alias" and person[other] != mine:
            theirs = person[other]
            person = {name: theirs if one == mine else one for name, one in person.items()}
            seen[theirs] = seen.pop(theirs, []) + seen.pop(mine, [])
            orders[theirs] = orders.pop(theirs, []) + orders.pop(mine, [])
        elif kind == "view" and not seen.get(mine):
            variant = TRIAL.variant(who)
            assert variant is not None
            seen[mine] = [(at, variant)]
        elif kind == "order":
            orders.setdefault(mine, []).append((at, int(at // HOUR_MS % 40 + 1) * 100))
    found = tally(lanes.counters(TRIAL.key), TEST)
    for arm in ARMS:
        persons = [one for one in seen if seen[one] and min(seen[one])[1] == arm]
        money = []
        for one in persons:
            since = min(seen[one])[0]
            money.append([value for at, value in orders.get(one, ()) if 0 < at - since <= WITHIN_DAYS * DAY_MS])
        sums = found.arms[arm]
        assert sums.exposed == len(persons)
        assert sums.metrics["ordered"].sums[0] == sum(1 for held in money if held)
        assert sums.metrics["revenue"].sums[0] == sum(min(9_000, sum(held)) for held in money)
        assert found.twice[arm] == sum(1 for one in persons if len({variant for _, variant in seen[one]}) > 1)
