"""``kairos train``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from config.topics import TRAINING, TRAINING_PARTITION
from models.errors import ConfigurationError
from models.learners.standing import Standing
from services.bootstrap import BAD_INPUT, DATA_DIR, settings_for
from services.bus.reader import read_topic
from services.state.redis_lane import connect
from services.state.registry import ModelRegistry

if TYPE_CHECKING:
    from services.jobs.train.examples import Examples
    from services.jobs.train.run import Trained

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

train_app = typer.Typer(
    name="train", help="Train batch challengers on the stream's own examples.", no_args_is_help=True
)


@train_app.callback()
def tasks() -> None:
    """Train batch challengers on the stream's own labelled examples, and try the best beside the champion."""


@train_app.command()
def churn(  # noqa: PLR0913, PLR0917 - one parameter per option
    models: Annotated[
        str, typer.Option(help="Any of logistic, svm, tree, forest, network, boosting; comma separated.")
    ] = "logistic,svm,tree,forest,network,boosting",
    select: Annotated[
        Literal["none", "chi2", "mutual-information", "rfe"], typer.Option(help="How features are selected.")
    ] = "none",
    search: Annotated[
        Literal["none", "grid", "random", "bayes"], typer.Option(help="How settings are searched.")
    ] = "random",
    trials: Annotated[int, typer.Option(min=1, help="Settings tried per model (a grid has its own number).")] = 6,
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.")] = 0,
    until: Annotated[str, typer.Option(help="Use no label known later than this day, e.g. 2010-09-30.")] = "",
    file: Annotated[Path | None, typer.Option(help="Examples from a file instead of the topic training.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for report.json and the pictures.")] = None,
    register: Annotated[bool, typer.Option(help="Add the best to the registry.")] = True,
    shadow: Annotated[bool, typer.Option(help="Try it beside the champion at once.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    data_dir: Annotated[Path, typer.Option(help="Folder of the running stack.")] = DATA_DIR,
) -> None:
    """Churn: train, search and judge scikit-learn's models in time order; the best becomes a version of the registry.

    The examples are features as they were when the user was scored, with the label that came a horizon later. Settings
    are chosen on the earlier moments; the figures are of the later ones, with the online model beside.
    """
    from services.jobs.train.examples import from_file, from_records  # scikit-learn only here
    from services.jobs.train.report import document_of, write
    from services.jobs.train.run import Plan, train

    console = Console(stderr=as_json)
    until_ms = _or_exit(lambda: _until_ms(until))
    settings = settings_for(data_dir) if file is None or register else None
    if settings is not None and file is None:
        with console.status("Reading the topic training ..."):
            records = read_topic(settings.kafka.bootstrap, TRAINING.name, TRAINING_PARTITION["churn"])
            examples: Examples = from_records(record.value for record in records if record.value)
    else:
        assert file is not None
        examples = _or_exit(lambda: from_file(file))
    names = tuple(name.strip() for name in models.split(",") if name.strip())
    with Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task("train")
        trained = _or_exit(
            lambda: train(
                examples,
                Plan(names, select, search, trials, seed, until_ms),
                lambda title, done, total: bar.update(task, description=title, completed=done, total=total),
            )
        )
    version = None
    if register and settings is not None:
        version = _registered(trained, settings.redis.url.get_secret_value(), try_it=shadow)
    written = write(trained, out or data_dir / "models" / f"churn-{version or 'unregistered'}", version)
    if as_json:
        sys.stdout.write(json.dumps(document_of(trained) | {"version": version}, indent=2) + "\n")
        return
    _show(trained, console)
    if len(written) == 1:
        console.print("No pictures: Matplotlib is not installed (pip install matplotlib).")
    console.print(f"Written: {', '.join(str(path) for path in written)}", soft_wrap=True)
    if version is not None:
        tried = ", tried beside the champion from here on: kairos models compare" if shadow else ""
        console.print(f"Version {version} of the registry{tried}", soft_wrap=True)


def _registered(trained: Trained, url: str, *, try_it: bool) -> int:
    from services.jobs.train.report import libraries, meta_of

    now_ms = int(time.time() * 1000)
    with connect(url) as client:
        registry = ModelRegistry(client)
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
