"""How good scores are, as a page with plots: live ones as they were served, batch versions as they were judged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from markupsafe import Markup

from config.problems import DefinitionError
from config.settings import Settings
from models.errors import KairosError
from models.learners.curves import Curves
from services.dashboard.render import environment
from services.jobs.models import listing, tasks_of
from services.state.model_health import Row, read_model_health
from services.state.redis_lane import connect

SIDE: Final = 260
INK, ACCENT, OTHER, RULE = "#5a6172", "#0072B2", "#D55E00", "#d8dce5"
Points = Sequence[tuple[float, float]]
_FRESH: Final = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Plotted:
    """One model on the page: its name, what is known in words, and its two plots."""

    name: str
    words: str
    plots: tuple[Markup, ...]


def make_model_plots(settings: Settings) -> APIRouter:
    """The route of the page; everything is read when it is asked for."""
    router = APIRouter()

    def read() -> str:
        with closing(connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)) as client:
            rows = read_model_health(client, settings.lanes)
            batch = [one for one in listing(client, tasks_of(settings.config_dir)) if "score" in one]
        return environment().get_template("model_plots.html").render(live=live_of(rows), batch=batch_of(batch))

    @router.get("/models", summary="How good scores are: found against false alarms, told against came")
    async def page() -> Response:
        try:
            return HTMLResponse(await asyncio.to_thread(read), 200, _FRESH)
        except (KairosError, DefinitionError) as error:
            return PlainTextResponse(f"try_again: {error}", 503, _FRESH)

    return router


def live_of(rows: Sequence[Row]) -> list[Plotted]:
    """Scores of the stream that have been judged."""
    found = []
    for row in rows:
        health = row.health
        if health.curves is None or not health.curves.roc:
            continue
        name = row.score if row.score == row.model else f"{row.model} {row.score}"
        figures = {"AUC": health.auc, "log loss": health.log_loss, "of the rate alone": health.rate_log_loss}
        figures |= {"calibration error": health.calibration}
        told = ", ".join(f"{what} {value:.3f}" for what, value in figures.items() if value is not None)
        found.append(Plotted(name, f"{row.state}; {health.judged:,} labels: {told}", plots_of({name: health.curves})))
    return found


def batch_of(versions: Sequence[dict[str, Any]]) -> list[Plotted]:
    """Batch versions that say how they were judged, beside the online model at the same moments."""
    found = []
    for one in versions:
        if "curves" not in one:
            continue  # refused, or of before curves were kept
        metrics = one["metrics"]
        told = f"AUC {metrics['auc']:.3f}, log loss {metrics['log_loss']:.3f}"
        words = f"{one['state']}; {one['data']['judged']:,} judged: {told}"
        curves = {name: msgspec.convert(each, Curves) for name, each in one["curves"].items()}
        found.append(Plotted(f"{one['score']} version {one['version']}: {one['title']}", words, plots_of(curves)))
    return found


def plots_of(curves: dict[str, Curves]) -> tuple[Markup, Markup]:
    """Both plots; the first of `curves` is the one that counts."""
    return (
        _square({name: one.roc for name, one in curves.items()}, "false alarms", "found", dots=False),
        _square({name: one.calibration for name, one in curves.items()}, "told", "came", dots=True),
    )


def _square(lines: dict[str, Points], across: str, up: str, *, dots: bool) -> Markup:
    """Lines in the unit square, with its diagonal; text stands in for whoever sees no picture."""
    left, top, size = 34, 10, SIDE - 54
    parts = [
        Markup('<rect x="{}" y="{}" width="{}" height="{}" fill="none" stroke="{}"/>').format(
            left, top, size, size, RULE
        ),
        Markup('<path d="M{} {}L{} {}" stroke="{}" stroke-dasharray="2 4"/>').format(
            left, top + size, left + size, top, RULE
        ),
        Markup('<text x="{}" y="{}" text-anchor="end" fill="{}">{} \N{RIGHTWARDS ARROW}</text>').format(
            left + size, top + size + 18, INK, across
        ),
        Markup('<text x="{}" y="{}" fill="{}" transform="rotate(-90 {} {})">{} \N{RIGHTWARDS ARROW}</text>').format(
            left - 10, top + size, INK, left - 10, top + size, up
        ),
    ]
    for place, (name, points) in reversed(list(enumerate(lines.items()))):
        colour = OTHER if place else ACCENT
        spots = [(left + x * size, top + (1.0 - y) * size) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>').format(path, colour))
        if dots:
            parts += [
                Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"/>').format(x, y, colour) for x, y in spots
            ]
        if len(lines) > 1:
            parts.append(
                Markup('<text x="{}" y="{}" text-anchor="end" fill="{}">{}</text>').format(
                    left + size - 6, top + size - 8 - 16 * place, colour, name
                )
            )
    told = "; ".join(f"{name}: " + ", ".join(f"{x:.2f} {y:.2f}" for x, y in points) for name, points in lines.items())
    label = f"{up} against {across}. {told}"
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        SIDE, SIDE - 14, label, Markup("").join(parts)
    )
