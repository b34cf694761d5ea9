"""A Redis Cluster for tests: three primaries, and a replica of each where it is wanted, on free ports."""

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import redis

from support.ports import LOOPBACK, free_port, is_free, wait_until
from support.process import ChildProcess
from support.redis import redis_binary

SLOTS = 16_384
BUS = 10_000  # this far above its port a node talks to the other nodes


class ClusterNodeServer:
    """One node: append-only file, synced at every write."""

    def __init__(self, folder: Path) -> None:
        self.port = _free_port_and_bus()
        self.folder = folder / str(self.port)
        self.folder.mkdir()
        self._process = ChildProcess("Redis node", self.folder / "redis.log")

    def start(self, timeout_s: float = 15.0) -> Self:
        options = {
            "port": str(self.port),
            "bind": LOOPBACK,
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            "cluster-enabled": "yes",
            "cluster-node-timeout": "2000",
            "repl-diskless-sync-delay": "0",
        }
        command = [str(redis_binary())]
        for name, value in options.items():
            command += [f"--{name}", value]
        self._process.start(command, self._answers, timeout_s)
        return self

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=0.5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def client(self) -> redis.Redis:
        return redis.Redis(host=LOOPBACK, port=self.port)

    def aof(self) -> Path:
        """The file that it appends to."""
        return max([*self.folder.glob("appendonlydir/*.incr.aof"), *self.folder.glob("appendonly.aof")])

    def kill(self) -> None:
        self._process.kill()

    def pause(self) -> None:
        self._process.pause()

    def resume(self) -> None:
        self._process.resume()

    def stop(self) -> None:
        self._process.stop()


class RedisClusterServer:
    """Three primaries with a third of the slots each; `replicas`: one more node for each."""

    def __init__(self, *, replicas: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kairos-cluster-"))
        self.nodes = [ClusterNodeServer(self.folder) for _ in range(6 if replicas else 3)]
        self._replicas = replicas
        self._made = False

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes)

    def start(self) -> Self:
        """Start all nodes and make them a cluster."""
        for node in self.nodes:
            node.start()
        if self._made:
            self.wait()
            return self
        command = ["redis-cli", "--cluster", "create", *(f"{LOOPBACK}:{node.port}" for node in self.nodes)]
        command += ["--cluster-replicas", "1" if self._replicas else "0", "--cluster-yes"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        self._made = True
        self.wait()
        return self

    def kill(self) -> None:
        """`kill -9` of all nodes; data and ports stay for the next `start`."""
        for node in self.nodes:
            node.kill()

    def wait(self, timeout_s: float = 20.0) -> None:
        """Return when every slot has somebody who answers."""
        wait_until(self._agreed, "the nodes agree", timeout_s, 0.05)

    def _agreed(self) -> bool:
        return all(self._sound(node) for node in self.nodes)

    def _sound(self, node: ClusterNodeServer) -> bool:
        try:
            with node.client() as client:
                if b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO", NEVER_DECODE=[]):
                    return False
                return not self._replicas or client.info("replication").get("master_link_status", "up") == "up"
        except redis.RedisError:
            return False

    def owner(self, key: str) -> ClusterNodeServer:
        """The primary that has `key` now."""
        for node in self.nodes:
            try:
                with node.client() as client:
                    client.exists(key)
                    if client.info("replication")["role"] == "master":
                        return node
            except redis.RedisError:
                continue
        raise AssertionError(f"nobody has {key}")

    def move_slot(self, key: str, *, keys_too: bool = True) -> ClusterNodeServer:
        """Move the slot of `key` to another primary; `keys_too` False: only begin, and leave the keys."""
        source = self.owner(key)
        target = next(node for node in self.nodes if node is not source)
        with source.client() as old, target.client() as new:
            slot = int(old.execute_command("CLUSTER", "KEYSLOT", key))
            one, other = (str(c.execute_command("CLUSTER", "MYID"), "ascii") for c in (old, new))
            new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", one)
            old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", other)
            if keys_too:
                self.finish_move(slot, source, target)
        return target

    def finish_move(self, slot: int, source: ClusterNodeServer, target: ClusterNodeServer) -> None:
        with source.client() as old, target.client() as new:
            other = str(new.execute_command("CLUSTER", "MYID"), "ascii")
            while names := old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
                old.execute_command("MIGRATE", LOOPBACK, target.port, "", 0, 5000, "KEYS", *names)
            for node in (target, source, *self.nodes):
                with node.client() as client:
                    client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", other)

    def close(self) -> None:
        """Stop all nodes and remove their folder."""
        for node in self.nodes:
            node.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()


def _free_port_and_bus() -> int:
    """A port for a node: its bus listens 10,000 above, below the kernel's ports for outgoing connections too."""
    while True:
        port = free_port() - BUS
        if is_free(port):
            return port
