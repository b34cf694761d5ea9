"""What the page shows of campaigns and experiments, as data (see :mod:`services.dashboard.context`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["undecided", "better", "worse", "harm", "too-few"]
Tone = Literal["good", "bad", "note", "plain"]


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
    users : users whose window has closed.
    value : the rate, the money per user, ..., for people.
    difference : against the control, for people: a lift in percent where there is one; empty for the control.
    interval : of the same; valid at every look. Empty for the control.
    p : adjusted for all comparisons; None for the control and where the method has none.
    planted : the effect that a simulation put in, for people; empty in a real experiment.
    verdict : undecided, better, worse, harm or too-few; None for the control.
    words : the verdict for people.
    low, high, point : the interval on a scale of -1 to 1 for drawing; None where there is none.
    """

    variant: str
    control: bool
    users: int
    value: str
    difference: str = ""
    interval: str = ""
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
    kind : proportion, revenue, ...
    role : what it is for, for people; empty for a primary metric.
    variants : one row each, control first.
    """

    metric: str
    title: str
    kind: str
    role: str
    variants: tuple[VariantResult, ...]


@dataclass(frozen=True, slots=True)
class ExperimentResult:
    """The card of an experiment.

    Parameters
    ----------
    experiment : its id.
    description : what is tried.
    hypothesis : what is expected.
    simulated : the reactions are made by a simulator; never to be read as real.
    exposed : users exposed, all variants, matured or not.
    users : the same by variant.
    verdict : its code; empty while the judge has not looked.
    sentence : the verdict in plain words.
    tone : how it is coloured: good, bad, note or plain.
    action : what is recommended; empty when it does not run any more.
    status : running, stopped or rolled_out.
    state : the status with its reason, for people.
    progress : matured users of the planned ones, those inside their window, days left.
    share : 0 to 1, matured of planned; None without a plan.
    cautions : what a reader must know beside the verdict.
    metrics : results per metric.
    """

    experiment: str
    description: str
    hypothesis: str
    simulated: bool
    exposed: int = 0
    users: tuple[tuple[str, int], ...] = ()
    verdict: str = ""
    sentence: str = ""
    tone: Tone = "plain"
    action: str = ""
    status: str = "running"
    state: str = "running"
    progress: str = ""
    share: float | None = None
    cautions: tuple[str, ...] = ()
    metrics: tuple[MetricResult, ...] = ()
