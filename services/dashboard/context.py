"""What the page shows, as data: every part of the page is one of these, as is every part of `/api/live`.

Frozen dataclasses without behaviour. Pure functions (:mod:`services.dashboard.build`) build them from what
lay in Redis, and they are rendered by templates or encoded as JSON without change. Each field is described
here; a test fails when one is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from models.learners.health import ScoreHealth
from models.parity import Parity
from services.dashboard.chosen import Choosing, Recommended
from services.dashboard.outcomes import ExperimentResult, Funnel
from services.state.alerts import ToldAlert
from services.state.reviews import Reviewed
from services.state.rules import ToldRule

Level = Literal["ok", "note", "bad", "empty", "away"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not well.

    Parameters
    ----------
    level : note (worth knowing) or bad (act).
    what : what is wrong, one sentence.
    remedy : what to do about it, one sentence.
    """

    level: Level
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Status:
    """The answer to "is all well?".

    Parameters
    ----------
    level : ok, note, bad, empty (nothing has happened yet) or away (Redis does not answer).
    headline : the answer in a few words.
    detail : one sentence of evidence.
    problems : what is not well, worst first.
    """

    level: Level
    headline: str
    detail: str
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Clock:
    """The shop's clock: how far event time has come.

    Parameters
    ----------
    at_ms : event time, epoch ms; None while no event was seen.
    day, time : the same for people, UTC.
    speed : event time per wall time in a replay, e.g. "3,000x"; empty when live.
    label : the simulation's own label; empty when the events are real.
    """

    at_ms: int | None
    day: str
    time: str
    speed: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A latency's quantiles over the last seconds, ms.

    Parameters
    ----------
    p50, p95, p99 : of several workers the slowest one's, because quantiles cannot be added up.
    n : number of measurements, of all workers.
    """

    p50: float
    p95: float
    p99: float
    n: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency in its two parts; they are never shown as one.

    Parameters
    ----------
    log : in the log, from the broker's time stamp to the fetch.
    kairos : in Kairos, from the fetch to the committed decision.
    """

    log: Quantiles | None
    kairos: Quantiles | None


@dataclass(frozen=True, slots=True)
class Totals:
    """The large numbers.

    Parameters
    ----------
    events_per_s : events applied in the last second, all workers.
    events : events applied (ticks left out), exactly, from the lanes' own counters.
    alerts, offers : decided by the workers that are alive, since they started.
    messages : decided by the campaigns defined, exactly, from the lanes' own counters.
    refused : records that went to dead-letters, from the lanes' own counters.
    waiting : records in the log that no worker has taken yet.
    """

    events_per_s: float
    events: int
    alerts: int
    offers: int
    messages: int
    refused: int
    waiting: int


@dataclass(frozen=True, slots=True)
class TopicLag:
    """Records of one topic that wait to be read.

    Parameters
    ----------
    topic : its name.
    reader : the role that reads it.
    records : how many wait, over all partitions.
    share : 0 to 1, of the largest one shown.
    """

    topic: str
    reader: str
    records: int
    share: float


@dataclass(frozen=True, slots=True)
class TailItem:
    """Something that just happened.

    Parameters
    ----------
    at_ms : wall clock, epoch ms.
    when : event time for people.
    user : user id.
    text : a sentence.
    detail : a second line, may be empty.
    tag : one or two words, may be empty.
    """

    at_ms: int
    when: str
    user: str
    text: str
    detail: str = ""
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Tails:
    """What just happened, newest first.

    Parameters
    ----------
    alerts : churn alerts.
    offers : next-best-offers.
    messages : messages decided, sent or suppressed.
    events : input events.
    """

    alerts: tuple[TailItem, ...] = ()
    offers: tuple[TailItem, ...] = ()
    messages: tuple[TailItem, ...] = ()
    events: tuple[TailItem, ...] = ()


@dataclass(frozen=True, slots=True)
class LaneProof:
    """The proof ledger of one lane: received = applied + duplicate + rejected + forwarded + in flight.

    Parameters
    ----------
    lane : its number; -1 for the sum.
    received : records of the lane that lie in the log, as far as a worker saw it.
    applied, duplicate, rejected, forwarded : their fates, counted in the lane's transactions.
    in_flight : records in the log that are not committed yet.
    ticks : records that only carry time; they are among those received and applied.
    difference : received - (applied + duplicate + rejected + forwarded + in flight); 0 when it balances.
    watermark : how far event time has come in this lane, for people.
    """

    lane: int
    received: int
    applied: int
    duplicate: int
    rejected: int
    forwarded: int
    in_flight: int
    ticks: int
    difference: int
    watermark: str


@dataclass(frozen=True, slots=True)
class Proof:
    """The proof ledger.

    Parameters
    ----------
    lanes : one each.
    total : their sum.
    balances : every lane balances; False while there is nothing to prove.
    """

    lanes: tuple[LaneProof, ...]
    total: LaneProof | None
    balances: bool


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A published model.

    Parameters
    ----------
    name : its name.
    title : what it is for.
    version : newest published version; 0 when none is published.
    in_use : version that decide uses; None while no worker says so.
    published : when it was published, wall clock, for people.
    learned : whether it has learned; before, a documented rule answers.
    examples : examples that it learned from, None where it does not say.
    words : "learned since 30 Jun 2010", "not learned yet", and the like.
    figures : how good the scores were as they were served, by name, of a goal's model that was judged.
    state : fine, stale, drifting, worse than the rate, or not learned yet; "" where nothing is watched.
    health : what its learner knows of the score.
    """

    name: str
    title: str
    version: int
    in_use: int | None
    published: str
    learned: bool
    examples: int | None
    words: str
    figures: Mapping[str, float] = field(default_factory=dict)
    state: str = ""
    health: ScoreHealth | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of customers by behaviour.

    Parameters
    ----------
    name : its name, as conditions see it.
    share : 0 to 1, of the customers at the last fit.
    recency_days, purchase_days, money : what a typical customer of it is like; money in major units.
    """

    name: str
    share: float
    recency_days: float
    purchase_days: float
    money: float


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker.

    Parameters
    ----------
    role, worker : which one.
    alive : wrote its figures in the last 15 s.
    seen : when it last did, wall clock, for people.
    events_per_s, events : of this worker.
    cpu_s : CPU it used since it started.
    config_refused : a changed file of the config folder is bad; what was before is in force.
    """

    role: str
    worker: str
    alive: bool
    seen: str
    events_per_s: float
    events: int
    cpu_s: float
    config_refused: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One point of the plots.

    Parameters
    ----------
    at_ms : wall clock, epoch ms.
    events_per_s : events applied per second.
    p50_ms, p99_ms : latency in Kairos.
    """

    at_ms: int
    events_per_s: float
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Reviews:
    """What customers say about products.

    Parameters
    ----------
    products : how many were reviewed.
    reviews : how many reviews there are.
    best : products, best first.
    worst : products, worst first; none of the best.
    """

    products: int = 0
    reviews: int = 0
    best: tuple[Reviewed, ...] = ()
    worst: tuple[Reviewed, ...] = ()


@dataclass(frozen=True, slots=True)
class PageContext:
    """The whole page.

    Parameters
    ----------
    at_ms : when it was read, wall clock, epoch ms.
    status : is all well?
    clock : the shop's clock.
    totals : the large numbers.
    latency : in the log and in Kairos.
    lag : waiting records per topic.
    tails : what just happened.
    funnels : one per campaign.
    experiments : one per experiment.
    proof : the proof ledger.
    models : published models.
    segments : of customers by behaviour, the largest first.
    fairness : whether groups of users are treated alike, if any are declared.
    workers : alive and silent ones.
    reviews : what customers say about products.
    together : what is bought together, strongest first.
    recommended : what recommended lists bring.
    choosing : which offer comes first, and what a bandit learned of that.
    alerts : newest alerts that nobody acknowledged and that are not over.
    history : the last minutes, oldest first.
    """

    at_ms: int
    status: Status
    clock: Clock
    totals: Totals
    latency: Latency
    lag: tuple[TopicLag, ...] = ()
    tails: Tails = Tails()
    funnels: tuple[Funnel, ...] = ()
    experiments: tuple[ExperimentResult, ...] = ()
    proof: Proof = Proof((), None, False)
    models: tuple[ModelVersion, ...] = ()
    segments: tuple[Segment, ...] = ()
    fairness: tuple[Parity, ...] = ()
    workers: tuple[Worker, ...] = ()
    reviews: Reviews = Reviews()
    together: tuple[ToldRule, ...] = ()
    recommended: Recommended = field(default_factory=Recommended)
    choosing: Choosing = field(default_factory=Choosing)
    alerts: tuple[ToldAlert, ...] = ()
    history: tuple[Sample, ...] = ()
