"""Examples of every type that lies in `training`, as models that learn in the stream find them: JSON of the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from models.features.churn import RAW_NAMES as CHURN_NAMES
from models.features.goals import RAW_NAMES as GOAL_NAMES
from models.offers.bandit import RAW_NAMES as OFFER_NAMES

DAY_MS = 86_400_000
START_MS = 14_610 * DAY_MS
HOUR_MS = 3_600_000
# Nothing that decide publishes is larger: 2^53 is where whole numbers end that a float can hold.
HUGE = 2**53

Example = dict[str, Any]
Maker = Callable[[int, np.random.Generator], Example]


def _whole(rng: np.random.Generator, names: tuple[str, ...], most: int = 300) -> list[int]:
    return [int(value) for value in rng.integers(0, most, len(names))]


def _head(n: int) -> Example:
    at = START_MS + n * 6 * HOUR_MS
    return {"id": str(n), "user": f"u{n % 40}", "at": at}


def _labelled(n: int, rng: np.random.Generator, names: tuple[str, ...]) -> Example:
    head = _head(n)
    x = _whole(rng, names)
    label = int(rng.random() < x[0] / 300)
    due = head["at"] + 90 * DAY_MS
    return head | {"due": due, "known_at": due, "label": label, "x": x}


def churn(n: int, rng: np.random.Generator) -> Example:
    """A label of churn, with what was spent."""
    found = _labelled(n, rng, tuple(CHURN_NAMES))
    back = found["label"] == 0
    more = {"spent_minor": int(rng.integers(100, 9_000)) if back else 0, "next_order_days": 12 if back else None}
    return found | more | {"type": "churn"}


def goal(n: int, rng: np.random.Generator) -> Example:
    """A label of one of two goals; the second one names attributes."""
    more: Example = {"goal": f"g{n % 2}", "code": 7 + n % 2, "p_e4": int(rng.integers(0, 10_001)), "type": "goal"}
    if n % 2:
        country = f"c{int(rng.zipf(1.5)) % 60}" if n % 7 else None
        more["attributes"] = {"age": [n % 50, f"{n % 9}.5", None][n % 3], "country": country, "member": n % 4 == 1}
    return _labelled(n, rng, tuple(GOAL_NAMES)) | more


def uplift(n: int, rng: np.random.Generator) -> Example:
    """What became of somebody who was written to, or held out."""
    more: Example = {"campaign": "c", "code": 5, "treated": n % 2, "uplift_e4": None, "type": "uplift"}
    if n % 4 > 1:
        more |= {"campaign": "d", "code": 6, "attributes": {"age": n % 50 if n % 5 else None, "plan": "abc"[n % 3]}}
    return _labelled(n, rng, tuple(GOAL_NAMES)) | more


def offer(n: int, rng: np.random.Generator) -> Example:
    """What came of an offer."""
    more = {
        "known_at": START_MS + n * 6 * HOUR_MS + 7 * DAY_MS,
        "offer": "ab"[n % 2],
        "among": ["a", "b"],
        "propensity": 0.5,
        "x": _whole(rng, tuple(OFFER_NAMES)),
        "reward_by": "order",
        "within_ms": 7 * DAY_MS,
        "reward": int(rng.random() < 0.3),
        "type": "offer",
    }
    return _head(n) | more


def basket(n: int, rng: np.random.Generator) -> Example:
    """An order."""
    ids = [f"i{number}" for number in sorted({int(one) for one in rng.zipf(1.5, 4) if one < 30} | {0})]
    had = [f"i{int(one)}" for one in rng.choice(30, 3, replace=False)]
    more = {
        "order_id": str(n),
        "items": [[item, f"Name {item} lamp", 250, int(rng.integers(1, 5))] for item in ids],
        "categories": ["c" + item[-1] for item in ids],
        "history": had,
        "times": [1, 2, 1],
        "days": [14_500, 14_550, 14_600],
        "recent": had[:2],
        "orders": 3,
        "first_day": 14_400,
        "type": "basket",
    }
    return _head(n) | more


def review(n: int, rng: np.random.Generator) -> Example:
    """A review with its words."""
    good = int(rng.random() < 0.5)
    words = sorted({f"w{int(one)}" for one in rng.integers(0, 40, 5)} | ({"good"} if good else {"bad"}))
    more = {
        "item": f"i{n % 20}",
        "sentiment_e4": 8_000 if good else -8_000,
        "label": good,
        "words": words,
        "pairs": [f"< {words[0]}"],
        "positive_e4": 19_000 * good,
        "negative_e4": 25_000 * (1 - good),
        "type": "review",
    }
    return _head(n) | more


def stock(n: int, rng: np.random.Generator) -> Example:
    """The shop's word on a product."""
    return _head(n) | {"item": f"i{n % 20}", "out": bool(rng.random() < 0.3), "type": "stock"}


MAKERS: dict[str, Maker] = {
    "churn": churn,
    "goal": goal,
    "uplift": uplift,
    "offer": offer,
    "basket": basket,
    "review": review,
    "stock": stock,
}


def examples(
    kind: str, count: int, seed: int = 0, change: Callable[[Example], Example] = lambda one: one
) -> list[bytes]:
    """So many examples of a type, each changed before it is written."""
    assert kind in MAKERS, f"say in tests/support/training_examples.py what an example of type {kind!r} is like"
    rng = np.random.default_rng(seed)
    return [msgspec.json.encode(change(MAKERS[kind](n, rng))) for n in range(count)]


def extreme(example: Example) -> Example:
    """The largest numbers and no numbers at all, in turn."""
    place, found = int(example["id"]), dict(example)
    values = (0, HUGE, 1, -1, 10**9)
    if "x" in found:
        found["x"] = [values[(place + column) % len(values)] for column in range(len(found["x"]))]
    if "items" in found:
        found["items"] = [[*item[:2], values[place % 3], 10**9 if place % 2 else 1] for item in found["items"]]
    if found.get("spent_minor"):
        found["spent_minor"] = HUGE
    return found


def constant(example: Example) -> Example:
    """All features alike."""
    return example | ({"x": [1] * len(example["x"])} if "x" in example else {})


def one_class(example: Example) -> Example:
    """The same outcome every time."""
    return example | {name: 1 for name in ("label", "reward") if name in example}
