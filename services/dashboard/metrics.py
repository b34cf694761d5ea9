"""The page's numbers as Prometheus metrics. Names are stable; labels never hold a user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.dashboard.context import PageContext, Quantiles

MetricName = Literal[
    # 1 while Redis answers. 0: start Redis; nothing else is reported meanwhile.
    "kairos_redis_up",
    # 1 while the proof ledger of every lane balances. 0: run `kairos audit`.
    "kairos_ledger_balanced",
    # Records taken in per lane, by what became of them. A growing share of rejected: look at dead-letters.
    "kairos_records",
    # Records in the log of a lane that are not committed yet.
    "kairos_in_flight_records",
    # Records per topic that its reader has not taken yet. Growing: start another worker of that role.
    "kairos_lag_records",
    # Latency by part (log: broker to fetch; kairos: fetch to decision) and quantile, seconds.
    "kairos_latency_seconds",
    # Churn alerts, offers and messages decided by the workers alive, by kind.
    "kairos_decisions",
    # Messages per campaign by state (decided, sent, opened, ...). unknown above 0: see the send ledger.
    "kairos_messages",
    # Messages held back per campaign and reason.
    "kairos_messages_suppressed",
    # Users exposed per experiment and variant.
    "kairos_experiment_exposed_users",
    # 1 for a worker that is alive, 0 for one that fell silent.
    "kairos_worker_up",
    # 1 for a worker that refuses the newest files of the config folder and keeps the old. 1: run `kairos check`.
    "kairos_worker_config_refused",
    # CPU of a worker since it started, seconds.
    "kairos_worker_cpu_seconds",
    # Newest published version of a model.
    "kairos_model_version",
    # Prequential figures of a goal's scores: auc, log_loss, rate_log_loss, calibration, rate, judged.
    "kairos_goal_score",
    # Products of recommended lists by list and what became of them; `rankings`: lists shown.
    "kairos_recommended",
    # Money of recommended products bought in their window, by list and attribution (shown, clicked), in major units.
    "kairos_recommended_money",
    # How far event time has come in the slowest lane, epoch seconds.
    "kairos_watermark_timestamp_seconds",
]
NAMES: Final[tuple[MetricName, ...]] = get_args(MetricName)
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def exposition(page: PageContext) -> bytes:
    """Prometheus text of a page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(page))
    return generate_latest(registry)


class _Page(Collector):
    def __init__(self, page: PageContext) -> None:
        self._page = page

    def collect(self) -> Iterator[Metric]:
        page = self._page
        away = page.status.level == "away"
        yield _gauge("kairos_redis_up", "Redis answers", [], [((), 0 if away else 1)])
        if not away:
            yield from _lanes(page)
            yield from _decisions(page)
            yield from _running(page)


def _lanes(page: PageContext) -> Iterator[Metric]:
    rows = page.proof.lanes
    if page.proof.total is not None:
        yield _gauge("kairos_ledger_balanced", "The proof ledger balances", [], [((), int(page.proof.balances))])
    yield _counter(
        "kairos_records",
        "Records taken in, by what became of them",
        ["lane", "outcome"],
        [
            ((str(row.lane), outcome), getattr(row, outcome))
            for row in rows
            for outcome in ("applied", "duplicate", "rejected", "forwarded")
        ],
    )
    yield _gauge(
        "kairos_in_flight_records",
        "Records in the log that are not committed yet",
        ["lane"],
        [((str(row.lane),), row.in_flight) for row in rows],
    )
    if page.clock.at_ms is not None:
        yield _gauge(
            "kairos_watermark_timestamp_seconds",
            "Event time of the slowest lane",
            [],
            [((), page.clock.at_ms / 1000)],
        )


def _decisions(page: PageContext) -> Iterator[Metric]:
    totals = page.totals
    yield _counter(
        "kairos_decisions",
        "Decisions of the workers alive",
        ["kind"],
        [(("alert",), totals.alerts), (("offer",), totals.offers), (("message",), totals.messages)],
    )
    states: list[tuple[tuple[str, ...], float]] = []
    held: list[tuple[tuple[str, ...], float]] = []
    for funnel in page.funnels:
        states += [((funnel.campaign, step.name), step.count) for step in funnel.steps]
        states += [
            ((funnel.campaign, "failed"), funnel.failed),
            ((funnel.campaign, "unknown"), funnel.unknown),
            ((funnel.campaign, "expired"), funnel.expired),
        ]
        held += [((funnel.campaign, one.reason), one.count) for one in funnel.suppressions]
    yield from _recommended(page)
    yield _counter("kairos_messages", "Messages by state", ["campaign", "state"], states)
    yield _counter("kairos_messages_suppressed", "Messages held back", ["campaign", "reason"], held)
    yield _gauge(
        "kairos_experiment_exposed_users",
        "Users exposed",
        ["experiment", "variant"],
        [
            ((experiment.experiment, variant), users)
            for experiment in page.experiments
            for variant, users in experiment.users
        ],
    )


def _recommended(page: PageContext) -> Iterator[Metric]:
    lists = page.recommended.figures.lists
    counted: list[tuple[tuple[str, ...], float]] = []
    money: list[tuple[tuple[str, ...], float]] = []
    for one in lists:
        counted.append(((one.name, "rankings"), one.rankings))
        counted += [((one.name, what), getattr(one.total, what)) for what in ("shown", "clicked", "added", "bought")]
        money.append(((one.name, "shown"), one.total.money_minor / 100))
        money.append(((one.name, "clicked"), one.total.clicked_minor / 100))
    yield _counter("kairos_recommended", "Recommended lists and products", ["list", "what"], counted)
    yield _counter("kairos_recommended_money", "Money attributed to recommended lists", ["list", "attribution"], money)


def _running(page: PageContext) -> Iterator[Metric]:
    yield _gauge(
        "kairos_lag_records",
        "Records waiting, per topic",
        ["topic"],
        [((lag.topic,), lag.records) for lag in page.lag],
    )
    yield _gauge(
        "kairos_latency_seconds",
        "Latency by part",
        ["part", "quantile"],
        [*_quantiles("log", page.latency.log), *_quantiles("kairos", page.latency.kairos)],
    )
    yield _gauge(
        "kairos_worker_up",
        "Worker is alive",
        ["role", "worker"],
        [((one.role, one.worker), int(one.alive)) for one in page.workers],
    )
    yield _gauge(
        "kairos_worker_config_refused",
        "The newest files of the config folder are refused, the old ones are in force",
        ["role", "worker"],
        [((one.role, one.worker), int(one.config_refused)) for one in page.workers if one.alive],
    )
    yield _counter(
        "kairos_worker_cpu_seconds",
        "CPU of a worker",
        ["role", "worker"],
        [((one.role, one.worker), one.cpu_s) for one in page.workers if one.alive],
    )
    yield _gauge(
        "kairos_model_version",
        "Newest version of a model",
        ["model"],
        [((one.name,), one.version) for one in page.models],
    )
    yield _gauge(
        "kairos_goal_score",
        "How good a goal's scores were as they were served",
        ["goal", "figure"],
        [((one.name.removeprefix("goal-"), name), value) for one in page.models for name, value in one.figures.items()],
    )


def _quantiles(part: str, measured: Quantiles | None) -> list[tuple[tuple[str, ...], float]]:
    if measured is None:
        return []
    return [
        ((part, quantile), value / 1000)
        for quantile, value in (("0.5", measured.p50), ("0.95", measured.p95), ("0.99", measured.p99))
    ]


_Values = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: MetricName, doc: str, labels: list[str], values: _Values) -> Metric:
    family = GaugeMetricFamily(name, doc, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def _counter(name: MetricName, doc: str, labels: list[str], values: _Values) -> Metric:
    family = CounterMetricFamily(name, doc, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family
