"""Free ports on the loopback address, and waiting until something listens there."""

import itertools
import os
import socket
import time
from collections.abc import Callable

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel takes ports for outgoing connections: a server that was killed finds
# its port free when it is started again.
_FIRST, _LAST = 20_000, 32_000
_cursor = itertools.count(_FIRST + (os.getpid() * 37) % (_LAST - _FIRST))


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on and that was not handed out before."""
    for candidate in itertools.islice(_cursor, _LAST - _FIRST):
        port = _FIRST + (candidate - _FIRST) % (_LAST - _FIRST)
        if is_free(port):
            return port
    raise RuntimeError(f"no free port between {_FIRST} and {_LAST}")


def is_free(port: int) -> bool:
    """Tell whether the port of the loopback address could be listened on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def accepts(port: int, timeout_s: float = 0.2) -> bool:
    """Tell whether something accepts connections at the port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=timeout_s).close()
    except OSError:
        return False
    return True


def wait_until(ready: Callable[[], bool], what: str, timeout_s: float, interval_s: float = 0.02) -> None:
    """Poll `ready` until it is true.

    Raises
    ------
    TimeoutError
        When `timeout_s` have passed; `what` says what was waited for.
    """
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not ready after {timeout_s:g} s")
        time.sleep(interval_s)
