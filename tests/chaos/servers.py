"""What the workers lean on: a broker, Redis behind a proxy (with a replica when there is a fail-over), a mail sink.

Or three nodes of a Redis Cluster, without a proxy: a cluster tells its clients where each node is.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Self

from chaos.control import tell

from services.state.redis_lane import connect
from support.kafka import KafkaServer
from support.ports import accepts, free_port, wait_until
from support.process import ChildProcess
from support.redis import RedisServer, redis_binary
from support.redis_cluster import ClusterNodeServer, RedisClusterServer

LOAD_S = 120.0


class Servers:
    """All of them, on free ports.

    Parameters
    ----------
    folder : for logs and the list of mails. jars : Apache Kafka's. cluster : Redis is a cluster.
    """

    def __init__(self, folder: Path, jars: Path, *, cluster: bool = False) -> None:
        self.mails = folder / "mails.txt"
        self.kafka = KafkaServer(jars, heap_mb=1024)
        self.cluster = RedisClusterServer() if cluster else None
        self.redis = RedisServer(redis_binary())
        self.redis_port, self.smtp_port = free_port(), free_port()
        self._proxy_control, self._sink_control = free_port(), free_port()
        self._proxy = ChildProcess("proxy", folder / "proxy.log")
        self._sink = ChildProcess("sink", folder / "sink.log")

    def __enter__(self) -> Self:
        try:
            self.kafka.start()
            if self.cluster is not None:
                self.cluster.start()
            else:
                self.redis.start()
                ports = (self.redis_port, self._proxy_control, self.redis.port)
                self._start(self._proxy, "proxy", ports, self._proxy_control)
            self._start(self._sink, "sink", (self.smtp_port, self._sink_control, self.mails), self._sink_control)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._sink.stop()
        self._proxy.stop()
        self.redis.close()
        if self.cluster is not None:
            self.cluster.close()
        self.kafka.close()

    @staticmethod
    def _start(process: ChildProcess, name: str, words: tuple[object, ...], port: int) -> None:
        process.start([sys.executable, "-m", f"chaos.{name}", *map(str, words)], lambda: accepts(port), 20.0)

    def proxy(self, line: str) -> str:
        """Tell the proxy something."""
        return tell(self._proxy_control, line)

    def sink(self, line: str) -> str:
        """Tell the mail sink something."""
        return tell(self._sink_control, line)

    # -- Redis

    @property
    def redis_url(self) -> str:
        """Where the workers find Redis."""
        return self.cluster.url if self.cluster is not None else f"redis://127.0.0.1:{self.redis_port}/0"

    @property
    def nodes(self) -> list[ClusterNodeServer]:
        """Nodes of the cluster."""
        return self.cluster.nodes if self.cluster is not None else []

    def client(self, server: RedisServer | None = None) -> Any:
        """A client of Redis itself, past the proxy."""
        return connect((server or self.cluster or self.redis).url)

    def restart_redis(self) -> None:
        """Start Redis after it was stopped."""
        self.redis.start(LOAD_S)

    def shorten_aof(self) -> Path:
        """Wait until Redis appends to one file and goes on doing so; returns the file."""
        client = self.client()
        client.config_set("auto-aof-rewrite-percentage", 0)
        wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "AOF rewritten", LOAD_S, 0.1)
        client.close()
        return self.redis.aof()

    def replica(self) -> RedisServer:
        """A second Redis that follows the first, in step with it."""
        server = RedisServer(redis_binary()).start()
        client = self.client(server)
        client.replicaof("127.0.0.1", str(self.redis.port))
        try:
            wait_until(lambda: client.info("replication")["master_link_status"] == "up", "replica", LOAD_S, 0.05)
        except BaseException:
            server.close()
            raise
        finally:
            client.close()
        return server

    def fail_over(self, lag_s: float) -> int:
        """Promote a replica that missed the last `lag_s` seconds of writes; returns how many bytes it missed."""
        server = self.replica()
        client, master = self.client(server), self.client()
        time.sleep(0.5)
        client.replicaof("NO", "ONE")
        before = client.info("replication")["master_repl_offset"]
        time.sleep(lag_s)
        missed = master.info("replication")["master_repl_offset"] - before
        client.close()
        master.close()
        old, self.redis = self.redis, server
        old.kill()
        self.proxy(f"target {server.port}")
        old.close()
        return int(missed)
