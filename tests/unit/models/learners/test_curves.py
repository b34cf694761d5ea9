"""Curves against those of scikit-learn, and the page that draws them."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from models.learners.curves import Curves, of_scores
from models.learners.health import ScoreHealth
from models.learners.prequential import Prequential
from services.dashboard.model_plots import batch_of, live_of
from services.state.model_health import Row

RNG = np.random.default_rng(3)
TRUE = RNG.random(5_000)
LABELS = (RNG.random(5_000) < TRUE).astype(np.int64)


def test_points_lie_on_the_curve_of_scikit_learn() -> None:
    found = of_scores(TRUE, LABELS)
    away, above, _ = roc_curve(LABELS, TRUE)
    assert found.roc[0] == (0.0, 0.0)
    assert found.roc[-1] == (1.0, 1.0)
    assert 10 < len(found.roc) <= 21
    for x, y in found.roc:
        # Beside a step of the curve, one of the two is far off.
        assert min(abs(np.interp(x, away, above) - y), abs(np.interp(y, above, away) - x)) < 0.01
    xs, ys = zip(*found.roc, strict=True)
    assert np.trapezoid(ys, xs) == pytest.approx(roc_auc_score(LABELS, TRUE), abs=0.01)


def test_true_probabilities_lie_on_the_diagonal() -> None:
    points = of_scores(TRUE, LABELS).calibration
    assert len(points) == 10
    assert all(abs(told - came) < 0.07 for told, came in points)
    turned = of_scores(1.0 - TRUE, LABELS).calibration
    assert turned[0][1] > 0.9 > 0.1 > turned[-1][1]  # noqa: PLR0133


def test_what_was_counted_in_the_stream_gives_the_same() -> None:
    seen = Prequential()
    for score, label in zip(TRUE.tolist(), LABELS.tolist(), strict=True):
        seen.add(score, label)
    live, exact = seen.curves(), of_scores(TRUE, LABELS)
    assert np.array(live.calibration) == pytest.approx(np.array(exact.calibration), abs=0.06)
    assert Prequential().curves() == Curves()


@pytest.mark.parametrize("labels", [np.zeros(9, dtype=np.int64), np.ones(9, dtype=np.int64)])
def test_of_one_kind_there_is_nothing_to_draw(labels: Any) -> None:
    assert of_scores(RNG.random(9), labels) == Curves()


def test_the_page_draws_what_was_judged_and_nothing_else() -> None:
    curves = of_scores(TRUE, LABELS)
    good = ScoreHealth(learned=True, examples=5_000, judged=5_000, auc=0.83, log_loss=0.5, curves=curves)
    new = ScoreHealth(learned=False, examples=3)
    (shown,) = live_of([Row("goals", "<b>buy", "fine", good), Row("recs", "recs", "fine", new)])
    assert shown.name == "goals <b>buy"
    assert "5,000 labels: AUC 0.830" in shown.words
    assert all(plot.startswith("<svg") and "<b>buy" not in plot for plot in shown.plots)
    entry = {
        "kind": "batch", "score": "churn", "version": 2, "title": "random forest", "state": "shadow",
        "metrics": {"auc": 0.8, "log_loss": 0.5}, "data": {"judged": 900},
        "curves": msgspec.to_builtins({"forest": curves, "online": curves}),
    }  # fmt: skip
    (version,) = batch_of([entry, {"kind": "batch", "state": "refused"}])
    assert version.name == "churn version 2: random forest"
    assert version.plots[0].count("<polyline") == 2
