"""Labels of goals, whatever happens in whatever order: true, never before they are due, and of one moment each."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from config.topics import INPUT_NAMES
from models.brain import Brain
from support.lane import DAY_MS, HOUR_MS, LaneRig, definitions, identify, ms, order, tick, track

START = ms("2010-03-01 06:00")
GOALS: list[dict[str, Any]] = [
    {"id": "soon", "event": "Order Completed", "horizon": "3d"},
    {"id": "late", "event": "Order Completed", "horizon": "40d", "when": "properties.revenue > 10.0"},
    {"id": "add", "event": "Product Added", "horizon": "12h", "min_orders": 1},
]
HORIZON_MS = {"soon": 3 * DAY_MS, "late": 40 * DAY_MS, "add": 12 * HOUR_MS}
BRAIN = Brain(definitions(goals=GOALS))

Happening = tuple[int, str, int, float]  # hours since the start, user, kind, revenue
happenings = st.lists(
    st.tuples(
        st.integers(0, 24 * 120), st.sampled_from(["anna", "ben"]), st.integers(0, 3), st.sampled_from([5.0, 50.0])
    ),
    max_size=60,
)


def reaches(goal: str, kind: int, revenue: float) -> bool:
    """Whether an event of this kind reaches the goal, told again in other words."""
    return kind == 1 if goal == "add" else kind == 0 and (goal == "soon" or revenue > 10.0)


@settings(max_examples=60, deadline=None)
@given(happenings, st.integers(1, 9))
def test_labels_are_true_and_never_early(found: list[Happening], at_once: int) -> None:
    lane = LaneRig(BRAIN)
    found = sorted(found)
    known: list[tuple[int, str, int, float]] = []
    for begin in range(0, len(found), at_once):
        values: dict[str, list[bytes]] = {name: [] for name in INPUT_NAMES}
        at = START
        for number, (hour, user, kind, revenue) in enumerate(found[begin : begin + at_once]):
            at = START + hour * HOUR_MS + (begin + number) * 1000
            known.append((at, user, kind, revenue))
            if kind == 0:
                values["purchases"].append(order(user, at, revenue))
            else:
                name = "Product Added" if kind == 1 else "Product Viewed"
                values["clickstream"].append(track(name, user, at))
        for name in INPUT_NAMES:
            values[name].append(tick(at))
        lane.together(list(values.items()))
        told_until = lane.state.watermark
        for example in _examples(lane):
            assert example["known_at"] >= example["due"] == example["at"] + HORIZON_MS[example["goal"]]
            assert example["due"] <= max(told_until, at), "a label before its time"
    for day in range(130, 200):
        lane.until(START + day * DAY_MS)
    open_until: dict[tuple[str, str], int] = {}
    for example in _examples(lane):
        user, goal = example["user"], example["goal"]
        assert example["at"] >= open_until.get((user, goal), 0), "two examples open at once"
        open_until[user, goal] = example["due"]
        reached = any(
            who == user and example["at"] // 1000 < at // 1000 < example["due"] // 1000 and reaches(goal, kind, revenue)
            for at, who, kind, revenue in known
        )
        assert example["label"] == int(reached)
    assert len({example["id"] for example in _examples(lane)}) == len(_examples(lane))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 24 * 90), st.sampled_from([None, "pro", "basic", 3, True])), max_size=40))
def test_attributes_are_those_of_the_moment(found: list[tuple[int, str | int | None]]) -> None:
    """Whatever is told later, and wherever the profile lay meanwhile; the goal beside it is none the wiser."""
    plain = {"id": "soon", "event": "Order Completed", "horizon": "3d"}
    about = Brain(definitions(goals=[plain, plain | {"id": "about", "attributes": ["age", "plan"]}]))
    lane, beside = LaneRig(about), LaneRig(Brain(definitions(goals=[plain])))
    told: list[tuple[int, str | int | None]] = [(0, None)]
    for number, (hour, plan) in enumerate(sorted(found, key=lambda one: one[0])):
        at = START + hour * HOUR_MS + number * 1000
        told.append((at, plan))
        for one in (lane, beside):
            one.feed("profiles", identify("anna", at, plan=plan))
            for view in range(1, 4):
                one.feed("clickstream", track("Product Viewed", "anna", at + view))
    for one in (lane, beside):
        one.until(START + 120 * DAY_MS)
    for example in _examples(lane):
        if example["goal"] == "about":
            as_of = [plan for at, plan in told if at // 1000 <= example["at"] // 1000]
            assert example["attributes"] == {"age": None, "plan": as_of[-1]}
    assert [one for one in _examples(lane) if one["goal"] == "soon"] == _examples(beside)


def _examples(lane: LaneRig) -> list[dict[str, Any]]:
    return [one for one in lane.published.on("training") if one["type"] == "goal"]
