"""What the page shows of campaigns and experiments, as data (see :mod:`services.dashboard.context`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["undecided", "ahead", "behind", "too-few"]


@dataclass(frozen=True, slots=True)
class Suppression:
    """Messages that were decided and then held back for one reason.

    Parameters
    ----------
    reason : the reason's code.
    words : the reason for people.
    count : how many.
    """

    reason: str
    words: str
    count: int


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a funnel.

    Parameters
    ----------
    name : decided, sent, opened, clicked or ordered.
    count : messages that came this far.
    share : 0 to 1, of those decided.
    rate : of what, for people: "69 % of decided", "42 % of sent"; empty where there is none.
    """

    name: str
    count: int
    share: float
    rate: str


@dataclass(frozen=True, slots=True)
class Funnel:
    """What became of a campaign's messages.

    Parameters
    ----------
    campaign : its id.
    description : what it is for.
    channel : email, push or log.
    steps : decided, sent, opened, clicked, ordered.
    suppressions : held back, by reason, most frequent first.
    suppressed : held back, all reasons.
    failed : refused by the provider or the mail server.
    unknown : handed over without a known outcome; never repeated silently.
    expired : not sent in time, and dropped.
    underway : decided, and no outcome yet (queued, or held over quiet hours).
    ordered_simulated : orders that a simulator made up; never added to the real ones.
    """

    campaign: str
    description: str
    channel: str
    steps: tuple[Step, ...]
    suppressions: tuple[Suppression, ...]
    suppressed: int
    failed: int
    unknown: int
    expired: int
    underway: int
    ordered_simulated: int


@dataclass(frozen=True, slots=True)
class VariantResult:
    """One variant in one metric.

    Parameters
    ----------
    variant : its id.
    control : the variant that others are compared with.
    exposed : users who were exposed.
    users : users who converted.
    value : the rate, or the mean revenue per exposed user, for people.
    difference : against the control, for people; empty for the control.
    interval : its 95 % interval, for people; empty for the control.
    z, p : of the two-sided test; None for the control and where there is too little.
    planted : the effect that a simulation put in, for people; empty in a real experiment.
    verdict : undecided, ahead, behind or too-few; None for the control.
    words : the verdict for people.
    low, high, point : the interval on a scale of -1 to 1 for drawing; None where there is none.
    """

    variant: str
    control: bool
    exposed: int
    users: int
    value: str
    difference: str = ""
    interval: str = ""
    z: float | None = None
    p: float | None = None
    planted: str = ""
    verdict: Verdict | None = None
    words: str = ""
    low: float | None = None
    high: float | None = None
    point: float | None = None


@dataclass(frozen=True, slots=True)
class MetricResult:
    """One metric of an experiment.

    Parameters
    ----------
    metric : its id.
    title : what is counted, and within which time.
    kind : proportion or revenue.
    variants : one row each, control first.
    """

    metric: str
    title: str
    kind: str
    variants: tuple[VariantResult, ...]


@dataclass(frozen=True, slots=True)
class ExperimentResult:
    """One experiment.

    Parameters
    ----------
    experiment : its id.
    description : what is tried.
    hypothesis : what is expected.
    simulated : the reactions are made by a simulator; never to be read as real.
    exposed : users exposed, all variants.
    metrics : results per metric.
    """

    experiment: str
    description: str
    hypothesis: str
    simulated: bool
    exposed: int
    metrics: tuple[MetricResult, ...]
