"""Cards of experiments from sums, as the judge writes them."""

from collections.abc import Mapping
from typing import Any

from config.experiment import Experiment
from models.experiments.reading import Counted, plan_of
from models.experiments.record import Record
from models.experiments.sums import Moments
from models.experiments.verdict import judge
from models.experiments.watch import document_of

AT = 1_268_559_120_000


def shares(users: int, successes: int) -> Moments:
    """Users, and those of them with the event."""
    return Moments(users, (successes,), (successes,))


def card_of(
    experiment: Experiment,
    matured: Mapping[str, Mapping[str, Moments]],
    waiting: Mapping[str, Mapping[str, Moments]] | None = None,
) -> dict[str, Any]:
    """The card after one look; metrics without sums have no users."""
    plan = plan_of(experiment)

    def whole(sums: Mapping[str, Mapping[str, Moments]]) -> dict[str, dict[str, Moments]]:
        return {
            arm: {metric.id: sums.get(arm, {}).get(metric.id, _none(metric.values)) for metric in plan.metrics}
            for arm in plan.weights
        }

    closed, still = whole(matured), whole(waiting or {})
    first = plan.metrics[0].id
    users = {arm: closed[arm][first].n + still[arm][first].n for arm in plan.weights}
    now = Counted(users, closed, still, (), dict.fromkeys(users, 0), plan.weights)
    card, _ = judge(plan, now.reading(plan, AT, finished=False))
    record = Record(experiment=experiment.id, version=experiment.version, plan=plan, since=1)
    return document_of(record, experiment, card, now, AT)


def _none(values: int) -> Moments:
    return Moments(0, (0,) * values, (0,) * (values * (values + 1) // 2))
