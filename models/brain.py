"""What decide knows beside the user: policies compiled from the definitions, and snapshots of what was learned."""

from __future__ import annotations

from config.definitions import Definitions, Experiment, Metric
from models.campaigns.conditions import Condition, compile_condition
from models.campaigns.index import CampaignIndex
from models.events import FEEDBACK_EVENTS
from models.experiments.assign import Assigner
from models.learners.linear import LinearModel
from models.offers.recs import Recs

FEEDBACK_NAMES = FEEDBACK_EVENTS | {"Simulated Order"}


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
        "decide_offers_on",
        "definitions",
        "exposed_by",
        "feedback_names",
        "index",
        "metrics_on",
        "policy_version",
        "recs",
    )

    def __init__(self, definitions: Definitions, churn: LinearModel | None = None, recs: Recs | None = None) -> None:
        self.definitions = definitions
        self.policy_version = definitions.version()
        self.churn = churn or LinearModel.rule()
        self.recs = recs or Recs()
        self.index = CampaignIndex(definitions)
        texts = {c.when for c in definitions.campaigns if c.when} | {o.when for o in definitions.offers if o.when}
        self.conditions: dict[str, Condition] = {text: compile_condition(text) for text in sorted(texts)}
        self.decide_offers_on = frozenset(definitions.policy.offers.decide_on)
        self.feedback_names = FEEDBACK_NAMES
        self._assigners = {experiment.id: Assigner(experiment) for experiment in definitions.experiments}
        exposed: dict[str, list[Experiment]] = {}
        metrics: dict[str, list[tuple[Experiment, Metric]]] = {}
        for experiment in definitions.experiments:
            if experiment.enabled and experiment.expose_on.event is not None:
                exposed.setdefault(experiment.expose_on.event, []).append(experiment)
            for metric in experiment.metrics:
                metrics.setdefault(metric.event, []).append((experiment, metric))
        self.exposed_by = {name: tuple(found) for name, found in exposed.items()}
        self.metrics_on = {name: tuple(found) for name, found in metrics.items()}

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
