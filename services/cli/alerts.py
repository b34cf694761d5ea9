"""``kairos alerts``: what wants somebody's attention; acknowledge it; tell a webhook again."""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from services.bootstrap import DATA_DIR, settings_for
from services.state.alerts import Acknowledged, AlertStore, ToldAlert
from services.state.redis_lane import connect

alerts_app = typer.Typer(
    name="alerts", help="What wants somebody's attention: list it, acknowledge it.", no_args_is_help=True
)
DataDir = Annotated[Path, typer.Option(help="Folder of the running stack.")]
AlertId = Annotated[str, typer.Argument(help="Alert, as in the list.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@alerts_app.command("list")
def list_alerts(
    only_open: Annotated[bool, typer.Option("--open", help="Only what nobody acknowledged and is not over.")] = False,
    user: Annotated[str | None, typer.Option(help="Only alerts about this user.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 50,
    as_json: Json = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """The newest alerts, why they were raised, who acknowledged them, and what became of their webhooks."""
    with _store(data_dir) as store:
        found = [one for one in store.newest(user) if one.open or not only_open]
    if as_json:
        for one in found[:top]:
            typer.echo(msgspec.json.encode(one).decode())
        return
    table = Table(title=f"{len(found):,} {'open ' if only_open else ''}alerts, newest first", title_justify="left")
    for name in ("alert", "user", "at (UTC)", "score", "reasons", "state", "webhooks"):
        table.add_column(name, overflow="fold")
    for one in found[:top]:
        hooks = ", ".join(f"{name} {told.state} ({told.detail})" for name, told in sorted(one.webhooks.items()))
        reasons = "; ".join(one.reasons[:3])
        row = (one.id, one.user, _time(one.at), f"{one.score:.2f}", reasons, _state(one), hooks)
        table.add_row(*(text.replace("[", "\\[") for text in row))
    Console().print(table)


@alerts_app.command()
def acknowledge(
    alert: Annotated[str | None, typer.Argument(help="Alert, as in the list.", show_default=False)] = None,
    user: Annotated[str | None, typer.Option(help="Instead: every open alert about this user.")] = None,
    by: Annotated[str | None, typer.Option(help="Who does it.", show_default="your login name")] = None,
    note: Annotated[str, typer.Option(help="What is done about it.")] = "",
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Say that somebody takes care of an alert. Whoever was first stands; a second time changes nothing."""
    if (alert is None) == (user is None):
        raise typer.BadParameter("name an alert, or a user with --user")
    with _store(data_dir) as store:
        names = [alert] if alert else [one.id for one in store.newest(user) if one.open]
        if not names:
            _fail(f"there is no open alert about {user}")
        for name in names:
            stands = store.acknowledge(name, by or getpass.getuser(), note, time.time_ns() // 1_000_000)
            if stands is None:
                _fail(f"there is no alert {name}: see kairos alerts list")
            typer.echo(f"{name}: {_said(stands)}")


@alerts_app.command()
def resend(
    alert: AlertId,
    webhook: Annotated[str | None, typer.Option(help="Only this one, whatever became of it.")] = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Tell the webhooks of an alert again that gave up, under the same id."""
    with _store(data_dir) as store:
        found = store.find(alert)
        if found is None:
            _fail(f"there is no alert {alert}: see kairos alerts list")
        dead = [name for name, told in found.webhooks.items() if told.state == "dead"]
        names = dead if webhook is None else [webhook]
        if not names:
            _fail("no webhook gave up on it")
        store.resend(found, names)
        typer.echo(f"{alert}: posted again to {', '.join(names)}")


@contextmanager
def _store(data_dir: Path) -> Iterator[AlertStore]:
    settings = settings_for(data_dir)
    client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
    try:
        yield AlertStore(client, settings.lanes)
    finally:
        client.close()


def _fail(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(1)


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%d %b %Y %H:%M")


def _said(stands: Acknowledged) -> str:
    note = f": {stands.note}" if stands.note else ""
    return f"acknowledged by {stands.by}, {_time(stands.at)}{note}"


def _state(one: ToldAlert) -> str:
    if one.acknowledged is not None:
        return _said(one.acknowledged)
    return "over" if one.over else "open"
