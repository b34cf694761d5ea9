"""``kairos topics``, ``kairos check``, ``kairos health`` and ``kairos doctor``."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR
from config.topics import TOPICS
from models.campaigns.conditions import condition_fault
from models.fairness import learned_from
from services.bootstrap import DATA_DIR, settings_for
from services.bus.admin import create_topics, describe
from services.channels.templates import checked_environment
from services.jobs.doctor import Level, examine
from services.state.live import worker_figures, worker_seen_ms
from services.state.redis_lane import connect, translated

topics_app = typer.Typer(name="topics", help="The topics in Kafka.", no_args_is_help=True)
FRESH_MS = 10_000


@topics_app.command("create")
def create() -> None:
    """Create every topic of config/topics.py; refuses one that exists with another number of partitions."""
    settings = settings_for()
    made = create_topics(settings.kafka.bootstrap, settings.lanes, settings.kafka.replication)
    Console().print(f"created: {', '.join(made)}" if made else "every topic is there already", highlight=False)


@topics_app.command("list")
def listing() -> None:
    """Show the topics, what lies in them and how many partitions they have."""
    settings = settings_for()
    there = describe(settings.kafka.bootstrap)
    table = Table()
    for name in ("topic", "partitions", "what lies in it"):
        table.add_column(name)
    for topic in TOPICS:
        found = there.get(topic.name)
        table.add_row(topic.name, "missing" if found is None else str(found.partitions), topic.doc)
    Console().print(table)


def check(
    config_dir: Annotated[
        Path, typer.Argument(help="Folder with campaigns/, offers/, experiments/.")
    ] = PACKAGE_CONFIG_DIR,
    running: Annotated[
        bool,
        typer.Option("--running", help="Also ask the workers whether this is what they go by (exit code 1 if not)."),
    ] = False,
    data_dir: Annotated[Path, typer.Option(help="Folder of the running stack.")] = DATA_DIR,
) -> None:
    """Check what marketers wrote: every mistake with file, line and what to write instead (exit code 2)."""
    found = load_definitions(config_dir, condition_fault)
    checked_environment(config_dir / "templates")
    Console().print(
        f"{len(found.campaigns)} campaigns, {len(found.offers)} offers, {len(found.experiments)} experiments: all well."
        f" Version {found.version()}",
        highlight=False,
    )
    for line in learned_from(found):
        Console().print(f"  note: {line}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    if running:
        raise typer.Exit(0 if _in_force(found.version(), data_dir) else 1)


def _in_force(version: str, data_dir: Path) -> bool:
    """Tell what each worker goes by."""
    settings = settings_for(data_dir)
    client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
    with closing(client), translated():
        workers = worker_figures(client)
    well = bool(workers)
    for one in workers:
        name, policy, error = f"{one['role']} {one['worker']}", one.get("policy"), one.get("config_error")
        if error:
            well = False
            typer.echo(f"{name}: keeps its old files, because it refuses the new ones:\n  {error}")
        elif policy not in {None, version}:
            well = False
            typer.echo(f"{name}: goes by version {policy} (another folder, or the change is not taken yet)")
        elif policy is not None:
            typer.echo(f"{name}: goes by it")
    if not workers:
        typer.echo("no worker runs", err=True)
    return well


def health(
    role: Annotated[str, typer.Argument(help="decide, learn, deliver or judge.")],
    data_dir: Annotated[Path, typer.Option(help="Folder of the running stack.")] = DATA_DIR,
) -> None:
    """Exit code 0 if a worker of this role has told about itself in the last ten seconds."""
    settings = settings_for(data_dir)
    client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
    with closing(client), translated():
        seen = worker_seen_ms(client, role)
    age_ms = None if seen is None else int(time.time() * 1000) - seen
    if age_ms is None or age_ms > FRESH_MS:
        typer.echo(f"no {role} worker: none has told about itself in the last {FRESH_MS // 1000} s", err=True)
        raise typer.Exit(1)
    typer.echo(f"{role}: alive {age_ms} ms ago")


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="All findings as JSON.")] = False,
    data_dir: Annotated[Path, typer.Option(help="Folder of the running stack.")] = DATA_DIR,
) -> None:
    """Look at brokers, Redis, workers, models and the mail server, and say what to do (exit code 0, 1 warn, 2 bad)."""
    found = examine(settings_for(data_dir), int(time.time() * 1000))
    worst = max(one.level for one in found)
    if as_json:
        told = [{**msgspec.to_builtins(one), "level": one.level.name.lower()} for one in found]
        typer.echo(json.dumps({"level": worst.name.lower(), "findings": told}, indent=2))
        raise typer.Exit(int(worst))
    colours = {Level.OK: "green", Level.WARNING: "yellow", Level.BAD: "red"}
    table = Table(show_header=False, box=None)
    for one in found:
        words = f"{one.found}\n-> {one.remedy}" if one.remedy else one.found
        name = one.level.name.lower() if one.level is not Level.BAD else "BAD"
        table.add_row(f"[{colours[one.level]}]{name}", one.what, escape(words))
    Console().print(table)
    raise typer.Exit(int(worst))
