"""``kairos models``: what serves, what is tried beside it, and how they change places."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from config.problems import DefinitionError
from config.settings import Settings
from models.errors import ConfigurationError
from models.learners.contest import ONLINE, Comparison
from models.learners.standing import NotProvenError, Standing, spell, told, unproven
from models.learners.task import CHURN, Task
from services.bootstrap import BAD_INPUT, DATA_DIR, settings_for
from services.jobs.models import listing, task_named, tasks_of
from services.state.model_health import read_model_health, troubled
from services.state.redis_lane import Client, connect
from services.state.registry import ModelRegistry

models_app = typer.Typer(
    name="models", help="Models: what serves, what is tried beside it, promote, roll back.", no_args_is_help=True
)
Format = Annotated[Literal["table", "json"], typer.Option("--format", help="How to print it.")]
DataDir = Annotated[Path, typer.Option(help="Folder of the running stack.")]
Score = Annotated[str, typer.Argument(help="`churn`, or `goal:ID` of a goal.")]
Reason = Annotated[str, typer.Option(help="Why, for those who read it later.")]


@models_app.command("list")
def list_models(form: Format = "table", data_dir: DataDir = DATA_DIR) -> None:
    """All models: the online learners that serve, and every batch version."""
    settings = settings_for(data_dir)
    tasks, faults = _declared(settings)
    with _redis(settings) as client:
        found = listing(client, tasks)
        standings = {task.score: ModelRegistry(client, task).standing() for task in tasks}
    if form == "json":
        _print_json({"models": found, "standings": msgspec.to_builtins(standings)})
        return
    table = Table(box=None, padding=(0, 1))
    for name in ("model", "state", "made", "learned from", "AUC", "loss"):
        figure = name in {"AUC", "loss"}
        table.add_column(
            name, justify="right" if figure else "left", overflow="fold", no_wrap=figure or name in {"state", "made"}
        )
    for one in found:
        metrics = one.get("metrics", {})
        table.add_row(
            f"{one.get('score', one['model'])} {'batch ' if one['kind'] == 'batch' else ''}{one['version'] or ''}",
            one["state"],
            _day(one.get("created_ms")),
            one.get("refused") or _learned_from(one),
            *(f"{metrics[name]:.3f}" if name in metrics else "" for name in ("auc", "log_loss")),
        )
    console = Console()
    console.print(table)
    for score, standing in standings.items():
        for change in standing.changes[-5:]:
            console.print(
                f"{_moment(change.at_ms)}  {'' if score == CHURN.score else f'{score}: '}"
                f"{change.what}: {spell(change.champion)} serves, shadow {spell(change.shadow)}"
                + (f" ({change.reason})" if change.reason else ""),
                markup=False,
                soft_wrap=True,
            )
    if faults:
        console.print(f"Goals cannot be listed: {faults}", markup=False, soft_wrap=True)


@models_app.command()
def health(form: Format = "table", data_dir: DataDir = DATA_DIR) -> None:
    """Whether each score can be trusted now: judged as served, drift, age of what it knows. Exit code 1: look at it."""
    settings = settings_for(data_dir)
    with _redis(settings) as client:
        rows = read_model_health(client, settings.lanes)
    if form == "json":
        _print_json({"models": msgspec.to_builtins(rows)})
    else:
        table = Table(box=None, padding=(0, 1))
        for name in ("score, state", "labels", "judged", "AUC", "loss", "rate", "calib.", "alarms"):
            left = name == "score, state"
            table.add_column(name, justify="left" if left else "right", overflow="fold", no_wrap=not left)
        for row in rows:
            one = row.health
            figures = (one.auc, one.log_loss, one.rate_log_loss, one.calibration)
            name = row.score if row.score == row.model else f"{row.model} {row.score}"
            table.add_row(
                f"{name}\n  {row.state}{' (the rate is served)' if one.fallback else ''}",
                f"{one.examples:,}\n{_day(one.newest_ms)}",
                f"{one.judged:,}" if one.judged else "",
                *("" if value is None else f"{value:.3f}" for value in figures),
                f"{one.drifts}\n{_day(one.last_drift_ms)}" if one.last_drift_ms else str(one.drifts or ""),
            )
        console = Console()
        console.print(table)
        for row in rows:
            if told := ", ".join(f"{name} {value:g}" for name, value in row.health.figures.items()):
                console.print(f"{row.model}: {told}", markup=False, highlight=False, soft_wrap=True)
    if troubled(rows):
        raise typer.Exit(1)


@models_app.command()
def compare(score: Score = CHURN.score, form: Format = "table", data_dir: DataDir = DATA_DIR) -> None:
    """Champion and shadow on the same labelled examples of the live stream, and whether a promotion is due."""
    with _registry(score, data_dir) as registry:
        standing, found = registry.standing(), registry.comparison()
    if standing.shadow is None:
        against = f"there is no shadow: kairos train {score.replace(':', ' ')}, or kairos models shadow VERSION"
    else:
        against = unproven(standing, found)
    same = found is not None and (found.champion, found.shadow) == (standing.champion, standing.shadow)
    current = found if same else Comparison(champion=standing.champion, shadow=standing.shadow)
    assert current is not None
    if form == "json":
        _print_json(msgspec.to_builtins(current) | {"promote": not against, "against": against})
        return
    console = Console()
    if current.of_champion is not None and current.of_shadow is not None:
        counted = f"{current.examples:,} labelled examples ({current.positives:,} {registry.task.kind.positives})"
        table = Table(box=SIMPLE, title=counted)
        table.title_justify = "left"
        for name in ("", "log loss", "Brier", "calibration error", "AUC"):
            table.add_column(name, justify="right" if name else "left")
        for place, version, side in (
            ("serves", current.champion, current.of_champion),
            ("shadow", current.shadow, current.of_shadow),
        ):
            auc = "" if side.auc is None else f"{side.auc:.4f}"
            row = (f"{side.log_loss:.4f}", f"{side.brier:.4f}", f"{side.calibration_error:.4f}", auc)
            table.add_row(f"{spell(version)} ({place})", *row)
        console.print(table)
        console.print(told(current), soft_wrap=True, highlight=False)
    if current.earlier:
        text = f"{current.earlier:,} examples do not count: their features are older than what the model has learned"
        console.print(text, soft_wrap=True, highlight=False)
    named = "" if score == CHURN.score else f" {score}"
    verdict = against or f"the difference is proven: kairos models promote{named}"
    console.print(verdict, markup=False, soft_wrap=True, highlight=False)


@models_app.command()
def shadow(
    version: Annotated[str, typer.Argument(help="Batch version, `online`, or `none`.")],
    score: Score = CHURN.score,
    reason: Reason = "",
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Try another model beside the champion; it is scored on every label that comes, and serves nobody."""
    with _registry(score, data_dir) as registry:
        chosen = _or_exit(lambda: _version(version))
        if chosen is not None and chosen != ONLINE:
            registry.load(chosen)  # refused here rather than in the stream
        _change(registry, lambda standing: standing.with_shadow(chosen, _now_ms(), reason))


@models_app.command()
def promote(
    score: Score = CHURN.score,
    force: Annotated[bool, typer.Option("--force", help="Even though it was not shown to be better.")] = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Let the shadow serve, if it was shown to be better: the interval of the difference must lie above 0."""
    with _registry(score, data_dir) as registry:
        found = registry.comparison()
        standing = registry.standing()
        if standing.shadow not in {None, ONLINE}:
            registry.load(int(standing.shadow or 0))
        _change(registry, lambda standing: standing.promoted(found, _now_ms(), force=force))


@models_app.command()
def rollback(score: Score = CHURN.score, reason: Reason = "", data_dir: DataDir = DATA_DIR) -> None:
    """Let the champion before serve again, at once; the present one goes on as its shadow."""
    with _registry(score, data_dir) as registry:
        _change(registry, lambda standing: standing.rolled_back(_now_ms(), reason))


@contextmanager
def _redis(settings: Settings) -> Iterator[Client]:
    client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _registry(score: str, data_dir: Path) -> Iterator[ModelRegistry]:
    settings = settings_for(data_dir)
    task = _or_exit(lambda: task_named(score, settings.config_dir))
    with _redis(settings) as client:
        yield ModelRegistry(client, task)


def _declared(settings: Settings) -> tuple[tuple[Task, ...], str]:
    """Scores that have batch models; those of goals only where the definitions can be read, else why not."""
    try:
        return tasks_of(settings.config_dir), ""
    except DefinitionError as error:
        return (CHURN,), str(error)


def _change(registry: ModelRegistry, make: Callable[[Standing], Standing]) -> None:
    try:
        standing = _or_exit(lambda: registry.change(make))
    except NotProvenError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    text = f"{spell(standing.champion)} serves, shadow {spell(standing.shadow)}"
    last = standing.changes[-1].reason
    Console().print(f"{text} ({last})" if last else text, markup=False, soft_wrap=True, highlight=False)


def _or_exit(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except ConfigurationError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(BAD_INPUT) from error


def _version(text: str) -> int | None:
    words = {"none": None, "online": ONLINE}
    if text in words:
        return words[text]
    if not text.isdecimal() or not int(text):
        raise ConfigurationError(f"{text!r} is no version", remedy="a number of kairos models list, online, or none")
    return int(text)


def _learned_from(one: dict[str, Any]) -> str:
    if "data" in one:
        data = one["data"]
        return f"{one['title']}, {data['examples']:,} labels until {_day(data['known_until_ms'])}"
    if "baskets" in one:
        return f"{one['baskets']:,} baskets"
    if "examples" in one:
        return f"{one['examples']:,} labels" + ("" if one.get("learned", True) else " (the rule scores)")
    return ""


def _moment(at_ms: int | None) -> str:
    return "" if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _day(at_ms: int | None) -> str:
    return _moment(at_ms)[:10]


def _now_ms() -> int:
    return int(time.time() * 1000)


def _print_json(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
