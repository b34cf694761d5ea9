"""Results of an outside A/B test: from a file to the card, as a document and as lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import ConfigurationError
from models.experiments.adjust import post_stratified
from models.experiments.document import Document, bounds, card_document
from models.experiments.fixed import welch
from models.experiments.plan import Plan
from models.experiments.power import Method
from models.experiments.sample_ratio import Epoch
from models.experiments.verdict import Reading, judge
from services.jobs.evaluate.tables import read_table
from services.jobs.experiments.faults import refuse
from services.jobs.experiments.sum_rows import is_sums, read_sums
from services.jobs.experiments.trial import Options, Trial, checked
from services.jobs.experiments.user_rows import read_users


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
    try:
        return checked(read_sums(columns, options) if is_sums(columns) else read_users(columns, options), options)
    except ConfigurationError as error:
        if error.where:
            raise
        raise ConfigurationError(error.message, where=str(path), remedy=error.remedy) from error


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
    found = card_document(card, plan, trial.sums, trial.users)
    for line in found["comparisons"]:
        line["post_stratified"] = _stratified(line["variant"], line["metric"], plan, trial)
    return found | {"rows": trial.rows, "cautions": [*card.cautions, *trial.notes]}


def _stratified(variant: str, metric: str, plan: Plan, trial: Trial) -> Document | None:
    if metric not in trial.strata:
        return None
    found = post_stratified(trial.strata[metric][plan.control], trial.strata[metric][variant])
    if isinstance(found, str):
        return {"shortage": found}
    test = welch(found, 1.0 - plan.alpha)
    assert test is not None
    return {"difference": test.difference, "p": test.p, "interval": bounds(test.interval)}


def flat(document: Mapping[str, Any]) -> list[Document]:
    """One flat line per comparison, for CSV; those of parts of the users behind those of all."""
    lines: list[Document] = []
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
        lines.append({"segment": "", **line})
    for part in document.get("segments", ()):
        low, high = part["interval"] or (None, None)
        line = {key: part.get(key) for key in lines[0] if key in part}
        lines.append({**dict.fromkeys(lines[0]), **line, "interval_low": low, "interval_high": high})
    return lines
