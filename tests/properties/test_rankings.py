"""Recommended lists: however often events come and however they are cut, each answer counts once."""

from collections import Counter
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from models.brain import Brain
from models.offers.rankings import counter_key
from support.lane import DAY_MS, HOUR_MS, LaneRig, definitions, ms, order, track

START = ms("2010-03-01 00:00")
BRAIN = Brain(definitions(policy={"recommendations": {"within": "2d"}, "offers": {"decide_on": []}}))
LISTS = [f"{number:032x}" for number in range(3)]
ITEMS = ["a", "b", "c"]
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["view", "view", "click", "plain click", "add", "order"]),
        st.sampled_from(["u", "u", "u", "v"]),
        st.integers(0, 2),
        st.permutations(ITEMS).map(lambda items: items[:2]),
        st.sampled_from([0, 0, 1, 5, 20]),
    ),
    min_size=8,
    max_size=40,
)


def events(moves: list[tuple[str, str, int, list[str], int]]) -> list[tuple[str, int, bytes]]:
    found, at = [], START
    for number, (kind, user, which, items, hours) in enumerate(moves):
        at += hours * HOUR_MS + 1
        topic = "purchases" if kind == "order" else "clickstream"
        found.append((topic, at, event(kind, user, at, f"m{number}", LISTS[which], items)))
    return found


def event(kind: str, user: str, at: int, mid: str, which: str, items: list[str]) -> bytes:
    products = [{"product_id": each, "price": 2.0} for each in items]
    if kind == "view":
        return track("Product List Viewed", user, at, mid, list_id=which, products=products)
    if kind == "click":
        return track("Product Clicked", user, at, mid, list_id=which, product_id=items[0])
    if kind == "plain click":
        return track("Product Clicked", user, at, mid, product_id=items[0])
    if kind == "add":
        return track("Product Added", user, at, mid, product_id=items[0])
    return order(user, at, mid=mid, products=products[:1])


def naive(moves: list[tuple[str, str, int, list[str], int]]) -> Counter[str]:
    """The same by hand: every list that was ever shown, with whole ids and no bounds."""
    seen: list[dict[str, Any]] = []
    total: Counter[str] = Counter()
    at = START
    for kind, user, which, items, hours in moves:
        at += hours * HOUR_MS + 1
        alive = [one for one in seen if one["user"] == user and at < one["at"] + 2 * DAY_MS]
        if kind == "view":
            one = next((one for one in alive if one["list"] == which), None)
            if one is None:
                one = {"user": user, "list": which, "at": at, "items": {}}
                seen.append(one)
                total["rankings"] += 1
            for item in items:
                if item not in one["items"]:
                    one["items"][item] = set()
                    total["shown"] += 1
            continue
        item, flag = items[0], {"click": "clicked", "plain click": "clicked", "add": "added", "order": "bought"}[kind]
        fitting = [one for one in alive if item in one["items"] and (kind != "click" or one["list"] == which)]
        if not fitting:
            total["stray"] += kind == "click"
            continue
        best = max(fitting, key=lambda one: (flag != "clicked" and "clicked" in one["items"][item], one["at"]))
        if flag not in best["items"][item]:
            total[flag] += 1
            total["clicked_bought"] += flag == "bought" and "clicked" in best["items"][item]
            best["items"][item].add(flag)
    return +total


def counted(rig: LaneRig) -> dict[str, int]:
    total: Counter[str] = Counter()
    for field, value in rig.counters(counter_key("offers")).items():
        if field.startswith("d|"):
            total[field.rpartition("|")[2]] += value
    return dict(total)


@settings(max_examples=120, deadline=None)
@given(MOVES, st.lists(st.integers(0, 40), max_size=6), st.lists(st.integers(0, 24), max_size=6))
def test_each_answer_counts_once(moves: Any, cuts: list[int], again: list[int]) -> None:
    made = events(moves)
    twice = list(made)
    for place in sorted({place for place in again if place < len(made)}, reverse=True):
        twice.insert(min(place + 3, len(twice)), made[place])  # a client sends it once more
    whole, cut = LaneRig(BRAIN), LaneRig(BRAIN)
    feed(whole, made)
    for first, last in pairwise([0, *sorted({min(at, len(twice)) for at in cuts}), len(twice)]):
        feed(cut, twice[first:last])
    assert cut.memory.counters == whole.memory.counters
    fields = {"rankings", "shown", "clicked", "added", "bought", "clicked_bought", "stray"}
    assert {name: n for name, n in counted(cut).items() if name in fields} == dict(naive(moves))
    by_place: Counter[str] = Counter()
    for field, value in cut.counters(counter_key("offers")).items():
        kind, _, what = field.split("|")
        by_place[what] += value if kind == "p" else 0
    assert all(by_place[name] == counted(cut).get(name, 0) for name in fields - {"rankings", "stray"})


def feed(rig: LaneRig, made: list[tuple[str, int, bytes]]) -> None:
    """One batch, then time passes: windows end."""
    if made:
        rig.together(
            [(topic, [value for name, _, value in made if name == topic]) for topic in ("clickstream", "purchases")]
        )
        rig.until(max(*(at for _, at, _ in made), rig.state.watermark))
