"""Ports of the loopback interface, and waiting until something answers on one."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from models.errors import TransientError

LOOPBACK = "127.0.0.1"
_FIRST, _LAST = 20_000, 32_000


def free_ports(count: int) -> list[int]:
    """Return `count` different ports of the loopback interface that nothing listens on now.

    Notes
    -----
    They lie below the range from which the kernel takes ports for outgoing connections, so that a server
    that died finds its port free when it is started again. Between this call and the use another program may
    take one; the process that wanted it then fails at its start with its own message.
    """
    found: list[int] = []
    start = secrets.randbelow(_LAST - _FIRST)
    for step in range(_LAST - _FIRST):
        port = _FIRST + (start + step) % (_LAST - _FIRST)
        if is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise TransientError(f"no {count} free ports between {_FIRST} and {_LAST}")


def free_port() -> int:
    """Return one port of the loopback interface that nothing listens on now."""
    return free_ports(1)[0]


def is_free(port: int) -> bool:
    """Whether `port` of the loopback interface can be listened on now."""
    with socket.socket() as one:
        # As servers do it: a connection of an earlier run in TIME_WAIT does not keep the port.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


@contextmanager
def connection(host: str, port: int, timeout_s: float) -> Iterator[socket.socket]:
    """Open a TCP connection whose every operation is limited to `timeout_s`."""
    with socket.create_connection((host, port), timeout=timeout_s) as connected:
        connected.settimeout(timeout_s)
        yield connected


def answers(host: str, port: int, timeout_s: float = 1.0) -> bool:
    """Whether something accepts connections there."""
    try:
        with connection(host, port, timeout_s):
            return True
    except OSError:
        return False


def receive_exactly(connected: socket.socket, size: int) -> bytes:
    """Read `size` bytes.

    Raises
    ------
    ConnectionError
        The other side closed before.
    """
    chunks = bytearray()
    while len(chunks) < size:
        chunk = connected.recv(size - len(chunks))
        if not chunk:
            raise ConnectionError(f"closed after {len(chunks)} of {size} bytes")
        chunks += chunk
    return bytes(chunks)
