"""Exposures, conversions and refunds as exact changes of running counters.

The profile keeps the user's running value of each metric; on a change the counters get new - old, new^2 - old^2 and the
products, so that the sums are over users, not over events. They are kept by cohort (day of the exposure): a cohort
matures as a whole.

Time is the time of the events. What comes later than the experiment's lateness allows is told apart and not counted, so
that a cohort that is over changes no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from config.codes import code16, code32
from config.metric import ORDERED
from models import decisions
from models.decisions import Cause, effect_id
from models.experiments import fields
from models.experiments.trial import MISSING, TWICE_FLAG, UNCOUNTED, Before, Counted, Meter, Trial
from models.outcome import Outcome
from models.profile.rest import forget_orders
from models.profile.state import Exposure, Order, Profile
from models.profile.update import order_value_minor, to_minor
from models.wire import Input

VIEWED = "Experiment Viewed"
CANCELLED = "Order Cancelled"
REFUNDS = ("Order Refunded", CANCELLED)
_WHOLE = -1  # a refund of all that the order brought
_RAW_LIMIT = 1 << 62  # what packs


class Moment(NamedTuple):
    """When and why a user is exposed.

    Parameters
    ----------
    at : event time, ms. before : see :func:`models.experiments.trial.known_before`; as it was before the event that
        exposes. watermark : of the lane before the batch, ms. document : the event that exposes, if one does.
    """

    user: str
    at: int
    cause: Cause
    before: Before
    watermark: int
    document: Callable[[], dict[str, Any]] | None = None


def expose(out: Outcome, profile: Profile, trial: Trial, variant: str, moment: Moment) -> None:
    """Note the user's first exposure, and count it unless the user is a tester or it comes too late."""
    user, at = moment.user, moment.at
    trials = profile.open_trials()
    exposure = trials.exposures[trial.code] = Exposure(code16(variant), at)
    if not trial.counts(user):
        exposure.flags = UNCOUNTED
        return
    if moment.watermark - at > trial.lateness_ms:
        exposure.flags = UNCOUNTED
        out.count(trial.key, fields.LATE)
        return
    if trial.covariates:
        exposure.before, missing = trial.covariates_of(moment.before, at)
        exposure.flags = MISSING if missing else 0
    exposure.parts = trial.parts_of(profile, moment.document)
    for meter, side in trial.of_orders if trials.purchases else ():
        for order in trials.purchases:  # one that was heard of before the exposure that it follows
            if follows(order, exposure, meter) and order.lag <= trial.lateness_ms:
                change_value(exposure, side.slot, worth(order, trial, money=side.value is not None))
    contribute(out, trial, exposure)
    out.count(trial.key, fields.WEIGHTS + trial.weights)
    out.effects.append(
        decisions.Exposure(
            id=effect_id(trial.experiment.key, "exposure", user, "first"),
            user=user,
            at=at,
            experiment=trial.id,
            variant=variant,
            cause=moment.cause,
            propensity=trial.chances[variant],
        )
    )


def contribute(
    out: Outcome, trial: Trial, exposure: Exposure, segments: Iterable[str] | None = None, sign: int = 1
) -> None:
    """Add (or with `sign` -1 take away) all that one exposed user brings to the counters."""
    variant, day = trial.variant_by_code[exposure.variant], exposure.at // fields.DAY_MS
    for segment in trial.segments(exposure) if segments is None else segments:
        out.add(trial.key, (day, segment, variant, ""), (fields.USERS,), (sign,))
        for meter in trial.meters:
            x, missing = _covariate(exposure, meter)
            entering = meter.entering(x, missing)
            gained = meter.change((0, 0), meter.values(exposure.values), x, missing)
            total = [sign * (a + b) for a, b in zip(entering, gained, strict=True)]
            out.add(trial.key, (day, segment, variant, meter.id), meter.sums, total)


def convert(
    out: Outcome,
    profile: Profile,
    event: Input,
    listening: Sequence[tuple[Trial, Sequence[Counted]]],
    watermark: int,
    order: Order | None,
) -> None:
    """Count `event` for the metrics that wait for it, for users exposed to the experiment and inside the window.

    `order` : what was remembered of it, if it is one; its refund may have come first.
    """
    exposures = profile.open_trials().exposures
    at, first = event.at, 1 if event.name == ORDERED else 0
    for trial, counted in listening:
        exposure = exposures.get(trial.code)
        if exposure is None or exposure.flags & UNCOUNTED:
            continue
        since = at - exposure.at
        if since < first:
            continue
        late = watermark - at > trial.lateness_ms
        for meter, side in counted:
            if since > meter.within_ms or (
                meter.campaign is not None and event.properties.campaign_id != meter.campaign
            ):
                continue
            if order is not None and side.ordered:
                by = worth(order, trial, money=side.value is not None)
            else:
                by = 1 if side.value is None else _value(event, side.value)
            if late:
                out.count(trial.key, fields.LATE)
            elif by:
                _change(out, trial, exposure, meter, side.slot, by)


def remember_order(profile: Profile, event: Input, watermark: int, keep_ms: int) -> Order:
    """Keep the order for its refunds, and for exposures before it that are not known yet."""
    forget_orders(profile, watermark - keep_ms)
    orders = profile.open_trials().purchases
    order_id = event.properties.order_id
    code = code32(event.message_id if order_id is None else str(order_id))
    value, lag = order_value_minor(event.properties), max(0, watermark - event.at)
    for order in orders:
        if order.code == code and not order.at:  # its refund came first
            order.at, order.value, order.lag = event.at, value, lag
            return order
    order = Order(code, event.at, value, lag)
    orders.append(order)
    return order


def refund(out: Outcome, profile: Profile, event: Input, trials: Iterable[Trial], watermark: int) -> None:
    """A refund or cancellation takes back what its order brought, in experiments whose refund window it lies in."""
    order_id = event.properties.order_id
    if order_id is None:
        return
    held, code = profile.open_trials(), code32(str(order_id))
    amount = abs(order_value_minor(event.properties))
    back = (event.at, _WHOLE if event.name == CANCELLED or not amount else amount, max(0, watermark - event.at))
    order = next((one for one in held.purchases if one.code == code), None)
    if order is None:
        held.purchases.append(Order(code, 0, 0, 0, [back]))
        return
    order.refunds.append(back)
    for trial in trials:
        exposure = held.exposures.get(trial.code)
        if exposure is None or exposure.flags & UNCOUNTED or order.lag > trial.lateness_ms:
            continue
        for meter, side in trial.of_orders:
            if order.at and follows(order, exposure, meter):
                money = side.value is not None
                after = worth(order, trial, money=money)
                by = after - worth(order, trial, money=money, refunds=order.refunds[:-1])
                if by:
                    _change(out, trial, exposure, meter, side.slot, by)


def shown(out: Outcome, profile: Profile, trial: Trial, variant: str) -> None:
    """A user who was exposed before was really shown `variant`: who saw two stays in the first, and is told apart."""
    exposure = profile.open_trials().exposures[trial.code]
    if exposure.variant not in trial.variant_by_code or exposure.variant == code16(variant):
        return
    if exposure.flags & (UNCOUNTED | TWICE_FLAG):
        return
    exposure.flags |= TWICE_FLAG
    contribute(out, trial, exposure, (fields.TWICE,))


def reported(trial: Trial, event: Input) -> str | None:
    """Variant that an outside service says it showed; None: this event tells none of this experiment."""
    found = event.properties.variation_id
    ids = [variant.id for variant in trial.experiment.variants]
    if found in ids:
        return str(found)
    number = str(found)
    return ids[int(number)] if number.isdecimal() and len(number) < 3 and int(number) < len(ids) else None


def follows(order: Order, exposure: Exposure, meter: Meter) -> bool:
    """Whether an order counts by its time; one in the same millisecond is the one that exposed."""
    return 0 < order.at - exposure.at <= meter.within_ms


def worth(order: Order, trial: Trial, *, money: bool, refunds: Sequence[tuple[int, int, int]] | None = None) -> int:
    """What is left of an order after its refunds: money, or whether anything is (1 or 0)."""
    left = order.value
    for at, amount, lag in order.refunds if refunds is None else refunds:
        if at - order.at <= trial.refund_ms and lag <= trial.lateness_ms:
            if amount == _WHOLE:
                return 0
            if left > 0:
                left = max(0, left - amount)
                if not left:
                    return 0
    return left if money else 1


def _change(out: Outcome, trial: Trial, exposure: Exposure, meter: Meter, slot: int, by: int) -> None:
    old = meter.values(exposure.values)
    change_value(exposure, slot, by)
    new = meter.values(exposure.values)
    if new == old:
        return
    variant = trial.variant_by_code.get(exposure.variant)
    if variant is None:
        return  # it is not in the definitions any more
    x, missing = _covariate(exposure, meter)
    change, day = meter.change(old, new, x, missing), exposure.at // fields.DAY_MS
    for segment in trial.segments(exposure):
        out.add(trial.key, (day, segment, variant, meter.id), meter.sums, change)


def change_value(exposure: Exposure, slot: int, by: int) -> None:
    """Change the running value of one side of a metric, within what packs."""
    found = exposure.values.get(slot, 0) + by
    exposure.values[slot] = max(-_RAW_LIMIT, min(_RAW_LIMIT, found))


def _covariate(exposure: Exposure, meter: Meter) -> tuple[int, int]:
    """The covariate and whether it is missing; a missing one is 0."""
    if meter.covariate < 0:
        return 0, 0
    return (0, 1) if exposure.flags & MISSING else (exposure.before[meter.covariate], 0)


def _value(event: Input, name: str) -> int:
    if name == "revenue":
        return order_value_minor(event.properties)
    found = event.document()["properties"].get(name)
    try:
        return to_minor(float(found)) if found is not None else 0
    except (TypeError, ValueError, OverflowError):
        return 0
