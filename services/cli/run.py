"""``kairos demo``, ``kairos up`` and ``kairos worker``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR, Settings
from models.campaigns.conditions import condition_fault
from services.bootstrap import DATA_DIR
from services.bus.admin import create_topics
from services.embedded.signals import interrupted_by_signals
from services.embedded.stack import EmbeddedStack
from services.jobs.audit import run_audit

DataDir = Annotated[Path, typer.Option(help="Folder of the embedded Redis, mails and logs.")]
Port = Annotated[int | None, typer.Option(help="Port of the page; a free one unless given.")]
ConfigDir = Annotated[Path | None, typer.Option(help="Campaigns, offers, experiments and templates of your own.")]
Kafka = Annotated[str | None, typer.Option(help="Use this Kafka instead of the embedded broker (host:port).")]
Redis = Annotated[str | None, typer.Option("--redis", help="Use this Redis instead of the embedded one (redis://...).")]


class Role(StrEnum):
    """Roles of a worker."""

    DECIDE = "decide"
    LEARN = "learn"
    DELIVER = "deliver"
    JUDGE = "judge"


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End after the summary; exit code 0 only if all is well.")
    ] = False,
    days: Annotated[int | None, typer.Option(min=1, help="Only the first days of the year.")] = None,
    lanes: Annotated[int, typer.Option(min=1, help="Partitions of every topic keyed by user.")] = 4,
    port: Port = None,
    data_dir: DataDir = DATA_DIR,
    config_dir: ConfigDir = None,
    kafka: Kafka = None,
    redis: Redis = None,
) -> None:
    """Replay a real shop's year through everything, live on a page, and prove it right at the end."""
    from services.demo.run import Options, run_demo
    from services.demo.summary import AuditVerdict

    def audited(env: Mapping[str, str]) -> AuditVerdict:
        report = run_audit(_settings_of(env))
        return AuditVerdict(report.ok, tuple(report.sentences()))

    options = Options(
        once=once,
        days=days,
        lanes=lanes,
        http_port=port,
        data_dir=data_dir,
        config_dir=config_dir,
        kafka=kafka,
        redis_url=redis,
    )
    with interrupted_by_signals():
        code = run_demo(options, audited)
    raise typer.Exit(code)


def up(
    lanes: Annotated[int, typer.Option(min=1, help="Partitions of every topic keyed by user.")] = 4,
    port: Port = 8080,
    data_dir: DataDir = DATA_DIR,
    config_dir: ConfigDir = None,
    kafka: Kafka = None,
    redis: Redis = None,
) -> None:
    """Run everything on this machine: broker, Redis, mail sink, all roles and the page, until Ctrl-C."""
    console = Console()
    load_definitions(config_dir or PACKAGE_CONFIG_DIR, condition_fault)  # say what is wrong before anything starts
    stack = EmbeddedStack(
        data_dir,
        create_topics,
        lanes=lanes,
        http_port=port,
        config_dir=config_dir,
        kafka=kafka,
        redis_url=redis,
    )
    try:
        with interrupted_by_signals(), stack:
            _tell_where(console, stack, memory_only=kafka is None)
            stack.wait()
    except KeyboardInterrupt:
        console.print("Stopped.")


def _tell_where(console: Console, stack: EmbeddedStack, *, memory_only: bool) -> None:
    console.print(f"Page:   {stack.url}", highlight=False)
    console.print(f"Kafka:  {stack.bootstrap}   publish to clickstream, purchases, profiles", highlight=False)
    console.print(f"Redis:  {stack.env()['KAIROS_REDIS__URL']}", highlight=False)
    console.print(f"Mails:  {stack.mail_dir}   (nothing leaves this machine)", highlight=False)
    if memory_only:
        console.print("The embedded broker keeps its log in memory: for trying, not for keeping.", style="yellow")
    console.print("Ctrl-C ends it.")


def worker(role: Annotated[Role, typer.Option(help="What this worker does.")]) -> None:
    """Run one worker of a role; start as many as you like, on as many machines. Settings: `KAIROS_*`."""
    os.execv(sys.executable, [sys.executable, "-m", "streams", role.value])


def _settings_of(env: Mapping[str, str]) -> Settings:
    """Settings that lead to the stack with these variables."""
    os.environ.update(env)
    return Settings()
