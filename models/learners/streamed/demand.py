"""Demand behind a session: orders become weeks of products and categories, in event time; forecasts are published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from models.decisions import BasketExample
from models.errors import IncompatibleSnapshotError
from models.learners.demand import MEMBERS, NAME, Demand
from models.learners.health import ScoreHealth
from models.learners.model import Model

SCHEMA: Final = 1
DAY_MS: Final = 86_400_000
WEEK_DAYS: Final = 7
# Day 0 of 1970 was a Thursday; weeks begin on Monday.
MONDAY: Final = 3
# A week is closed when event time is so far beyond its end: orders of other lanes may come a little later.
GRACE_MS: Final = DAY_MS
HORIZONS: Final = (1, 4)
MOST_SERIES: Final = 300
# A series that sold nothing for so long gives its place to another.
# A quarter is the half-life of what health tells.
WATCH_DECAY: Final = 0.5 ** (1 / 13)
SILENT_WEEKS: Final = 13
# A product that is known for so long may lose its place to one that sells more than twice as much.
SETTLED_WEEKS: Final = 8
# An order that is dated further ahead than this says nothing of the clock.
MOST_WEEKS_AHEAD: Final = 520
ALL: Final = "all"


class Expected(msgspec.Struct, frozen=True):
    """What is known and expected of a series, in units a week.

    Parameters
    ----------
    last : the last weeks, the newest last. next_week, in_four_weeks : forecasts. weeks : how many are known.
    """

    last: list[float]
    next_week: float
    in_four_weeks: float
    weeks: int


class DemandPayload(msgspec.Struct, frozen=True):
    """Payload of a ``demand`` snapshot.

    Parameters
    ----------
    week_ends_ms : end of the last closed week. series : by name: ``all``, ``category:...``, ``product:...``.
    names : of products, by id.
    """

    week_ends_ms: int
    series: dict[str, Expected]
    names: dict[str, str]


class DemandModel(Model):
    """Learns :class:`models.decisions.BasketExample`, the examples of the recommender.

    Notes
    -----
    Units are counted per week (Monday to Sunday, UTC) of event time: of all, per category and per product. When event
    time is a day beyond a week, the week is closed: series learn it and forecasts are made anew, so a snapshot is
    published once a week of event time. Orders of a closed week are counted as late and left out. At most `MOST_SERIES`
    series are kept, those that sell most; one that was silent for a quarter gives its place away.

    Examples
    --------
    >>> model = DemandModel()
    >>> for week in range(6):
    ...     model.add([("tea", "Tea", 500, 3)], ["drinks"], week * 7 * DAY_MS + 5 * DAY_MS)
    >>> [round(model.expected()["category:drinks"].next_week), model.weeks]
    [3, 5]
    """

    schema = SCHEMA
    learns = "basket"

    def __init__(self) -> None:
        self.demand = Demand(HORIZONS)
        self.weeks = 0
        self.late = 0
        # Whether a week was closed since the last snapshot.
        self.renewed = False
        self._week: int | None = None
        self._open: dict[int, dict[str, float]] = {}
        self._names: dict[str, str] = {}
        # Of all that is sold, a week ahead: rolling absolute errors of what was told and of four weeks' mean; sales.
        self._off, self._sold = [0.0, 0.0], 0.0
        self._decode = msgspec.json.Decoder(BasketExample).decode

    def learn(self, value: bytes) -> None:
        """Learn one order."""
        example = self._decode(value)
        self.add(example.items, example.categories, example.at)

    def add(self, items: Sequence[tuple[str, str, int, int]], categories: Sequence[str], at_ms: int) -> None:
        """Count what was ordered at `at_ms`, and close the weeks that are over."""
        week = week_of(at_ms)
        if self._week is None:
            self._week = week
        if week < self._week:
            self.late += 1
            return
        if week - self._week > MOST_WEEKS_AHEAD:
            raise msgspec.ValidationError(f"an order {week - self._week} weeks ahead of the others")
        sold = self._open.setdefault(week, {})
        for place, (item, name, _, quantity) in enumerate(items):
            category = categories[place] if place < len(categories) else ""
            for series in (ALL, f"product:{item}", f"category:{category}" if category else ""):
                if series:
                    sold[series] = sold.get(series, 0.0) + quantity
            if name:
                self._names[item] = name
        while at_ms >= _start_ms(self._week + 1) + GRACE_MS:
            self._close()

    def expected(self) -> dict[str, Expected]:
        """Forecasts as of the last closed week."""
        found = {}
        for name, series in sorted(self.demand.series.items()):
            ahead = [round(self.demand.forecast(name, weeks).value, 2) for weeks in HORIZONS]
            found[name] = Expected(series.history[-4:], ahead[0], ahead[1], len(series.history))
        return found

    def worth_publishing(self) -> bool:
        """Whether a week was closed."""
        renewed, self.renewed = self.renewed, False
        return renewed

    def payload(self) -> bytes:
        return msgspec.msgpack.encode(
            DemandPayload(0 if self._week is None else _start_ms(self._week), self.expected(), dict(self._names))
        )

    def meta(self) -> dict[str, Any]:
        shop = self.demand.series.get(ALL)
        weights = [] if shop is None else self.demand.weights(shop, HORIZONS[0]).round(3).tolist()
        return {
            "weeks": self.weeks,
            "series": len(self.demand.series),
            "late": self.late,
            "pool": dict(zip(MEMBERS, weights, strict=False)),
        }

    def health(self) -> dict[str, ScoreHealth]:
        names = ("wape_next_week", "wape_of_four_week_mean")
        off = [round(value / self._sold, 4) for value in self._off] if self._sold else []
        figures = dict(zip(names, off, strict=False))
        return {"": ScoreHealth(learned=self.weeks > 0, examples=self.weeks, judged=self.weeks, figures=figures)}

    def snapshot(self) -> dict[str, Any]:
        return {
            "off": [*self._off, self._sold],
            "demand": self.demand.snapshot(),
            "weeks": self.weeks,
            "late": self.late,
            "week": self._week,
            "open": {str(week): dict(sold) for week, sold in self._open.items()},
            "names": dict(self._names),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.demand.restore(state["demand"])
        self.weeks, self.late, self._week = state["weeks"], state["late"], state["week"]
        self._open = {int(week): dict(sold) for week, sold in state["open"].items()}
        self._names = dict(state["names"])
        *self._off, self._sold = state.get("off", [0.0, 0.0, 0.0])  # of before forecasts were judged

    def _close(self) -> None:
        """The oldest open week is over."""
        week = self._week or 0
        sold = self._open.pop(week, {})
        self._week = week + 1
        self.weeks += 1
        self.renewed = True
        known = self.demand.series
        if (shop := known.get(ALL)) is not None and shop.history:
            # What was told for this week when it began, and what the last four weeks would have told.
            said = (self.demand.forecast(ALL, 1).value, sum(shop.history[-4:]) / len(shop.history[-4:]))
            actual = sold.get(ALL, 0.0)
            self._off = [off * WATCH_DECAY + abs(told - actual) for off, told in zip(self._off, said, strict=True)]
            self._sold = self._sold * WATCH_DECAY + actual
        for name in [name for name, series in known.items() if name not in sold and _silent(series.history)]:
            del known[name]
        new = sorted((name for name in sold if name not in known), key=lambda name: (-sold[name], name))
        self._make_room(sold, new[max(0, MOST_SERIES - len(known)) :])
        places = MOST_SERIES - len(known)
        self.demand.observe({name: sold[name] for name in [*(name for name in sold if name in known), *new[:places]]})
        kept = {name.removeprefix("product:") for name in known} | {
            name.removeprefix("product:") for sold in self._open.values() for name in sold
        }
        self._names = {item: name for item, name in self._names.items() if item in kept}

    def _make_room(self, sold: dict[str, float], waiting: list[str]) -> None:
        """Known products that sell least give their places to new ones that sold more than twice as much."""
        known = self.demand.series
        settled = [
            (sum(series.history[-4:]) / 4, name)
            for name, series in known.items()
            if name.startswith("product:") and len(series.history) >= SETTLED_WEEKS
        ]
        for name, (mean, least) in zip(waiting, sorted(settled), strict=False):
            if sold[name] <= 2.0 * max(mean, sold.get(least, 0.0)):
                return
            del known[least]


def week_of(at_ms: int) -> int:
    """Weeks since the Monday before 1970.

    Examples
    --------
    >>> week_of(0), week_of(3 * DAY_MS), week_of(4 * DAY_MS)
    (0, 0, 1)
    """
    return (at_ms // DAY_MS + MONDAY) // WEEK_DAYS


def payload_of(schema: int, payload: bytes) -> DemandPayload:
    """Decode a ``demand`` snapshot.

    Raises
    ------
    IncompatibleSnapshotError
        Of another schema, or unreadable.
    """
    if schema != SCHEMA:
        raise IncompatibleSnapshotError(f"{NAME} schema {schema}, this code reads {SCHEMA}")
    try:
        return msgspec.msgpack.decode(payload, type=DemandPayload)
    except msgspec.DecodeError as error:
        raise IncompatibleSnapshotError(f"{NAME} payload: {error}") from error


def _start_ms(week: int) -> int:
    return (week * WEEK_DAYS - MONDAY) * DAY_MS


def _silent(history: list[float]) -> bool:
    return len(history) >= SILENT_WEEKS and not any(history[-SILENT_WEEKS:])


MODEL: Final = DemandModel
