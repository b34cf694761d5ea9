"""`kairos evaluate ab`: the results of `kairos experiments results` in the form that all evaluations share."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from services.jobs.experiments.results import read_trial, results
from services.jobs.experiments.trial import Options


def evaluate_ab(path: Path, options: Options, planned: int | None = None) -> dict[str, Any]:
    """Tests of a file; `metrics` is flat, the first metric unsuffixed, others with `_NAME` (and `_VARIANT`)."""
    start = time.perf_counter()
    trial = read_trial(path, options)
    document = results(trial, planned=planned)
    metrics: dict[str, Any] = {"sample_ratio_p": document["sample_ratio"]["p"]}
    for place, line in enumerate(document["comparisons"]):
        suffix = f"_{line['metric']}" if line["metric"] != document["comparisons"][0]["metric"] else ""
        if len(trial.weights) > 2 and place:
            suffix += f"_{line['variant']}"
        fixed, always = line["fixed"], line["always_valid"]
        low, high = (None, None) if fixed is None else fixed["interval"]
        always_low, always_high = always["interval"] or (None, None)
        found = {
            "control": line["control_value"],
            "treatment": line["value"],
            "difference": line["difference"],
            "z": None if fixed is None else fixed["z"],
            "p": None if fixed is None else fixed["p"],
            "interval_low": low,
            "interval_high": high,
            "always_valid_p": always["p"],
            "always_valid_low": always_low,
            "always_valid_high": always_high,
        }
        metrics.update({f"{name}{suffix}": value for name, value in found.items()})
    users = sum(trial.users.values())
    spent = time.perf_counter() - start
    return {
        "task": "ab",
        "protocol": {"control": document["control"], "weights": dict(trial.weights), "alpha": document["alpha"]},
        "rows": trial.rows,
        "scored_rows": users,
        "metrics": metrics,
        "baselines": {},
        "cost": {"us_per_event": 1e6 * spent / max(1, trial.rows)},
        "verdict": document["verdict"],
        "sentence": document["sentence"],
        "sample_ratio_alarm": document["sample_ratio"]["alarm"],
        "comparisons": document["comparisons"],
        "cautions": document["cautions"],
    }
