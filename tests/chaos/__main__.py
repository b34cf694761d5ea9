"""``make chaos SEED=7 [EVENTS=100000] [FAULTS=25]``: break everything while a known input flows, then count again.

    PYTHONPATH=tests python -m chaos --seed 7 [--events 100000] [--faults 25] [--write]

Real Apache Kafka (its jars: `make kafka`, or KAIROS_TEST_KAFKA_JARS), real Redis with an append-only file, several
workers of every role, a real mail server. The seed decides the input, the faults and their moments. Exit code 1 on a
single difference. ``--write`` adds the run to docs/reliability.md, ``--keep`` keeps the folder with the logs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from chaos.check import Checker
from chaos.cluster import CLUSTER_FAULTS
from chaos.drive import Driver, Faults
from chaos.faults import FAULTS, LANES, SESSION_TIMEOUT_MS, World, plan
from chaos.fleet import ROOT, Fleet
from chaos.report import Report, write
from chaos.servers import Servers
from chaos.shop import NEXT_TOPIC, write_input
from chaos.state import read_state
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from config.settings import PACKAGE_CONFIG_DIR, load_settings
from services.bus import create_topics
from services.jobs.audit import run_audit
from support.kafka import kafka_jars

WORKERS = {"decide": 2, "learn": 1, "deliver": 2}
# At least so long the input lasts for each fault: traffic goes on during all of them.
SECONDS_PER_FAULT = 5.0


def main() -> None:
    """Run once."""
    parser = argparse.ArgumentParser(
        prog="make chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--faults", type=int, default=25)
    parser.add_argument("--cluster", action="store_true", help="Redis is a cluster of three nodes")
    parser.add_argument("--strict-order", action="store_true", help="decide applies events in the order of their time")
    parser.add_argument("--write", action="store_true", help="add the run to docs/reliability.md")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and input")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kairos-chaos-"))
    console = Console()
    ok = False
    try:
        report = Run(given, folder, console).run()
        ok = report.ok
        report.show(console)
        if given.write:
            console.print(f"Written: {write(report).relative_to(ROOT)}")
    finally:
        if ok and not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            console.print(f"Input, mails and logs of the workers: {folder}")
    sys.exit(0 if ok else 1)


class Run:
    """One run, from empty servers to the verdict."""

    def __init__(self, given: argparse.Namespace, folder: Path, console: Console) -> None:
        self._seed, self._events, self._faults = given.seed, given.events, given.faults
        self._cluster, self._strict = given.cluster, given.strict_order
        self._folder, self._console = folder, console
        self._input = folder / "input.jsonl"
        (folder / "logs").mkdir()

    def run(self) -> Report:
        """Everything."""
        began = time.monotonic()
        self._console.print(f"Seed {self._seed}: {self._events:,} events, {self._faults} faults, in {self._folder}")
        write_input(self._input, self._seed, self._events, LANES)
        with Servers(self._folder, kafka_jars(), cluster=self._cluster) as servers:
            create_topics(servers.kafka.bootstrap, LANES)
            servers.kafka.create_topic(NEXT_TOPIC, LANES)
            env = self._env(servers)
            fleet = Fleet(env, self._folder / "logs")
            try:
                faults = self._break_things(World(servers, fleet))
            finally:
                fleet.close()
            report = Report(self._seed, self._events, faults.done, fleet.restarts(), datetime.now().astimezone())
            server = servers.nodes[0] if self._cluster else servers
            report.redis = str(server.client().info("server")["redis_version"])
            if self._cluster:
                report.redis += " as a cluster of three nodes"
            if self._strict:
                report.redis += ", strict order"
            report.kafka = next(servers.kafka.jars.glob("kafka_2.13-*.jar")).stem.partition("-")[2]
            report.ran_s = time.monotonic() - began
            self._judge(servers, env, report)
        report.took_s = time.monotonic() - began
        return report

    def _env(self, servers: Servers) -> dict[str, str]:
        return {
            "KAIROS_KAFKA__BOOTSTRAP": servers.kafka.bootstrap,
            "KAIROS_KAFKA__SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS),
            "KAIROS_REDIS__URL": servers.redis_url,
            "KAIROS_SMTP__PORT": str(servers.smtp_port),
            "KAIROS_LANES": str(LANES),
            "KAIROS_TICKER": "false",
            "KAIROS_STRICT_ORDER": str(self._strict).lower(),
            "KAIROS_FETCH_MAX_WAIT_MS": "20",
            "KAIROS_WATCHDOG_S": "30",
        }

    def _break_things(self, world: World) -> Faults:
        for role, count in WORKERS.items():
            names = [world.fleet.start(role) for _ in range(count)]
            if role == "decide":
                for name in names:
                    world.fleet.wait_for_lanes(name)
        known = CLUSTER_FAULTS if self._cluster else FAULTS
        faults = Faults(world, plan(self._seed, self._events, self._faults, known), self._seed)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("{task.fields[what]}"), console=self._console) as bar:
            task = bar.add_task("events", total=self._events, what="")

            def tell(published: int, behind: int) -> None:
                active = ", ".join(faults.active.values())
                what = f"{len(faults.done)} faults, {behind:,} records wait{'; ' + active if active else ''}"
                bar.update(task, completed=published, what=what)

            driver = Driver(world, faults, world.servers.kafka.bootstrap, LANES, self._input, tell)
            driver.publish(self._faults * SECONDS_PER_FAULT)
            faults.join()
            driver.settle(lambda waiting: tell(self._events, waiting))
        faults.done.sort(key=lambda one: one.number)
        return faults

    def _judge(self, servers: Servers, env: dict[str, str], report: Report) -> None:
        client = servers.client()
        with self._console.status("Reading Redis ...") as status:
            held = read_state(client, LANES)
            checker = Checker(
                servers.kafka.bootstrap,
                LANES,
                self._input,
                servers.mails,
                PACKAGE_CONFIG_DIR,
                held,
                lambda what: status.update(f"Counting again: {what} ..."),
            )
            report.checks, report.figures = checker.run(), checker.figures
            status.update("kairos audit ...")
            os.environ.update(env)
            report.audit(run_audit(load_settings()))
        client.close()


if __name__ == "__main__":
    main()
