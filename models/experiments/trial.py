"""An experiment made ready for counting: everything worked out that does not depend on the user."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from config.definitions import Experiment, Metric
from config.metric import ORDERED
from models.campaigns.conditions import Condition, compile_condition
from models.experiments.assign import Assigner
from models.experiments.fields import STEP, SUMS, TWICE, VALUE_LIMIT, counter_key
from models.profile.state import Exposure, Profile

TWICE_FLAG, UNCOUNTED, MISSING = 1, 2, 4
_BELOW = 1 << 16  # denominators stand beside numerators in the profile's values

Before = tuple[int, int, int, int, int]
_COVARIATES: dict[str, int] = {"money": 0, "orders": 1, "events": 2, "sessions": 3}


def known_before(profile: Profile) -> Before:
    """What is known of a user now: money, orders, events, sessions, and until when (ms)."""
    return profile.money_minor, profile.orders, profile.events, profile.sessions, profile.last_seen_ms


class Side:
    """What one event adds to a metric, above or below the line.

    Attributes
    ----------
    slot : where the profile keeps the user's sum. value : property that is added up; None: events are counted.
    """

    __slots__ = ("ordered", "slot", "value")

    def __init__(self, slot: int, event: str, value: str | None) -> None:
        self.slot, self.value = slot, value
        self.ordered = event == ORDERED and value in {None, "revenue"}


class Meter:
    """A metric, ready to be counted."""

    __slots__ = ("above", "below", "campaign", "cap", "covariate", "id", "share", "sums", "within_ms")

    def __init__(self, metric: Metric, covariates: tuple[str, ...]) -> None:
        self.id, self.within_ms, self.campaign = metric.id, metric.within_ms, metric.campaign
        self.share = metric.kind == "proportion"
        self.cap = min(VALUE_LIMIT, VALUE_LIMIT if metric.cap_units is None else metric.cap_units)
        self.above = Side(metric.code, metric.event, metric.value)
        self.below = None
        if metric.denominator_event is not None:
            self.below = Side(metric.code | _BELOW, metric.denominator_event, metric.denominator_value)
        self.covariate = covariates.index(metric.covariate) if metric.covariate is not None else -1
        self.sums = SUMS[self.below is not None, self.covariate >= 0]

    def values(self, held: dict[int, int]) -> tuple[int, int]:
        """The user's outcome (numerator, denominator) as it counts: a share is 0 or 1, anything else has a cap."""
        above = held.get(self.above.slot, 0)
        if self.share:
            return (1 if above > 0 else 0), 0
        below = 0 if self.below is None else held.get(self.below.slot, 0)
        return max(-self.cap, min(self.cap, above)), max(-VALUE_LIMIT, min(VALUE_LIMIT, below))

    def change(self, old: tuple[int, int], new: tuple[int, int], x: int, missing: int) -> list[int]:
        """What the sums change by when a user's outcome does."""
        (a, b), (c, d) = old, new
        found = [c - a, c * c - a * a]
        if self.below is not None:
            found += [d - b, c * d - a * b, d * d - b * b]
        if self.covariate >= 0:
            found += [(c - a) * x, (c - a) * missing]
            if self.below is not None:
                found += [(d - b) * x, (d - b) * missing]
            found += [0, 0, 0]
        return found

    def entering(self, x: int, missing: int) -> list[int]:
        """What the sums change by when a user without outcome comes in."""
        found = [0] * len(self.sums)
        if self.covariate >= 0:
            found[-3:] = [x, x * x, missing]
        return found


Counted = tuple[Meter, Side]


class Trial:
    """One experiment, ready to assign, to expose and to count.

    Attributes
    ----------
    key : counter hash. covariates : names of what is frozen at the exposure. weights : those in force, as counters
        name them; chances : the same by variant. refund_ms : 0 without refunds.
    """

    __slots__ = (
        "_assigner",
        "_step",
        "chances",
        "code",
        "condition",
        "covariates",
        "experiment",
        "id",
        "key",
        "lateness_ms",
        "meters",
        "of_orders",
        "refund_ms",
        "variant_by_code",
        "weights",
    )

    def __init__(self, experiment: Experiment) -> None:
        self.experiment, self.id, self.code = experiment, experiment.id, experiment.code
        self.key = counter_key(experiment.key)
        self.variant_by_code = experiment.variant_by_code
        self.covariates = tuple(dict.fromkeys(m.covariate for m in experiment.metrics if m.covariate is not None))
        self.meters = tuple(Meter(metric, self.covariates) for metric in experiment.metrics)
        self.lateness_ms, self.refund_ms = experiment.lateness_ms, experiment.refund_window_ms or 0
        step = experiment.ruling.step if experiment.ruling is not None else 0
        self._step = step
        self.weights = ",".join(f"{share:g}" for share in experiment.shares)
        if experiment.allocation is not None:
            self.weights += f"|{STEP}{step}"
        self.chances = dict(zip((one.id for one in experiment.variants), experiment.shares, strict=True))
        # Metrics that an order changes, and its refund.
        self.of_orders = tuple(counted for counted in self.listening(ORDERED) if counted[1].ordered)
        self.condition: Condition | None = compile_condition(experiment.when) if experiment.when else None
        self._assigner = Assigner(experiment)

    def variant(self, user: str) -> str | None:
        """Variant of a user who is not exposed yet; None: takes no part."""
        return self._assigner.variant(user)

    def given(self, profile: Profile) -> str | None:
        """Variant that stands already: everybody's once the experiment is decided, else that of the user's exposure."""
        found = self.experiment
        if not found.enabled:
            return None
        if found.ruling is not None and found.ruling.status != "running":
            return found.ruling.winner if found.ruling.status == "rolled_out" else found.control.id
        seen = profile.exposures.get(self.code)
        return None if seen is None else self.variant_by_code.get(seen.variant)

    def counts(self, user: str) -> bool:
        """Whether the user is no tester."""
        return user not in self.experiment.testers

    @property
    def open(self) -> bool:
        """Whether anybody may still be exposed, at whatever time."""
        found = self.experiment
        return found.enabled and (found.ruling is None or found.ruling.status == "running")

    def over(self, watermark: int) -> bool:
        """Whether nobody can be exposed any more, by its end."""
        end = self.experiment.end_ms
        return end is not None and watermark > end + self.lateness_ms

    def running(self, at: int) -> bool:
        """Whether somebody may be exposed at `at` (ms)."""
        found = self.experiment
        if not self.open:
            return False
        return (found.start_ms is None or at >= found.start_ms) and (found.end_ms is None or at < found.end_ms)

    def listening(self, event: str) -> tuple[Counted, ...]:
        """Metrics that an event of this name changes."""
        found: list[Counted] = []
        for metric, meter in zip(self.experiment.metrics, self.meters, strict=True):
            if metric.event == event:
                found.append((meter, meter.above))
            if metric.denominator_event == event and meter.below is not None:
                found.append((meter, meter.below))
        return tuple(found)

    def covariates_of(self, before: Before, at: int) -> tuple[list[int], bool]:
        """Covariates of a user who is exposed at `at`, and whether nothing was known strictly before it."""
        if not before[2] or before[4] >= at:
            return [], True
        limit = VALUE_LIMIT
        return [max(-limit, min(limit, before[_COVARIATES[name]])) for name in self.covariates], False

    def parts_of(self, profile: Profile, document: Callable[[], dict[str, Any]] | None) -> list[int]:
        """Place of the user in each dimension, and the step of the roll-out or version of the bandit's shares."""
        found = []
        for dimension in self.experiment.dimensions:
            values = dimension.told_apart
            value = _FACTS[dimension.id](profile, document)
            found.append(values.index(value) if value in values else len(values))
        if self.experiment.stepped:
            found.append(self._step)
        return found

    def weights_of(self, exposure: Exposure) -> str | None:
        """Weights in force at an exposure, as counters name them; None: a bandit's, which has others by now."""
        if self.experiment.allocation is not None and exposure.parts[-1:] != [self._step]:
            return None
        return self.weights

    def segments(self, exposure: Exposure) -> Iterable[str]:
        """Parts of the users that the exposure counts in; the first is that of all."""
        yield ""
        for place, dimension in zip(exposure.parts, self.experiment.dimensions, strict=False):
            values = dimension.told_apart
            yield f"{dimension.id}={values[place] if place < len(values) else 'other'}"
        if self.experiment.stepped:
            yield f"{STEP}{exposure.parts[-1]}"
        if exposure.flags & TWICE_FLAG:
            yield TWICE


def _country(profile: Profile, _: Callable[[], dict[str, Any]] | None) -> object:
    return profile.attributes.get("country")


def _device(profile: Profile, document: Callable[[], dict[str, Any]] | None) -> object:
    """`context.device.type` of the event that exposes, else what the user told."""
    context = document().get("context") if document is not None else None
    device = context.get("device") if isinstance(context, dict) else None
    found = device.get("type") if isinstance(device, dict) else None
    return found if isinstance(found, str) else profile.attributes.get("device")


def _new_returning(profile: Profile, _: Callable[[], dict[str, Any]] | None) -> object:
    return "new" if profile.sessions <= 1 else "returning"


_FACTS: dict[str, Callable[[Profile, Callable[[], dict[str, Any]] | None], object]] = {
    "country": _country,
    "device": _device,
    "new_returning": _new_returning,
}
