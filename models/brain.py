"""What decide knows beside the user: policies compiled from the definitions, and snapshots of what was learned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from config.codes import code32
from config.definitions import Campaign, Definitions, Experiment, Goal
from config.metric import ORDERED
from models import reviews
from models.campaigns.conditions import Condition, Conditions, compile_condition
from models.campaigns.index import CampaignIndex
from models.campaigns.run import feedback
from models.events import FEEDBACK_EVENTS
from models.experiments.count import REFUNDS, VIEWED
from models.experiments.trial import Counted, Trial
from models.facts import Facts
from models.goals import Goals
from models.learners.batch import ChurnScorer
from models.learners.goal_scores import GoalScores
from models.learners.linear import LinearModel
from models.learners.opinions import Opinions
from models.learners.uplift_scores import UpliftScores
from models.offers import rankings
from models.offers.answered import PROMOTIONS, on_promotion
from models.offers.bandit import NAME as BANDIT
from models.offers.bandit import Bandit
from models.offers.pairs import Rules
from models.offers.recs import Recs
from models.offers.stock import CHANGED as STOCK_CHANGED
from models.offers.stock import NAME as STOCK
from models.offers.stock import Stock, changed
from models.profile.state import Profile
from models.profile.update import HANDLERS
from models.uplift import Wait, uplifts_of
from models.wire import ALIASED, MERGED, Input

if TYPE_CHECKING:
    from models.decide import Turn

FEEDBACK_NAMES = FEEDBACK_EVENTS | {"Simulated Order"}
# Feedback by which a user comes back. Opening is none: mail programs and scanners open by themselves.
VISITS = frozenset({"Email Link Clicked", "Push Notification Tapped"})


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that events of one name can lead to: one look-up an event, where each of these would be one.

    Parameters
    ----------
    handler : what it changes in the profile. rare : what else of it is looked at: what became of a message, an offer
        or a recommended list, what a review says. visit : whether the user was there, which a mail that was delivered
        does not say.
    metrics, exposes : experiments whose conversion or exposure it is; `mark` stands in profiles of users who need not
        be asked about `exposes` any more. refunds : experiments from whose metrics it takes back. viewed : experiments
        by id, if an outside service tells with it what it showed. order : whether it is to be remembered.
    experiments : whether it is any of these.
    identity : whether it says that two users are one.
    answers : campaigns whose wait it ends. starts : whether it starts a campaign, at once or later. offers : whether
        offers are decided on it. goals : what of that which is waited for it may reach.
    """

    handler: Callable[[Profile, Input], Any] | None = None
    rare: Callable[[Turn, Profile, Input], None] | None = None
    visit: bool = True
    metrics: tuple[tuple[Trial, tuple[Counted, ...]], ...] = ()
    exposes: tuple[Trial, ...] = ()
    mark: int = 0
    refunds: tuple[Trial, ...] = ()
    viewed: Mapping[str, Trial] | None = None
    order: bool = False
    experiments: bool = False
    answers: tuple[Campaign, ...] = ()
    starts: bool = False
    offers: bool = False
    identity: bool = False
    goals: tuple[Goal | Wait, ...] = ()


NO_PLAN = Plan()


class Brain:
    """Immutable; a new one is made when a snapshot or a policy changes, and swapped between two batches.

    Parameters
    ----------
    definitions : what marketers wrote. churn, recs, goals, bandit, opinions, rules, facts, stock, uplift : models; the
        rule and nothing before anything was learned. What judges texts comes with a lexicon, from whoever reads files.
    """

    __slots__ = (
        "bandit",
        "churn",
        "conditions",
        "definitions",
        "disliked",
        "facts",
        "goals",
        "has_covariates",
        "index",
        "marks",
        "offer_conditions",
        "opinions",
        "orders_ms",
        "plans",
        "policy_version",
        "recs",
        "rules",
        "session_gap_ms",
        "stock",
        "trials",
        "uplift",
        "without",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - one for each model
        self,
        definitions: Definitions,
        churn: ChurnScorer | None = None,
        recs: Recs | None = None,
        goals: GoalScores | None = None,
        bandit: Bandit | None = None,
        opinions: Opinions | None = None,
        rules: Rules | None = None,
        facts: Facts | None = None,
        stock: Stock | None = None,
        uplift: UpliftScores | None = None,
    ) -> None:
        self.definitions = definitions
        self.policy_version = definitions.version()
        self.session_gap_ms = definitions.policy.session_gap_ms
        self.churn: ChurnScorer = churn or LinearModel.rule()
        self.recs = recs or Recs()
        self.bandit = bandit or Bandit()
        self.facts = facts or Facts()
        asked = tuple(goal for goal in definitions.goals if goal.enabled)
        self.rules = rules or Rules()
        self.stock = stock or Stock()
        self._judge(opinions or Opinions())
        self.index = CampaignIndex(definitions)
        texts = {c.when for c in definitions.campaigns if c.when} | {o.when for o in definitions.offers if o.when}
        self.uplift = uplifts_of(definitions, texts).with_scores(uplift or UpliftScores())
        self.goals = Goals(asked, goals or GoalScores(), self.uplift.waits)
        self.conditions: dict[str, Condition] = {text: compile_condition(text) for text in sorted(texts)}
        self.offer_conditions = Conditions(self.conditions[offer.when] for offer in definitions.offers if offer.when)
        self.trials = {experiment.id: Trial(experiment) for experiment in definitions.experiments}
        self.has_covariates = any(trial.covariates for trial in self.trials.values())
        keeps = [trial.refund_ms + trial.lateness_ms for trial in self.trials.values() if trial.of_orders]
        self.orders_ms = max(keeps, default=0)
        self.plans = _plans(definitions, self.index, self.trials, self.goals)
        self.marks = frozenset(plan.mark for plan in self.plans.values() if plan.mark)

    def _judge(self, opinions: Opinions) -> None:
        """Take what judges reviews, and which products are not recommended for them."""
        self.opinions = opinions
        self.disliked = opinions.disliked(self.definitions.policy.offers.min_sentiment)
        self.without = self.disliked | self.stock.out

    def with_models(  # noqa: PLR0913, PLR0917 - one for each model
        self,
        churn: ChurnScorer,
        recs: Recs,
        goals: GoalScores | None = None,
        bandit: Bandit | None = None,
        opinions: Opinions | None = None,
        rules: Rules | None = None,
        facts: Facts | None = None,
        stock: Stock | None = None,
        uplift: UpliftScores | None = None,
    ) -> Brain:
        """The same policies with other snapshots; what was compiled is shared."""
        other = object.__new__(Brain)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        other.churn, other.recs = churn, recs
        if bandit is not None:
            other.bandit = bandit
        if goals is not None and goals is not self.goals.scores:
            other.goals = self.goals.with_scores(goals)
        if opinions is not None and opinions is not self.opinions:
            other._judge(opinions)
        if rules is not None:
            other.rules = rules
        if facts is not None:
            other.facts = facts
        if stock is not None and stock is not self.stock:
            other.stock = stock
            other.without = other.disliked | stock.out
        if uplift is not None and uplift is not self.uplift.scores:
            other.uplift = self.uplift.with_scores(uplift)
        return other

    @property
    def models(self) -> tuple[ChurnScorer, Recs, GoalScores, Bandit, Opinions, Rules, Facts, Stock, UpliftScores]:
        """What :meth:`with_models` was given."""
        learned = self.opinions, self.rules, self.facts, self.stock, self.uplift.scores
        return self.churn, self.recs, self.goals.scores, self.bandit, *learned

    @property
    def versions(self) -> dict[str, int]:
        """Versions of the snapshots in use, for the journal: `churn` or `churn-batch`, whichever serves, and others.

        Of goals, those of the online models and of every batch model that was promoted.
        """
        found = {
            self.churn.name: self.churn.version,
            "recs": self.recs.version,
            "goals": self.goals.scores.version,
            **{model.name: model.version for model in self.goals.scores.batch.values()},
            "sentiment": self.opinions.version,
            "rules": self.rules.version,
            **self.facts.versions,
            "uplift": self.uplift.scores.version,
        }
        if self.chooses:
            found[BANDIT] = self.bandit.version
        if self.stock.version:
            found[STOCK] = self.stock.version
        return found

    @property
    def chooses(self) -> bool:
        """Whether a bandit chooses which offer comes first."""
        return self.definitions.policy.offers.choose == "bandit"

    def assign(self, experiment: Experiment, user: str) -> str | None:
        """Variant of `user`, or None when the user takes no part."""
        return self.trials[experiment.id].variant(user)


def _plans(
    definitions: Definitions, index: CampaignIndex, trials: Mapping[str, Trial], asked: Goals
) -> dict[str, Plan]:
    """Plan of every event name that means anything; of all others it is :data:`NO_PLAN`."""
    metrics: dict[str, list[tuple[Trial, tuple[Counted, ...]]]] = {}
    exposes: dict[str, list[Trial]] = {}
    for trial in trials.values():
        event = trial.experiment.expose_on.event
        if event is not None and event != VIEWED and trial.open:
            exposes.setdefault(event, []).append(trial)
        named = (name for metric in trial.experiment.metrics for name in (metric.event, metric.denominator_event))
        for name in dict.fromkeys(named):
            if name is not None:
                metrics.setdefault(name, []).append((trial, trial.listening(name)))
    refunds = tuple(trial for trial in trials.values() if trial.refund_ms and trial.of_orders)
    ledger = any(trial.of_orders for trial in trials.values())
    told = dict.fromkeys(REFUNDS, refunds) if refunds else {}
    offers = frozenset(definitions.policy.offers.decide_on)
    rare: dict[str, Callable[[Turn, Profile, Input], None]] = dict.fromkeys(FEEDBACK_NAMES - HANDLERS.keys(), feedback)
    rare |= {
        rankings.VIEWED_EVENT: rankings.on_list,
        rankings.CLICKED_EVENT: rankings.on_click,
        rankings.ADDED_EVENT: rankings.on_added,
    }
    rare |= {reviews.REVIEWED: reviews.on_event, STOCK_CHANGED: changed}
    if definitions.policy.offers.choose == "bandit":
        rare |= dict.fromkeys(PROMOTIONS, on_promotion)
    every = {*HANDLERS, *rare, *metrics, *exposes, *index.names, *offers}
    every |= {one.event for one in asked.awaited.values()}
    if trials:
        every.add(VIEWED)
    found = {
        name: Plan(
            handler=HANDLERS.get(name),
            rare=rare.get(name),
            visit=name in VISITS or name not in FEEDBACK_NAMES | {STOCK_CHANGED},
            metrics=tuple(metrics.get(name, ())),
            exposes=tuple(exposes.get(name, ())),
            mark=_mark(exposes.get(name, ())),
            refunds=told.get(name, ()),
            viewed=trials if name == VIEWED else None,
            order=ledger and name == ORDERED,
            experiments=name in metrics or name in exposes or name in told or name in {VIEWED, ORDERED},
            answers=index.cancelled_by(name),
            starts=index.listens(name),
            offers=name in offers,
            goals=asked.listening(name),
        )
        for name in every
    }
    return found | dict.fromkeys((ALIASED, MERGED), Plan(visit=False, identity=True))


def _mark(exposes: Iterable[Trial]) -> int:
    """A number for a set of experiments as they are now; 0 for none."""
    texts = [trial.experiment.model_dump_json() for trial in exposes]
    return code32("\n".join(texts)) if texts else 0
