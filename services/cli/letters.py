"""``kairos dead-letters``: browse refused records, look at one, mend it, send it again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import click
import msgspec
import typer
from pydantic_core import PydanticCustomError
from rich.console import Console
from rich.table import Table

from config.settings import Settings
from config.units import parse_duration, parse_start
from models.events import REASONS
from services.bootstrap import BAD_INPUT, DATA_DIR, settings_for
from services.jobs.letters import Choice, EditError, Letter, Planned, Refused, edited, plan, read_letters, redrive
from services.jobs.letters.read import by_reason
from services.state.redis_lane import Client, connect

letters_app = typer.Typer(
    name="dead-letters",
    help="Refused records: list them (without a command), look at one, mend it, send it again.",
    add_completion=False,
)
SHOWN = 20

DataDir = Annotated[Path, typer.Option(help="Folder of the running stack.")]
Reason = Annotated[str | None, typer.Option(help="Only this reason code.")]
Topic = Annotated[str | None, typer.Option(help="Only records of this topic.")]
Key = Annotated[str | None, typer.Option(help="Only records with this key (the user's id).")]
Since = Annotated[str | None, typer.Option(help="Refused since: 2h, 7d, or 2026-03-01T10:00:00Z.")]
Until = Annotated[str | None, typer.Option(help="Refused before: 2h (ago), or a time.")]
Again = Annotated[bool, typer.Option("--again", help="Also what was sent before; decide drops a second one for a day.")]
Force = Annotated[bool, typer.Option("--force", help="Also what would be refused again.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Id = Annotated[str, typer.Argument(help="Letter, as in the list: topic-partition-offset.")]


@letters_app.callback(invoke_without_command=True)
def browse(  # noqa: PLR0913, PLR0917 - the options of a command
    context: typer.Context,
    reason: Reason = None,
    topic: Topic = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only what nobody sent again.")] = False,
    last: Annotated[int, typer.Option(min=1, help="How many of the latest.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with the whole record.")] = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """List refused records, oldest first: what, when, why, and whether they were sent again."""
    if context.invoked_subcommand is not None:
        return
    choice = Choice(frozenset(), reason, topic, key, _moment(since), _moment(until), waiting)
    with _services(data_dir) as (settings, client):
        letters = read_letters(settings, client, choice)
    if as_json:
        for one in letters[-last:]:
            typer.echo(msgspec.json.encode(_whole(one)).decode())
        return
    console = Console()
    counts = ", ".join(f"{number:,} {name}" for name, number in by_reason(letters).items())
    table = Table(title=f"{len(letters):,} refused records{f': {counts}' if counts else ''}", title_justify="left")
    for name in ("letter", "refused (UTC)", "reason", "key", "detail", "sent again"):
        table.add_column(name)
    for one in letters[-last:]:
        detail = one.letter.detail or REASONS.get(one.letter.reason, "")  # type: ignore[call-overload]
        row = (one.id, _time(one.refused_ms), one.letter.reason, one.letter.key or "", detail[:100], _sent(one))
        table.add_row(*(_plain(text) for text in row))
    console.print(table)


@letters_app.command()
def show(letter: Id, data_dir: DataDir = DATA_DIR) -> None:
    """One refused record, whole: where it lay, why it was refused, headers and value, and whether it would do now."""
    with _services(data_dir) as (settings, client):
        found = _one(settings, client, letter)
        planned, refused = plan(settings, [found], _now_ms(), again=True)
    console = Console()
    held = found.letter
    table = Table(show_header=False, box=None, title=f"Dead letter {letter}", title_justify="left")
    table.add_row("record", f"{held.topic}, partition {held.partition}, offset {held.offset}")
    table.add_row("written", f"{_time(held.broker_ms)} UTC; refused {_time(found.refused_ms)} UTC")
    meaning = REASONS.get(held.reason, "")  # type: ignore[call-overload]
    table.add_row("reason", _plain(f"{held.reason}: {meaning}" if meaning else held.reason))
    table.add_row("detail", _plain(held.detail))
    table.add_row("key", _plain(held.key if held.key is not None else "(none)"))
    for name, content in held.headers:
        table.add_row("header", _plain(f"{name}: {content}"))
    if held.truncated:
        table.add_row("cut", f"the letter holds only the first {len(held.value):,} bytes of it")
    table.add_row("sent again", _sent(found) or "no")
    verdict = f"yes, to {planned[0].topic}-{planned[0].partition}" if planned else f"no: {refused[0].why}"
    table.add_row("would do now", _plain(verdict))
    console.print(table)
    console.print(_pretty(held.value), markup=False, highlight=False, emoji=False, soft_wrap=True)


@letters_app.command()
def edit(
    letter: Id,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="path=value, such as properties.price=2.5; path= takes it away.")
    ] = None,
    value: Annotated[Path | None, typer.Option(help="File with the new value.")] = None,
    again: Again = False,
    force: Force = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Mend one record and send it to its topic: in your editor, or by `--set` or `--value`."""

    def mended(old: bytes) -> bytes:
        if value is not None:
            return value.read_bytes()
        if changes:
            return edited(old, changes)
        text = click.edit(_pretty(old), extension=".json", require_save=True)
        if text is None:
            raise EditError("nothing was changed, nothing is sent")
        return text.encode()

    with _services(data_dir) as (settings, client):
        found = _one(settings, client, letter)
        _send(settings, client, [found], mended, again=again, force=force, dry_run=dry_run, yes=yes)


@letters_app.command("redrive")
def redrive_command(  # noqa: PLR0913, PLR0917 - the options of a command
    letters: Annotated[
        list[str] | None, typer.Argument(help="Letters; without any, those that the options name.")
    ] = None,
    reason: Reason = None,
    topic: Topic = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    again: Again = False,
    force: Force = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Send refused records to the topics they came from, unchanged, each once (exit code 1 if one was not sent)."""
    ids = frozenset(letters or ())
    choice = Choice(ids, reason, topic, key, _moment(since), _moment(until), waiting=not ids and not again)
    if choice == Choice(waiting=choice.waiting):
        raise typer.BadParameter("name letters, or choose them by --reason, --topic, --key, --since or --until")
    with _services(data_dir) as (settings, client):
        found = read_letters(settings, client, choice)
        missing = sorted(ids - {one.id for one in found})
        if missing:
            _fail(f"there is no such letter: {', '.join(missing)}")
        if not found:
            _fail("no letter is meant by that")
        _send(settings, client, found, None, again=again, force=force, dry_run=dry_run, yes=yes)


def _send(
    settings: Settings,
    client: Client,
    letters: Sequence[Letter],
    change: Callable[[bytes], bytes] | None,
    *,
    again: bool,
    force: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    planned, refused = plan(settings, letters, _now_ms(), change, again=again, force=force)
    _tell(planned, refused, dry_run=dry_run)
    if planned and not dry_run:
        if not yes and not typer.confirm(f"Send {len(planned)} record(s)?"):
            raise typer.Exit(1)
        lost = redrive(settings, client, planned, _now_ms(), again=again)
        for name in lost:
            typer.echo(f"{name}: not sent: somebody sends it at this moment", err=True)
        typer.echo(f"sent: {len(planned) - len(lost)}")
        refused += [Refused(one.letter, "") for one in planned if one.letter.id in lost]
    raise typer.Exit(1 if refused else 0)


def _tell(planned: Sequence[Planned], refused: Sequence[Refused], *, dry_run: bool) -> None:
    for one in planned[:SHOWN]:
        place = f"{one.topic}-{one.partition}, {len(one.value):,} bytes{', edited' if one.edited else ''}"
        typer.echo(f"{one.letter.id}: {'would go' if dry_run else 'goes'} to {place}")
    if len(planned) > SHOWN:
        typer.echo(f"... and {len(planned) - SHOWN:,} more")
    for no in refused[:SHOWN]:
        typer.echo(f"{no.letter.id}: not sent: {no.why}", err=True)
    if len(refused) > SHOWN:
        typer.echo(f"... and {len(refused) - SHOWN:,} more that are not sent", err=True)


@contextmanager
def _services(data_dir: Path) -> Iterator[tuple[Settings, Client]]:
    settings = settings_for(data_dir)
    client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
    try:
        yield settings, client
    finally:
        client.close()


def _one(settings: Settings, client: Client, letter: str) -> Letter:
    found = read_letters(settings, client, Choice(ids=frozenset((letter,))))
    if not found:
        _fail(f"there is no such letter: {letter}")
    return found[0]


def _fail(text: str) -> None:
    typer.echo(text, err=True)
    raise typer.Exit(1)


def _moment(text: str | None) -> int | None:
    """Epoch ms of a time, or of so long ago."""
    if text is None:
        return None
    with suppress(PydanticCustomError):
        return _now_ms() - parse_duration(text)
    with suppress(PydanticCustomError):
        return parse_start(text)
    typer.echo(f"{text!r} is neither a duration (30m, 2h, 7d) nor a time (2026-03-01T10:00:00Z)", err=True)
    raise typer.Exit(BAD_INPUT)


def _now_ms() -> int:
    return int(time.time() * 1000)


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%d %b %Y %H:%M:%S")


def _sent(one: Letter) -> str:
    if one.redrive is None:
        return ""
    changed = ", edited" if one.redrive.edited else ""
    return f"{one.redrive.when}{changed}" if one.redrive.sent else f"{one.redrive.when}, end unknown"


def _plain(text: str) -> str:
    """Without what a terminal or Rich would take for a command: these are the words of whoever sent garbage."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text).replace("[", "\\[")


def _pretty(value: bytes) -> str:
    try:
        return json.dumps(json.loads(value), indent=2, ensure_ascii=False) + "\n"
    except (ValueError, RecursionError):
        return "".join(
            c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in value.decode(errors="replace")
        )


def _whole(one: Letter) -> dict[str, Any]:
    return {
        "id": one.id,
        "refused_ms": one.refused_ms,
        **_builtins(one.letter),
        "redriven": None if one.redrive is None else _builtins(one.redrive),
    }


def _builtins(value: msgspec.Struct) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(value)
    return found
