"""What decide knows beside the user: policies compiled from the definitions, and snapshots of what was learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from config.definitions import Campaign, Definitions, Experiment, Metric
from models.campaigns.conditions import Condition, Conditions, compile_condition
from models.campaigns.index import CampaignIndex
from models.events import FEEDBACK_EVENTS
from models.experiments.assign import Assigner
from models.learners.linear import LinearModel
from models.offers.recs import Recs
from models.profile.state import Profile
from models.profile.update import HANDLERS
from models.wire import Input

FEEDBACK_NAMES = FEEDBACK_EVENTS | {"Simulated Order"}
# Feedback by which a user comes back. Opening is none: mail programs and scanners open by themselves.
VISITS = frozenset({"Email Link Clicked", "Push Notification Tapped"})


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that events of one name can lead to: one look-up an event, where each of these would be one.

    Parameters
    ----------
    handler : what it changes in the profile. feedback : whether it tells what became of a message. visit : whether the
        user was there, which a mail that was delivered does not say.
    metrics, exposes : experiments whose conversion or exposure it is. answers : campaigns whose wait it ends.
    starts : whether it starts a campaign, at once or later. offers : whether offers are decided on it.
    """

    handler: Callable[[Profile, Input], Any] | None = None
    feedback: bool = False
    visit: bool = True
    metrics: tuple[tuple[Experiment, Metric], ...] = ()
    exposes: tuple[Experiment, ...] = ()
    answers: tuple[Campaign, ...] = ()
    starts: bool = False
    offers: bool = False


NO_PLAN = Plan()


class Brain:
    """Immutable; a new one is made when a snapshot or a policy changes, and swapped between two batches.

    Parameters
    ----------
    definitions : what marketers wrote. churn, recs : models; the rule and nothing before anything was learned.
    """

    __slots__ = (
        "_assigners",
        "churn",
        "conditions",
        "definitions",
        "index",
        "offer_conditions",
        "plans",
        "policy_version",
        "recs",
        "session_gap_ms",
    )

    def __init__(self, definitions: Definitions, churn: LinearModel | None = None, recs: Recs | None = None) -> None:
        self.definitions = definitions
        self.policy_version = definitions.version()
        self.session_gap_ms = definitions.policy.session_gap_ms
        self.churn = churn or LinearModel.rule()
        self.recs = recs or Recs()
        self.index = CampaignIndex(definitions)
        texts = {c.when for c in definitions.campaigns if c.when} | {o.when for o in definitions.offers if o.when}
        self.conditions: dict[str, Condition] = {text: compile_condition(text) for text in sorted(texts)}
        self.offer_conditions = Conditions(self.conditions[offer.when] for offer in definitions.offers if offer.when)
        self._assigners = {experiment.id: Assigner(experiment) for experiment in definitions.experiments}
        self.plans = _plans(definitions, self.index)

    def with_models(self, churn: LinearModel, recs: Recs) -> Brain:
        """The same policies with other snapshots; what was compiled is shared."""
        other = object.__new__(Brain)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        other.churn, other.recs = churn, recs
        return other

    @property
    def versions(self) -> dict[str, int]:
        """Versions of the snapshots in use, for the journal."""
        return {"churn": self.churn.version, "recs": self.recs.version}

    def assign(self, experiment: Experiment, user: str) -> str | None:
        """Variant of `user`, or None when the user takes no part."""
        return self._assigners[experiment.id].variant(user)


def _plans(definitions: Definitions, index: CampaignIndex) -> dict[str, Plan]:
    """Plan of every event name that means anything; of all others it is :data:`NO_PLAN`."""
    metrics: dict[str, list[tuple[Experiment, Metric]]] = {}
    exposes: dict[str, list[Experiment]] = {}
    for experiment in definitions.experiments:
        if experiment.enabled and experiment.expose_on.event is not None:
            exposes.setdefault(experiment.expose_on.event, []).append(experiment)
        for metric in experiment.metrics:
            metrics.setdefault(metric.event, []).append((experiment, metric))
    offers = frozenset(definitions.policy.offers.decide_on)
    return {
        name: Plan(
            handler=HANDLERS.get(name),
            feedback=name in FEEDBACK_NAMES,
            visit=name not in FEEDBACK_NAMES or name in VISITS,
            metrics=tuple(metrics.get(name, ())),
            exposes=tuple(exposes.get(name, ())),
            answers=index.cancelled_by(name),
            starts=index.listens(name),
            offers=name in offers,
        )
        for name in {*HANDLERS, *FEEDBACK_NAMES, *metrics, *exposes, *index.names, *offers}
    }
