"""The Faust app of one role, and how it runs as a process."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Final, NoReturn, Protocol

import faust
import uvloop
from mode import CrashingSupervisor
from yarl import URL

from streams.transport import SCHEME, ChunkSchema, TransportOptions, chunk_consumer, configure, register
from streams.vitals import vitals_of

# aiokafka asks for topics again only after this time when a question failed. A worker that was started while the broker
# was away, and then leads its group, gives nobody a partition until it knows the topics: five minutes by default.
METADATA_MAX_AGE_MS: Final = 10_000


class KafkaAddress(Protocol):
    """The part of ``config.settings.KafkaSettings`` that is read here."""

    @property
    def bootstrap(self) -> str: ...
    @property
    def session_timeout_ms(self) -> int: ...


class AppSettings(Protocol):
    """The part of ``config.settings.Settings`` that is read here."""

    @property
    def kafka(self) -> KafkaAddress: ...
    @property
    def chunk_max(self) -> int: ...
    @property
    def chunks_in_flight(self) -> int: ...
    @property
    def fetch_max_wait_ms(self) -> int: ...
    @property
    def fetch_min_bytes(self) -> int: ...


class Watched(Protocol):
    """The part of ``config.settings.Settings`` that the watch over a process reads."""

    @property
    def watchdog_s(self) -> float: ...
    @property
    def health_host(self) -> str: ...
    @property
    def health_port(self) -> int | None: ...


def options_of(settings: AppSettings) -> TransportOptions:
    """Transport limits that `settings` ask for."""
    return TransportOptions(
        chunk_max=settings.chunk_max,
        max_inflight=settings.chunks_in_flight,
        fetch_max_wait_ms=settings.fetch_max_wait_ms,
        fetch_min_bytes=settings.fetch_min_bytes,
    )


def build_app(role: str, settings: AppSettings, options: TransportOptions | None = None) -> faust.App:
    """Make the app of `role`, without agents and without connecting to anything.

    Parameters
    ----------
    role : ``decide``, ``learn`` or ``deliver``; also names the consumer group, ``kairos-<role>-v1``.
        A changed subscription needs a new group: raise the number.
    settings : where Kafka is, and the chunk limits unless `options` are given.
    options : transport limits.
    """
    register()
    session_s = settings.kafka.session_timeout_ms / 1000.0
    app = faust.App(
        f"kairos-{role}-v1",
        broker=[URL(f"{SCHEME}://{address.strip()}") for address in settings.kafka.bootstrap.split(",")],
        broker_session_timeout=session_s,
        broker_heartbeat_interval=min(3.0, session_s / 3.0),
        broker_request_timeout=max(90.0, session_s),
        broker_commit_interval=1.0,
        consumer_metadata_max_age_ms=METADATA_MAX_AGE_MS,
        # State lives in Redis: no tables, no changelogs, no topic for a leader.
        store="memory://",
        datadir=str(Path(tempfile.gettempdir()) / f"kairos-faust-{os.getuid()}"),
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        Schema=ChunkSchema,
        key_type=bytes,
        value_type=bytes,
        # Counted in chunks and out of reach: max_inflight per partition bounds what is buffered, and a full
        # buffer would make one slow agent hold up every topic.
        stream_buffer_maxsize=1_000_000,
        # Lanes are waited for by the on_revoked hook; Faust would wait for chunks that sit in a lane's queue.
        stream_wait_empty=False,
        # An agent that raised has lost the chunks in its buffer. Faust would start it again on the next ones
        # after five seconds; a worker that ends and goes on from the fence is quicker and hides nothing.
        agent_supervisor=CrashingSupervisor,
        worker_redirect_stdouts=False,
    )
    configure(app, options or options_of(settings))
    app.on_before_shutdown.connect(_close_lanes)  # type: ignore[arg-type]
    return app


async def _close_lanes(app: faust.App, **_: object) -> None:
    # Before the agents are stopped; Faust itself calls back at a rebalance only.
    vitals_of(app).stop_began()
    await chunk_consumer(app).close_partitions()


def run(app: faust.App, log_level: str = "INFO", watch: Watched | None = None) -> NoReturn:
    """Run `app` until SIGTERM or SIGINT; ends the process with 0, or not 0 after a crash or when it hangs.

    Parameters
    ----------
    watch : where to tell about its health, and when it hangs; None: nobody looks.
    """
    # Faust sets the root logger to DEBUG for its spinner: every debug line of aiokafka, several for each request, would
    # become a record that nobody writes.
    for name in ("aiokafka", "asyncio", "faust", "mode"):
        logging.getLogger(name).setLevel(log_level)
    # Records hop from the fetcher's thread to the loop. At Python's 5 ms each hop may wait that long while the other
    # thread computes.
    sys.setswitchinterval(0.0005)
    uvloop.install()
    loop = uvloop.new_event_loop()
    worker = faust.Worker(app, loop=loop, loglevel=log_level, redirect_stdouts=False, stdout=sys.stderr, quiet=True)
    vitals = vitals_of(app)
    if watch is not None:
        vitals.start(loop, stuck_s=watch.watchdog_s, host=watch.health_host, port=watch.health_port)
    try:
        worker.execute_from_commandline()
    finally:
        vitals.close()
