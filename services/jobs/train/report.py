"""A training run as JSON and as pictures."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from sklearn.metrics import roc_curve

from models.learners.curves import of_scores
from services.jobs.train.run import Trained

LIBRARIES: Final = ("scikit-learn", "numpy")
BINS: Final = 10


def libraries() -> str:
    """Versions of what made a model."""
    return ", ".join(f"{name} {version(name)}" for name in LIBRARIES)


def meta_of(trained: Trained) -> dict[str, Any]:
    """What the envelope of a version tells people."""
    best = trained.best
    return {
        "kind": best.name,
        "title": best.title,
        "settings": best.settings,
        "features": [trained.state["features"][number] for number in trained.state["columns"]],
        "metrics": {name: round(value, 6) for name, value in best.metrics.items()},
        "data": trained.data,
        "score_us": trained.score_us,
        "curves": {
            one.name: msgspec.to_builtins(of_scores(one.scores, trained.truth)) for one in (best, trained.found[-1])
        },
    }


def document_of(trained: Trained) -> dict[str, Any]:
    """All of it as JSON."""
    return {
        "score": trained.task.score,
        "best": trained.best.name,
        "models": {
            one.name: {
                "title": one.title,
                "settings": one.settings,
                "trials": one.trials,
                "search_log_loss": None if np.isnan(one.search_loss) else round(one.search_loss, 6),
                **{name: round(value, 6) for name, value in one.metrics.items()},
            }
            for one in trained.found
        },
        "importance": trained.importance,
        "score_us": trained.score_us,
        "data": trained.data,
        "library": libraries(),
        "notes": list(trained.notes),
    }


def write(trained: Trained, folder: Path, version_added: int | None = None) -> list[Path]:
    """Write `report.json` and, where Matplotlib is installed, three pictures; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "report.json"
    document = document_of(trained) | {"version": version_added}
    report.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return [report, *_pictures(trained, folder)]


def figure_of(title: str, across: str, up: str) -> tuple[Any, Any] | None:
    """An empty picture and its axes; None where Matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - not in production: an extra
    except ImportError:
        return None
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=across, ylabel=up)
    return figure, axes


def _pictures(trained: Trained, folder: Path) -> list[Path]:
    if figure_of("", "", "") is None:
        return []
    truth, written = trained.truth, []

    def picture(name: str, title: str, across: str, up: str) -> tuple[Any, Any, Path]:
        made = figure_of(title, across, up)
        assert made is not None
        written.append(folder / name)
        return *made, folder / name

    kind = trained.task.kind
    across = f"false alarms (share of those who {kind.no})"
    figure, axes, path = picture("roc.png", f"Who {kind.yes}", across, "found")
    for one in trained.found:
        away, found, _ = roc_curve(truth, one.scores)
        axes.plot(away, found, label=f"{one.name} {one.metrics['auc']:.3f}", lw=2 if one is trained.best else 1)
    axes.plot([0, 1], [0, 1], color="0.7", lw=1, ls=":")
    axes.legend(title="area", fontsize="small")
    figure.savefig(path, dpi=110)

    figure, axes, path = picture("calibration.png", "What scores mean", "mean score", f"share that {kind.yes}")
    for one in (trained.best, trained.found[-1]):
        parts = np.array_split(np.argsort(one.scores, kind="stable"), BINS)
        points = [(one.scores[part].mean(), truth[part].mean()) for part in parts if len(part)]
        axes.plot(*zip(*points, strict=True), marker="o", label=one.name)
    axes.plot([0, 1], [0, 1], color="0.7", lw=1, ls=":")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)

    figure, axes, path = picture("importance.png", f"What {trained.best.title} goes by", "rise of the log loss", "")
    names = list(trained.importance)[::-1]
    axes.barh(names, [trained.importance[name] for name in names])
    figure.savefig(path, dpi=110)
    return written
