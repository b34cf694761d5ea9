"""``kairos train``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from config.settings import Settings
from config.topics import TRAINING, TRAINING_PARTITION
from models.errors import ConfigurationError
from models.learners.standing import Standing
from models.learners.task import CHURN, Task
from services.bootstrap import BAD_INPUT, DATA_DIR, settings_for
from services.bus.reader import read_topic
from services.jobs.models import task_named
from services.state.redis_lane import connect
from services.state.registry import ModelRegistry

if TYPE_CHECKING:
    from services.jobs.train.examples import Examples
    from services.jobs.train.run import Plan, Told, Trained

SHOWN = {
    "auc": "AUC",
    "log_loss": "loss",
    "brier": "Brier",
    "calibration_error": "calib",
    "accuracy": "acc",
    "precision": "prec",
    "recall": "recall",
    "f1": "F1",
}
DAY_MS = 86_400_000
T = TypeVar("T")

ALL_MODELS = "logistic,svm,tree,forest,network,boosting"
ALL_REGRESSORS = "linear,tree,forest,network,boosting"

Models = Annotated[str, typer.Option(help=f"Any of {ALL_MODELS.replace(',', ', ')}; comma separated.")]
Select = Annotated[
    Literal["none", "chi2", "mutual-information", "rfe"], typer.Option(help="How features are selected.")
]
Search = Annotated[Literal["none", "grid", "random", "bayes"], typer.Option(help="How settings are searched.")]
Trials = Annotated[int, typer.Option(min=1, help="Settings tried per model (a grid has its own number).")]
Seed = Annotated[int, typer.Option(help="Seed of all that is drawn.")]
Until = Annotated[str, typer.Option(help="Use no label known later than this day, e.g. 2010-09-30.")]
File = Annotated[Path | None, typer.Option(help="Examples from a file instead of the topic training.")]
Out = Annotated[Path | None, typer.Option(help="Folder for report.json and the pictures.")]
Register = Annotated[bool, typer.Option(help="Add the best to the registry.")]
Shadow = Annotated[bool, typer.Option(help="Try it beside the champion at once.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
DataDir = Annotated[Path, typer.Option(help="Folder of the running stack.")]

train_app = typer.Typer(
    name="train", help="Train batch challengers on the stream's own examples.", no_args_is_help=True
)


@dataclass(frozen=True, slots=True)
class _Work:
    """What a command was asked for, beside what is trained and how."""

    until: str
    file: Path | None
    out: Path | None
    register: bool
    shadow: bool
    as_json: bool
    data_dir: Path


@train_app.callback()
def tasks() -> None:
    """Train batch challengers on the stream's own labelled examples, and try the best beside the champion."""


@train_app.command()
def churn(  # noqa: PLR0913, PLR0917 - one parameter per option
    models: Models = ALL_MODELS,
    select: Select = "none",
    search: Search = "random",
    trials: Trials = 6,
    seed: Seed = 0,
    until: Until = "",
    file: File = None,
    out: Out = None,
    register: Register = True,
    shadow: Shadow = True,
    as_json: AsJson = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Churn: train, search and judge scikit-learn's models in time order; the best becomes a version of the registry.

    The examples are features as they were when the user was scored, with the label that came a horizon later. Settings
    are chosen on the earlier moments; the figures are of the later ones, with the online model beside.
    """
    from services.jobs.train.run import Plan  # scikit-learn only here

    plan = Plan(_names(models), select, search, trials, seed)
    _run(lambda _: CHURN, plan, _Work(until, file, out, register, shadow, as_json, data_dir))


@train_app.command()
def goal(  # noqa: PLR0913, PLR0917 - one parameter per option
    goal_id: Annotated[str, typer.Argument(metavar="ID", help="Goal of goals/, such as buy-again.")],
    models: Models = ALL_MODELS,
    select: Select = "none",
    search: Search = "random",
    trials: Trials = 6,
    seed: Seed = 0,
    until: Until = "",
    file: File = None,
    out: Out = None,
    register: Register = True,
    shadow: Shadow = True,
    as_json: AsJson = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """A goal: the same for the probability of a goal that goals/ declares, from the examples that the stream noted.

    What is compared, promoted and rolled back with `kairos models` is named goal:ID. A goal that asks something else
    than before (event, when, horizon, min_orders, attributes) has examples and versions of its own.
    """
    from services.jobs.train.run import Plan  # scikit-learn only here

    plan = Plan(_names(models), select, search, trials, seed)
    work = _Work(until, file, out, register, shadow, as_json, data_dir)

    def declared(settings: Settings | None) -> Task:
        return Task.of_goal(goal_id, 0) if settings is None else task_named(f"goal:{goal_id}", settings.config_dir)

    _run(declared, plan, work)


@train_app.command()
def value(  # noqa: PLR0913, PLR0917 - one parameter per option
    models: Annotated[
        str, typer.Option(help=f"Any of {ALL_REGRESSORS.replace(',', ', ')}; comma separated.")
    ] = ALL_REGRESSORS,
    search: Search = "random",
    trials: Trials = 6,
    seed: Seed = 0,
    until: Until = "",
    file: File = None,
    out: Out = None,
    as_json: AsJson = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Purchase value: regressions of the money within the horizon, judged beside what the stream tells; a report only.

    The examples are those of churn with the money spent since. No version is made of it: the stream serves its own.
    """
    from services.jobs.train.run import Plan
    from services.jobs.train.value import train_value

    console = Console(stderr=as_json)
    plan = Plan(_names(models), "none", search, trials, seed, _or_exit(lambda: _until_ms(until)))
    examples = _examples(CHURN, file, settings_for(data_dir) if file is None else None, console)
    found = _with_bar(lambda told: train_value(examples, plan, told))
    written = found.write(out or data_dir / "models" / "value")
    if as_json:
        sys.stdout.write(json.dumps(found.document(), indent=2) + "\n")
        return
    title = f"Money of {found.data['examples']:,} labelled examples, {found.data['judged']:,} of them judged"
    table = Table(box=None, padding=(0, 1), title=title, title_justify="left")
    table.add_column("model", no_wrap=True)
    for name in ("search RMSE", "MAE", "RMSE", "R2"):
        table.add_column(name, justify="right")
    for one in found.found:
        searched = "" if one.search_rmse != one.search_rmse else f"{one.search_rmse:,.1f}"
        figures = (f"{one.metrics['mae']:,.1f}", f"{one.metrics['rmse']:,.1f}", f"{one.metrics['r2']:.3f}")
        table.add_row(one.name, searched, *figures, style="bold" if one is found.best else None)
    console.print(table)
    settings = ", ".join(f"{name} {value}" for name, value in found.best.settings.items())
    console.print(f"Chosen by the search: {found.best.title} ({settings})")
    for note in found.notes:
        console.print(f"[dim]{note}[/]")
    console.print(f"Written: {', '.join(str(path) for path in written)}", soft_wrap=True)


def _names(models: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in models.split(",") if name.strip())


def _run(asked: Callable[[Settings | None], Task], plan: Plan, work: _Work) -> None:
    """Examples, training, registry, report; `asked` : what is trained, where the definitions are known or not."""
    from services.jobs.train.report import document_of, write
    from services.jobs.train.run import train

    console = Console(stderr=work.as_json)
    plan = replace(plan, until_ms=_or_exit(lambda: _until_ms(work.until)))
    settings = settings_for(work.data_dir) if work.file is None or work.register else None
    task = _or_exit(lambda: asked(settings))
    examples = _examples(task, work.file, settings, console)
    trained = _with_bar(lambda told: train(examples, plan, told))
    version = None
    if work.register and settings is not None:
        version = _registered(trained, settings.redis.url.get_secret_value(), try_it=work.shadow)
    name = f"{task.score.replace(':', '-')}-{version or 'unregistered'}"
    written = write(trained, work.out or work.data_dir / "models" / name, version)
    if work.as_json:
        sys.stdout.write(json.dumps(document_of(trained) | {"version": version}, indent=2) + "\n")
        return
    _show(trained, console)
    if len(written) == 1:
        console.print("No pictures: Matplotlib is not installed (pip install matplotlib).")
    console.print(f"Written: {', '.join(str(path) for path in written)}", soft_wrap=True)
    if version is not None:
        compare = "kairos models compare" if task is CHURN else f"kairos models compare {task.score}"
        tried = f", tried beside the champion from here on: {compare}" if work.shadow else ""
        console.print(f"Version {version} of the registry{tried}", soft_wrap=True)


def _examples(task: Task, file: Path | None, settings: Settings | None, console: Console) -> Examples:
    """Examples of the file, else of the topic."""
    from services.jobs.train.examples import from_file, from_records

    if file is not None:
        return _or_exit(lambda: from_file(file, task))
    assert settings is not None
    with console.status("Reading the topic training ..."):
        records = read_topic(settings.kafka.bootstrap, TRAINING.name, TRAINING_PARTITION[task.kind.learner])
        return from_records((record.value for record in records if record.value), task)


def _with_bar(work: Callable[[Told], T]) -> T:
    """Do something that tells how far it is."""
    with Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as bar:
        line = bar.add_task("train")
        return _or_exit(
            lambda: work(lambda title, done, total: bar.update(line, description=title, completed=done, total=total))
        )


def _registered(trained: Trained, url: str, *, try_it: bool) -> int:
    from services.jobs.train.report import libraries, meta_of

    now_ms = int(time.time() * 1000)
    with connect(url) as client:
        registry = ModelRegistry(client, trained.task)
        version = registry.add(trained.state, meta_of(trained), libraries(), now_ms).version
        if try_it:

            def place(standing: Standing) -> Standing:
                return standing.with_shadow(version, now_ms, "trained")

            registry.change(place)
    return version


def _show(trained: Trained, console: Console) -> None:
    data = trained.data
    table = Table(
        box=None,
        padding=(0, 1),
        title=f"{data['examples']:,} labelled examples, {data['judged']:,} of them judged after they were scored",
        title_justify="left",
    )
    table.add_column("model", no_wrap=True)
    for name in ("search", *SHOWN.values()):
        table.add_column(name, justify="right")
    for one in trained.found:
        loss = "" if one.search_loss != one.search_loss else f"{one.search_loss:.3f}"
        style = "bold" if one is trained.best else None
        table.add_row(one.name, loss, *(f"{one.metrics[name]:.3f}" for name in SHOWN), style=style)
    console.print(table)
    told = ", ".join(f"{name} {value}" for name, value in trained.best.settings.items())
    console.print(f"Chosen by the search: {trained.best.title} ({told}); {trained.score_us} us CPU per score")
    for note in trained.notes:
        console.print(f"[dim]{note}[/]")


def _until_ms(text: str) -> int | None:
    """End of a day, ms."""
    if not text:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigurationError(f"--until {text!r} is no day", remedy="--until 2010-09-30") from error
    return int(day.timestamp() * 1000) + DAY_MS - 1


def _or_exit(work: Callable[[], T]) -> T:
    try:
        return work()
    except ConfigurationError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(BAD_INPUT) from error
