"""Demand: what will be sold in the next weeks, per product, category or shop, learned week by week."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from river import linear_model, optim, preprocessing, time_series

from models.errors import IncompatibleSnapshotError

FloatArray = npt.NDArray[np.float64]

NAME: Final = "demand"
MEMBERS: Final = ("seasonal_naive", "four_week_mean", "holt_winters", "snarimax", "snarimax_steady")
YEAR: Final = 52
LEVEL_RATE: Final = 0.3
TREND_RATE: Final = 0.05
SEASON_RATE: Final = 0.4
DAMPING: Final = 0.9
LAGS: Final = 4
# Errors halve in weight in so many weeks.
ERROR_DECAY: Final = 0.5 ** (1 / 26)
# A method whose rolling error is this share above the best one's gets exp(-1) of the weight.
TEMPERATURE: Final = 0.25
# What all series say of a method counts as so many weeks of a series of its own.
PRIOR_WEEKS: Final = 8.0
LARGEST_JUMP: Final = 5.0
# No forecast is above so many times the highest week.
HIGHEST: Final = 1.5
LEAST: Final = 1e-6


class Forecast(NamedTuple):
    """What is expected for one week. value : served. members : by each of `MEMBERS`. weights : of each in `value`."""

    value: float
    members: FloatArray
    weights: FloatArray


class HoltWinters:
    """Exponential smoothing of level, damped trend and a multiplicative season of 52 weeks.

    Notes
    -----
    The season starts flat, so the first year is smoothing with a trend; from the second year on a week is lifted by
    part of what the same week was above the level a year ago.

    References
    ----------
    R. Hyndman, G. Athanasopoulos, "Forecasting: principles and practice", chapter 8.

    Examples
    --------
    >>> smooth = HoltWinters()
    >>> for value in [10.0] * 8:
    ...     smooth.learn_one(value)
    >>> smooth.forecast(4)
    10.0
    """

    def __init__(self) -> None:
        self.count = 0
        self._level, self._trend = 0.0, 0.0
        self._season = [1.0] * YEAR

    def learn_one(self, value: float) -> None:
        """One more week."""
        place = self.count % YEAR
        self.count += 1
        if self.count == 1:
            self._level = value
            return
        expected = self._level + DAMPING * self._trend
        season = self._season[place]
        # Few weeks are few: the first ones count as in a plain mean.
        rate = max(LEVEL_RATE, 1.0 / self.count)
        level = (1.0 - rate) * expected + rate * value / season
        self._trend = (1.0 - TREND_RATE) * DAMPING * self._trend + TREND_RATE * (level - self._level)
        self._level = level
        if level > 0.0:
            ratio = min(max(value / level, 1.0 / LARGEST_JUMP), LARGEST_JUMP)
            self._season[place] = (1.0 - SEASON_RATE) * season + SEASON_RATE * ratio

    def forecast(self, weeks: int) -> float:
        """Value `weeks` after the last one."""
        damped = sum(DAMPING**step for step in range(1, weeks + 1))
        season = self._season[(self.count + weeks - 1) % YEAR]
        return (self._level + damped * self._trend) * season


class Series:
    """One series of weekly demand: its history, the methods, and how far each was off.

    Parameters
    ----------
    horizons : weeks ahead that are forecast.

    Notes
    -----
    Everything is a function of the history: 52 numbers a year are the state, methods are made again from it.
    """

    def __init__(self, horizons: tuple[int, ...]) -> None:
        self.horizons = horizons
        self.history: list[float] = []
        self.errors: dict[int, FloatArray] = {h: np.zeros(len(MEMBERS)) for h in horizons}
        self.actual: dict[int, float] = dict.fromkeys(horizons, 0.0)
        self._said: dict[int, list[FloatArray]] = {h: [] for h in horizons}
        self._smooth = HoltWinters()
        self._unit = 1.0
        self._moving = _moving()
        self._steady = _steady()

    def observe(self, value: float) -> dict[int, tuple[FloatArray, float]]:
        """One more week; returns, per horizon, how far each method was off, and the value."""
        off: dict[int, tuple[FloatArray, float]] = {}
        week = len(self.history)
        for h in self.horizons:
            if week >= h and self._said[h]:
                gap = np.abs(self._said[h].pop(0) - value)
                self.errors[h] = self.errors[h] * ERROR_DECAY + gap
                self.actual[h] = self.actual[h] * ERROR_DECAY + abs(value)
                off[h] = (gap, abs(value))
        self._take(value)
        for h in self.horizons:
            self._said[h].append(self.members(h))
        return off

    def snapshot(self) -> dict[str, Any]:
        """Plain state; the methods are made again from the history."""
        return {
            "history": np.array(self.history),
            "errors": [self.errors[h].copy() for h in self.horizons],
            "actual": [self.actual[h] for h in self.horizons],
            "said": [np.array(self._said[h]).reshape(len(self._said[h]), len(MEMBERS)) for h in self.horizons],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted."""
        for value in state["history"].tolist():
            self._take(value)
        self.errors = {h: errors.copy() for h, errors in zip(self.horizons, state["errors"], strict=True)}
        self.actual = dict(zip(self.horizons, state["actual"], strict=True))
        self._said = {h: list(said.copy()) for h, said in zip(self.horizons, state["said"], strict=True)}

    def _take(self, value: float) -> None:
        if not any(self.history) and value:
            self._unit = max(abs(value), LEAST)
        self.history.append(value)
        self._smooth.learn_one(value)
        self._moving.learn_one(self._inside(value), _ONE)  # type: ignore[no-untyped-call]
        self._steady.learn_one(value / self._unit, _ONE)  # type: ignore[no-untyped-call]

    def members(self, weeks: int) -> FloatArray:
        """Forecast of each of `MEMBERS`, none below 0."""
        history = self.history
        if not history:
            return np.zeros(len(MEMBERS))
        recent = history[-LAGS:]
        past = len(history) + weeks - 1 - YEAR
        latest = history[-min(weeks, LAGS) :]
        highest = HIGHEST * max(*history, 0.0)
        mean = sum(recent) / len(recent)
        found = [
            history[past] if past >= 0 else sum(latest) / len(latest),
            mean,
            self._smooth.forecast(weeks),
            mean,
            mean,
        ]
        if len(history) > 2 * LAGS:
            ahead = [_ONE] * weeks
            found[3] = self._outside(self._moving.forecast(weeks, ahead)[-1])  # type: ignore[no-untyped-call]
            found[4] = self._steady.forecast(weeks, ahead)[-1] * self._unit  # type: ignore[no-untyped-call]
        return np.clip(found, 0.0, highest)

    def _inside(self, value: float) -> float:
        return float(np.log1p(max(value, 0.0) / self._unit))

    def _outside(self, inside: float) -> float:
        return float(np.expm1(min(max(inside, 0.0), 30.0)) * self._unit)


_ONE: Final = {"one": 1.0}


def _moving() -> time_series.SNARIMAX:
    """ARIMA(2, 1, 1) of the logarithm: the level wanders."""
    regressor = linear_model.BayesianLinearRegression(alpha=0.1, beta=10.0)
    return time_series.SNARIMAX(p=2, d=1, q=1, regressor=regressor)


def _steady() -> time_series.SNARIMAX:
    """AR(1) around a level that is kept."""
    linear = linear_model.LinearRegression(optimizer=optim.SGD(0.01), intercept_lr=0.1)
    return time_series.SNARIMAX(p=1, d=0, q=0, regressor=preprocessing.StandardScaler() | linear)


class Demand:
    """Weekly demand of many series, forecast by a pool.

    Parameters
    ----------
    horizons : weeks ahead that are forecast.

    Notes
    -----
    The forecast is the mean of the methods, weighted by their rolling error (sum of absolute errors over sum of
    demand, halving in 26 weeks) on forecasts whose week has passed: nothing ahead is looked at. A young series leans
    on what all series say of the methods.

    Examples
    --------
    >>> demand = Demand((1,))
    >>> for week in range(60):
    ...     demand.observe({"tea": 100.0 + 2.0 * (week % 2)})
    >>> 99.0 < demand.forecast("tea", 1).value < 103.0
    True
    """

    def __init__(self, horizons: tuple[int, ...] = (1, 4)) -> None:
        self.horizons = horizons
        self.series: dict[str, Series] = {}
        self.errors: dict[int, FloatArray] = {h: np.zeros(len(MEMBERS)) for h in horizons}
        self.actual: dict[int, float] = dict.fromkeys(horizons, 0.0)

    def observe(self, values: dict[str, float]) -> None:
        """One week has passed; series that are not named sold nothing."""
        for h in self.horizons:
            self.errors[h] = self.errors[h] * ERROR_DECAY
            self.actual[h] *= ERROR_DECAY
        for name in values:
            if name not in self.series:
                self.series[name] = Series(self.horizons)
        for name, series in self.series.items():
            for h, (gap, actual) in series.observe(values.get(name, 0.0)).items():
                self.errors[h] += gap
                self.actual[h] += actual

    def forecast(self, name: str, weeks: int) -> Forecast:
        """Forecast of a series, 0 where it is not known."""
        series = self.series.get(name)
        if series is None:
            return Forecast(0.0, np.zeros(len(MEMBERS)), np.full(len(MEMBERS), 1.0 / len(MEMBERS)))
        members, weights = series.members(weeks), self.weights(series, weeks)
        return Forecast(float(weights @ members), members, weights)

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {
            "members": list(MEMBERS),
            "horizons": list(self.horizons),
            "errors": [self.errors[h].copy() for h in self.horizons],
            "actual": [self.actual[h] for h in self.horizons],
            "series": {name: series.snapshot() for name, series in self.series.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            It had other methods or horizons.
        """
        if (state.get("members"), state.get("horizons")) != (list(MEMBERS), list(self.horizons)):
            raise IncompatibleSnapshotError(f"not a state of {NAME} with these methods and horizons")
        self.errors = {h: errors.copy() for h, errors in zip(self.horizons, state["errors"], strict=True)}
        self.actual = dict(zip(self.horizons, state["actual"], strict=True))
        self.series = {}
        for name, entry in state["series"].items():
            self.series[name] = Series(self.horizons)
            self.series[name].restore(entry)

    def weights(self, series: Series, weeks: int) -> FloatArray:
        """Weight of each of `MEMBERS`, adding up to 1."""
        together = self.errors[weeks] / self.actual[weeks] if self.actual[weeks] > LEAST else np.zeros(len(MEMBERS))
        mean = sum(map(abs, series.history)) / max(len(series.history), 1)
        evidence = series.actual[weeks] + PRIOR_WEEKS * mean
        if evidence <= LEAST:
            return np.full(len(MEMBERS), 1.0 / len(MEMBERS))
        error = (series.errors[weeks] + PRIOR_WEEKS * mean * together) / evidence
        raw = np.exp((1.0 - error / max(float(error.min()), 1e-9)) / TEMPERATURE)
        return np.asarray(raw / raw.sum())
