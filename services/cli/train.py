"""``kairos train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from config.topics import TRAINING, TRAINING_PARTITION
from services.bootstrap import DATA_DIR, settings_for
from services.bus.reader import read_topic

train_app = typer.Typer(
    name="train", help="Train batch challengers on the stream's own examples.", no_args_is_help=True
)


@train_app.callback()
def tasks() -> None:
    """Train batch challengers on the stream's own labelled examples, and compare them with the online champion."""


@train_app.command()
def churn(data_dir: Annotated[Path, typer.Option(help="Folder of the running stack.")] = DATA_DIR) -> None:
    """Churn: scikit-learn's models against the one that serves, in time order, on the same labels."""
    from services.jobs.train import compare_churn, examples_of  # scikit-learn only here

    settings = settings_for(data_dir)
    console = Console()
    with console.status("Reading the topic training ..."):
        records = read_topic(settings.kafka.bootstrap, TRAINING.name, TRAINING_PARTITION["churn"])
        examples = examples_of(record.value for record in records if record.value)
    columns = (TextColumn("[bold]train"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("train")
        result = compare_churn(examples, lambda done, total: bar.update(task, completed=done, total=total))
    table = Table(
        title=f"{result.examples:,} labelled examples, {result.scored:,} scored after their model was trained",
        title_justify="left",
    )
    names = ("auc", "average_precision", "log_loss", "brier", "calibration_error")
    table.add_column("model")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for model, found in result.metrics.items():
        table.add_row(model, *(f"{found[name]:.4f}" for name in names))
    console.print(table)
