"""Results of an outside A/B test: from a file to the card, as a document and as lines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.experiments.adjust import post_stratified
from models.experiments.always_valid import LEAST_USERS_PER_ARM, look
from models.experiments.compare import watched
from models.experiments.fixed import Interval, welch
from models.experiments.plan import Plan
from models.experiments.power import Method
from models.experiments.sample_ratio import Epoch
from models.experiments.verdict import Card, Line, Reading, judge
from services.jobs.evaluate.tables import read_table
from services.jobs.experiments.faults import refuse
from services.jobs.experiments.sum_rows import is_sums, read_sums
from services.jobs.experiments.trial import Options, Trial, checked
from services.jobs.experiments.user_rows import read_users

Document = dict[str, Any]


def read_trial(path: Path, options: Options) -> Trial:
    """Read a file of results.

    Raises
    ------
    ConfigurationError
        With a stable code of :mod:`services.jobs.experiments.faults`.
    """
    table = read_table(path)
    columns = {str(name): table.column(name).to_pylist() for name in table.column_names}
    if not table.num_rows:
        refuse("no_rows", "there is no row", str(path))
    if options.variant not in columns:
        refuse("unknown_column", f"no column {options.variant!r} (columns: {', '.join(columns)})", str(path))
    return checked(read_sums(columns, options) if is_sums(columns) else read_users(columns, options), options)


def results(
    trial: Trial, method: Method = "fixed", alpha: float = 0.05, planned: int | None = None, *, running: bool = False
) -> Document:
    """Everything that can be said about a trial, ready for JSON.

    Parameters
    ----------
    method : whose p and interval decide. planned : users of all arms (tunes the always-valid test).
    running : users still come: the sample ratio is tested by the live test.
    """
    plan = Plan(trial.weights, trial.metrics, method, alpha, planned)
    counts = tuple(trial.users[name] for name in trial.weights)
    reading = Reading(trial.sums, (Epoch(counts, tuple(trial.weights.values())),), finished=not running)
    card, _ = judge(plan, reading)
    return {
        "verdict": card.verdict,
        "sentence": card.sentence,
        "action": card.action,
        "control": plan.control,
        "method": method,
        "alpha": alpha,
        "rows": trial.rows,
        "users": dict(trial.users),
        "planned": planned,
        "sample_ratio": _ratio(card, trial),
        "comparisons": [_line(line, plan, trial) for line in card.lines],
        "cautions": [*card.cautions, *trial.notes],
    }


def _ratio(card: Card, trial: Trial) -> Document:
    found = card.sample_ratio
    evidence = None if found.evidence_log is None else math.exp(min(700.0, found.evidence_log))
    return {"weights": dict(trial.weights), "p": found.p, "evidence": evidence, "alarm": found.alarm}


def _line(line: Line, plan: Plan, trial: Trial) -> Document:
    compared, metric = line.comparison, line.comparison.metric
    fixed = compared.fixed
    return {
        "metric": metric.id,
        "kind": metric.kind,
        "role": metric.role,
        "variant": compared.variant,
        "claim": line.claim,
        "shortage": compared.shortage,
        "n_control": compared.n_control,
        "n": compared.n_treatment,
        "control_value": compared.control,
        "value": compared.treatment,
        "difference": compared.difference,
        "standard_error": compared.error,
        "lift": compared.lift,
        "p": compared.p,
        "p_adjusted": line.p_adjusted,
        "interval": _bounds(compared.interval),
        "lift_interval": _bounds(compared.lift_interval),
        "fixed": None if fixed is None else {"z": fixed.statistic, "p": fixed.p, "interval": _bounds(fixed.interval)},
        "always_valid": _always(line, plan, trial),
        "post_stratified": _stratified(compared.variant, metric.id, plan, trial),
        "bayesian": None if line.best is None else {"best": line.best.best, "expected_loss": line.best.loss},
    }


def _always(line: Line, plan: Plan, trial: Trial) -> Document:
    """The always-valid test alone, as if it were the only comparison."""
    compared, metric = line.comparison, line.comparison.metric
    mixture = plan.mixture(metric, compared.variant)
    found: Document = {"p": compared.always_valid.p, "interval": None, "mixture": mixture.to_json()}
    if compared.estimate is not None and min(compared.n_control, compared.n_treatment) >= LEAST_USERS_PER_ARM:
        control, treatment = (trial.sums[name][metric.id] for name in (plan.control, compared.variant))
        effect = watched(metric, control, treatment, compared.estimate.absolute())
        found["interval"] = _bounds(look(effect, mixture, plan.alpha)[1])
    return found


def _stratified(variant: str, metric: str, plan: Plan, trial: Trial) -> Document | None:
    if metric not in trial.strata:
        return None
    found = post_stratified(trial.strata[metric][plan.control], trial.strata[metric][variant])
    if isinstance(found, str):
        return {"shortage": found}
    test = welch(found, 1.0 - plan.alpha)
    assert test is not None
    return {"difference": test.difference, "p": test.p, "interval": _bounds(test.interval)}


def _bounds(interval: Interval | None) -> list[float] | None:
    return None if interval is None or not math.isfinite(interval.low + interval.high) else list(interval)


def flat(document: Mapping[str, Any]) -> list[Document]:
    """One flat line per comparison, for CSV."""
    lines = []
    for one in document["comparisons"]:
        line = {key: value for key, value in one.items() if not isinstance(value, dict | list)}
        for name in ("interval", "lift_interval"):
            line[f"{name}_low"], line[f"{name}_high"] = one[name] or (None, None)
        for name in ("fixed", "always_valid"):
            part = one[name] or {"p": None, "interval": None}
            line[f"{name}_p"] = part["p"]
            line[f"{name}_low"], line[f"{name}_high"] = part["interval"] or (None, None)
        line["sample_ratio_p"] = document["sample_ratio"]["p"]
        line["sample_ratio_alarm"] = document["sample_ratio"]["alarm"]
        line["verdict"] = document["verdict"]
        lines.append(line)
    return lines
