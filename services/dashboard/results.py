"""The experiments' cards: from what the judge wrote to what the page shows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from config.definitions import Experiment, Metric
from config.units import spell_duration
from services.cards import progress, state_of
from services.dashboard import words
from services.dashboard.outcomes import ExperimentResult, MetricResult, Tone, VariantResult

TONES: Mapping[str, Tone] = {
    "better": "good",
    "worse": "bad",
    "harm": "bad",
    "sample_ratio_alarm": "bad",
    "mixed": "note",
    "no_difference": "note",
}
ACTIONS: Mapping[str, str] = {
    "roll_out": "Roll it out",
    "stop": "Stop it",
    "keep_running": "Keep it running",
    "investigate": "Look into it",
    "choose": "Weigh them up",
}
ROLES: Mapping[str, str] = {"primary": "", "guardrail": "guardrail", "exploratory": "exploratory, claims nothing"}
CLAIMS: Mapping[str, str] = {"better": "better", "worse": "worse", "harm": "harm", "undecided": "undecided"}
Card = Mapping[str, Any]


def build_experiments(
    cards: Mapping[str, Card], experiments: Iterable[Experiment], currency: str
) -> tuple[ExperimentResult, ...]:
    """One card per experiment, simulated ones last.

    Parameters
    ----------
    cards : documents that the judge wrote, by experiment. experiments : their definitions.
    currency : ISO 4217 code of the money in revenue metrics.
    """
    results = [_experiment(one, cards.get(one.id), currency) for one in experiments]
    return tuple(sorted(results, key=lambda result: (result.simulated, result.experiment)))


def _experiment(experiment: Experiment, card: Card | None, currency: str) -> ExperimentResult:
    shown = ExperimentResult(
        experiment=experiment.id,
        description=experiment.description,
        hypothesis=experiment.hypothesis,
        simulated=experiment.simulated,
    )
    if card is None or card["version"] != experiment.version:
        return shown
    planned = card["planned"]
    return replace(
        shown,
        exposed=sum(card["users"].values()),
        users=tuple(card["users"].items()),
        verdict=card["verdict"],
        sentence=card["sentence"],
        tone=TONES.get(card["verdict"], "plain"),
        action=ACTIONS[card["action"]] if card["status"] == "running" else "",
        status=card["status"],
        state=state_of(card),
        progress=progress(card),
        share=min(1.0, card["matured"] / planned) if planned else None,
        cautions=tuple(card["cautions"]),
        metrics=tuple(_metric(metric, experiment, card, currency) for metric in experiment.metrics),
    )


def _metric(metric: Metric, experiment: Experiment, card: Card, currency: str) -> MetricResult:
    lines = [line for line in card["comparisons"] if line["metric"] == metric.id]
    rows = _rows(metric, lines, card["control"], currency)
    planted = experiment.planted.get(metric.id)
    if planted is not None and rows:
        # The simulator plants the effect in the last variant only.
        shown = words.points(planted) if metric.kind == "proportion" else words.signed_money(planted, currency)
        rows[-1] = replace(rows[-1], planted=shown)
    return MetricResult(metric.id, _title(metric), metric.kind, ROLES[metric.role], tuple(_scaled(rows)))


def _rows(metric: Metric, lines: Sequence[Card], control: str, currency: str) -> list[VariantResult]:
    if not lines:
        return []
    first = lines[0]
    known = first["shortage"] is None
    rows = [VariantResult(control, True, first["n_control"], _value(metric, first["control_value"], currency, known))]
    for line in lines:
        row = VariantResult(line["variant"], False, line["n"], "")
        if line["shortage"] is not None:
            rows.append(replace(row, verdict="too-few", words=line["shortage"].replace("_", " ")))
            continue
        row = replace(row, value=_value(metric, line["value"], currency, True), verdict=line["claim"])
        p = line["p"] if line["p_adjusted"] is None else line["p_adjusted"]
        row = replace(row, words=CLAIMS[line["claim"]], p=p)
        rows.append(_effect(row, metric, line, currency))
    return rows


def _effect(row: VariantResult, metric: Metric, line: Card, currency: str) -> VariantResult:
    """The effect with its interval: as a lift where there is one, so that all metrics read alike."""
    if line["lift"] is not None and line["lift_interval"] is not None:
        low, high = line["lift_interval"]
        shown = f"{words.signed_percent(low)} to {words.signed_percent(high)}"
        return replace(
            row, difference=words.signed_percent(line["lift"]), interval=shown, low=low, high=high, point=line["lift"]
        )
    row = replace(row, difference=_difference(metric, line["difference"], currency))
    if line["interval"] is None:
        return row
    low, high = line["interval"]
    shown = f"{_difference(metric, low, currency)} to {_difference(metric, high, currency)}"
    return replace(row, interval=shown, low=low, high=high, point=line["difference"])


def _value(metric: Metric, value: float, currency: str, known: bool) -> str:
    if not known:
        return "\N{EN DASH}"
    if metric.kind == "proportion":
        return words.percent(value)
    return words.money(100 * value, currency) if metric.kind == "revenue" else f"{value:.4g}"


def _difference(metric: Metric, value: float, currency: str) -> str:
    if metric.kind == "proportion":
        return words.points(value)
    return words.signed_money(100 * value, currency) if metric.kind == "revenue" else f"{value:+.3g}"


def _title(metric: Metric) -> str:
    what = {"proportion": metric.event, "revenue": f"Revenue ({metric.event})"}.get(
        metric.kind, f"{metric.id}: {metric.kind} of {metric.event}"
    )
    return f"{what} within {spell_duration(metric.within_ms)}"


def _scaled(rows: Sequence[VariantResult]) -> list[VariantResult]:
    """Bring a table's intervals onto one scale of -1 to 1, so that they can be compared by eye."""
    reach = max((max(abs(row.low or 0.0), abs(row.high or 0.0)) for row in rows), default=0.0)
    if not reach:
        return [replace(row, low=None, high=None, point=None) for row in rows]
    return [
        row
        if row.low is None or row.high is None or row.point is None
        else replace(row, low=row.low / reach, high=row.high / reach, point=row.point / reach)
        for row in rows
    ]
