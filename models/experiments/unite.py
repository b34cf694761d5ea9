"""Experiments of two users who turn out to be one: the earliest exposure stays, and counters follow exactly.

What either brought is the person's: running values add up. The exposure that goes leaves its cohort and its variant
with all that it had brought, and the one that stays brings the sum: the counters change by exact whole numbers, as if
the other had never been counted apart. Who was exposed to two variants stays in the first and counts among those who
were.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from models.experiments import fields
from models.experiments.count import change_value, contribute, follows, worth
from models.experiments.trial import TWICE_FLAG, UNCOUNTED, Meter, Side, Trial
from models.outcome import Outcome
from models.profile.state import ORDERS, Exposure, Order, Trials


def trials_of_both(one: Trials, other: Trials) -> Trials:
    """Exposures and orders of both; associative and commutative.

    Orders may be more than are remembered: :func:`unite` lets go of the oldest once they are counted.
    """
    exposures = {}
    for code in sorted(one.exposures.keys() | other.exposures.keys()):
        exposures[code] = _earliest([held.exposures[code] for held in (one, other) if code in held.exposures])
    return Trials(exposures, _orders([*one.purchases, *other.purchases]))


def unite(out: Outcome, trials: Iterable[Trial], target: Trials, source: Trials, both: Trials, user: str) -> None:
    """Make the counters of the two those of the one.

    Parameters
    ----------
    target, source : as they were. both : what :func:`trials_of_both` made of them; it is finished here.
    user : whose id remains.
    """
    for trial in trials:
        now = both.exposures.get(trial.code)
        if now is None:
            continue
        before = [(held.exposures.get(trial.code), held.purchases) for held in (target, source)]
        if not trial.counts(user):
            now.flags |= UNCOUNTED
        if now.flags & UNCOUNTED:
            now.values = {}
        else:
            _orders_anew(trial, now, both.purchases, before)
        for exposure, _ in before:
            _count(out, trial, exposure, -1)
        _count(out, trial, now, 1)
    both.purchases = both.purchases[-ORDERS:]


def _orders_anew(
    trial: Trial, now: Exposure, orders: Sequence[Order], before: Sequence[tuple[Exposure | None, Sequence[Order]]]
) -> None:
    """Remembered orders count by the exposure that stays, whoever made them: what `refund` takes back was counted."""
    for meter, side in trial.of_orders:
        if meter.campaign is None:
            earlier = sum(_brought(trial, meter, side, exposure, held) for exposure, held in before)
            change_value(now, side.slot, _brought(trial, meter, side, now, orders) - earlier)


def _brought(trial: Trial, meter: Meter, side: Side, exposure: Exposure | None, orders: Sequence[Order]) -> int:
    if exposure is None or exposure.flags & UNCOUNTED:
        return 0
    money = side.value is not None
    counted = [one for one in orders if one.lag <= trial.lateness_ms and follows(one, exposure, meter)]
    return sum(worth(order, trial, money=money) for order in counted)


def _count(out: Outcome, trial: Trial, exposure: Exposure | None, sign: int) -> None:
    """Add or take away what a user brings, if that is anything."""
    if exposure is None or exposure.flags & UNCOUNTED or exposure.variant not in trial.variant_by_code:
        return
    contribute(out, trial, exposure, sign=sign)
    weights = trial.weights_of(exposure)
    if weights is not None:
        out.count(trial.key, fields.WEIGHTS + weights, sign)


def _earliest(held: Sequence[Exposure]) -> Exposure:
    first = min(held, key=lambda one: (one.at, one.variant, one.flags & ~TWICE_FLAG, one.before, one.parts))
    made = Exposure(first.variant, first.at, first.flags, {}, list(first.before), list(first.parts))
    for exposure in held:
        made.flags |= exposure.flags & TWICE_FLAG
        if exposure.variant != made.variant:
            made.flags |= TWICE_FLAG
        if not (made.flags | exposure.flags) & UNCOUNTED:
            for slot, value in exposure.values.items():
                change_value(made, slot, value)
    return made


def _orders(held: Sequence[Order]) -> list[Order]:
    """Oldest first. An order of one user may have its refund under the other's id."""
    found: dict[int, list[Order]] = {}
    for order in sorted(held, key=_at):
        same = found.setdefault(order.code, [])
        # Refunds whose order had not come sort first, as their time is not known: they join it.
        if same and not (same[-1].at and order.at):
            last = same[-1]
            last.refunds = sorted([*last.refunds, *order.refunds])
            if order.at:
                last.at, last.value, last.lag = order.at, order.value, order.lag
        else:
            same.append(Order(order.code, order.at, order.value, order.lag, list(order.refunds)))
    return sorted((order for same in found.values() for order in same), key=_when)


def _at(order: Order) -> tuple[int, int, int, list[tuple[int, int, int]]]:
    return order.at, order.value, order.lag, order.refunds


def _when(order: Order) -> tuple[int, int, int]:
    return order.at or order.refunds[0][0], order.code, order.value
