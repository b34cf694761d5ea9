"""Results of parts of the users: by declared dimension, and without those who were shown two variants.

Both are for exploration. They lie outside the family that the verdict holds for, so they never decide anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from scipy.special import chdtrc

from config.experiment import Experiment
from models.experiments.compare import Once, estimated, once
from models.experiments.document import Document, bounds
from models.experiments.many import benjamini_hochberg
from models.experiments.reading import plan_of, sums_of
from models.experiments.tally import ONCE, segments, tally

# Below so many users in either arm a part says nothing, and is shown without a test.
LEAST_USERS: Final = 100
WITHOUT_TWICE: Final = "shown one variant"


def breakdown(counts: Mapping[str, int], experiment: Experiment, watermark: int) -> list[Document]:
    """Compare the variants within each part of the users whose window has closed.

    Parameters
    ----------
    counts : counters of the experiment, added over the lanes. watermark : event time, ms.

    Returns
    -------
    One document per part, metric and treatment: `segment`, `metric`, `variant`, `n_control`, `n`, `control_value`,
    `value`, `difference` and, with at least 100 users in each arm, `interval` (95 %), `p` and `p_adjusted` (Benjamini
    and Hochberg, 1995, over all rows) of the fixed test. The first part is that of the users who were shown one
    variant only, if any was shown two: beside the result of all (intention to treat), it says what they change.
    Nothing of a bandit: plain means within parts would be biased.
    """
    if experiment.allocation is not None:
        return []
    plan = plan_of(experiment)
    parts = [(part, part) for part in segments(counts, experiment)]
    if any(tally(counts, experiment).twice.values()):
        parts.insert(0, (ONCE, WITHOUT_TWICE))
    rows: list[Document] = []
    tests: list[Once | None] = []
    for part, label in parts:
        sums = sums_of(tally(counts, experiment, matured_by=watermark, segment=part))
        for metric in plan.metrics:
            control = sums[plan.control][metric.id]
            for variant in plan.treatments:
                treatment = sums[variant][metric.id]
                found = estimated(metric, control, treatment)
                told: Document = {"segment": label, "metric": metric.id, "variant": variant}
                told |= {"n_control": control.n, "n": treatment.n}
                few = min(control.n, treatment.n) < LEAST_USERS
                test = None
                if not isinstance(found, str):
                    effect = found.absolute().value / metric.scale
                    told |= {"control_value": found.control / metric.scale, "value": found.treatment / metric.scale}
                    told |= {"difference": effect}
                    test = None if few else once(metric, control, treatment, found, 1.0 - plan.alpha)
                told["interval"] = None if test is None else bounds(test.interval, metric.scale)
                rows.append(told)
                tests.append(test)
    adjusted = iter(benjamini_hochberg([test.p for test in tests if test is not None]))
    for row, test in zip(rows, tests, strict=True):
        row.update({"p": None, "p_adjusted": None} if test is None else {"p": test.p, "p_adjusted": next(adjusted)})
    return rows


def twice_document(counts: Mapping[str, int], experiment: Experiment) -> Document:
    """How many users were really shown two variants, by their first, and whether one variant has more of them.

    Returns
    -------
    `users` and `share` by variant, and `p` of the chi-squared test that the shares are the same: where they differ,
    something switches variants, and neither result can be trusted.
    """
    found = tally(counts, experiment)
    exposed = {variant: arm.exposed for variant, arm in found.arms.items()}
    users, total = sum(found.twice.values()), sum(exposed.values())
    p = None
    if 0 < users < total and all(exposed.values()):
        rate = users / total
        spread = rate * (1.0 - rate)
        statistic = math.fsum((found.twice[one] - n * rate) ** 2 / (n * spread) for one, n in exposed.items())
        p = float(chdtrc(len(exposed) - 1, statistic))
    share = {variant: found.twice[variant] / n if n else 0.0 for variant, n in exposed.items()}
    return {"users": dict(found.twice), "share": share, "p": p}
