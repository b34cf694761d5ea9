"""Experiments, counted again: what every user did is kept, and the counters are added up from nothing at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from chaos.recount.rules import Experiment, Metric

DAY_MS = 86_400_000
ORDER, REFUND, CANCEL = "Order Completed", "Order Refunded", "Order Cancelled"
Known = tuple[int, int, int, int, int]  # events, money, orders, sessions, last seen


@dataclass(slots=True)
class Heard:
    """An event that counted, and how late it came."""

    name: str
    at: int
    properties: dict[str, Any]
    pence: int
    late_ms: int


@dataclass(slots=True)
class Exposed:
    """A user in an experiment; `since`: how many events had been heard of the user then."""

    variant: str
    at: int
    counted: bool
    known: Known
    parts: list[str]
    since: int
    twice: bool = False


@dataclass(slots=True)
class Diary:
    """What the experiments know of one user."""

    heard: list[Heard] = field(default_factory=list)
    exposed: dict[str, Exposed] = field(default_factory=dict)

    def totals(self, test: Experiment, metric: Metric) -> tuple[int, int]:
        """The user's sums above and below the line, without a cap."""
        above = sum(self._brought(test, metric, metric.event, metric.value))
        below = sum(self._brought(test, metric, metric.below, None)) if metric.below else 0
        return above, below

    def _brought(self, test: Experiment, metric: Metric, name: str, value: str | None) -> Iterator[int]:
        seen = self.exposed[test.id]
        for number, one in enumerate(self.heard):
            after_ms = one.at - seen.at
            if one.name != name or one.late_ms > test.lateness_ms or after_ms > metric.within_ms:
                continue
            if metric.campaign and one.properties.get("campaign_id") != metric.campaign:
                continue
            if name == ORDER:  # by its time, however the two came
                left = self._left(test, one)
                if after_ms > 0 and left is not None:
                    yield left if value else 1
            elif after_ms >= 0 and number >= seen.since:
                yield 1

    def _left(self, test: Experiment, order: Heard) -> int | None:
        """What refunds left of an order; None: nothing."""
        back = [
            order.pence if one.name == CANCEL else abs(one.pence)
            for one in self.heard
            if one.name in {REFUND, CANCEL}
            and one.properties["order_id"] == order.properties["order_id"]
            and one.at - order.at <= test.refund_ms
            and one.late_ms <= test.lateness_ms
        ]
        if not back:
            return order.pence
        return order.pence - sum(back) if sum(back) < order.pence else None


def fields(tests: Iterable[Experiment], diaries: Iterable[Diary]) -> Counter[tuple[str, str]]:
    """All counters of all cohorts."""
    found: Counter[tuple[str, str]] = Counter()
    for test in tests:
        for diary in diaries:
            seen = diary.exposed.get(test.id)
            if seen is None or not seen.counted:
                continue
            found[f"exp:{test.id}", "w|" + ",".join(f"{weight:g}" for _, weight in test.variants)] += 1
            for segment in ["", *seen.parts, *(["twice=yes"] if seen.twice else [])]:
                place = f"{seen.at // DAY_MS}|{segment}|{seen.variant}|"
                found[f"exp:{test.id}", place + "n"] += 1
                for metric in test.metrics:
                    for name, value in _sums(test, metric, diary).items():
                        found[f"exp:{test.id}", f"{place}{metric.id}|{name}"] += value
    return found


def _sums(test: Experiment, metric: Metric, diary: Diary) -> dict[str, int]:
    above, below = diary.totals(test, metric)
    if metric.kind == "proportion":
        above = min(above, 1)
    if metric.cap is not None:
        above = max(-metric.cap, min(metric.cap, above))
    found = {"a": above, "aa": above * above}
    if metric.below:
        found |= {"b": below, "ab": above * below, "bb": below * below}
    if metric.covariate:
        events, money, orders, sessions, last = diary.exposed[test.id].known
        missing = int(not events or last >= diary.exposed[test.id].at)
        x = {"money": money, "orders": orders, "events": events, "sessions": sessions}[metric.covariate]
        x *= 1 - missing
        found |= {"x": x, "xx": x * x, "m": missing, "ax": above * x, "am": above * missing}
        if metric.below:
            found |= {"bx": below * x, "bm": below * missing}
    return found
