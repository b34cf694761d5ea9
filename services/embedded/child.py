"""Run a program that must not outlive the process that started it.

``python child.py PARENT_PID PROGRAM ARGUMENTS...`` asks the kernel to kill it when its parent dies and then
*becomes* the program (``execv``), so that no shell or wrapper stays in between. A ``preexec_fn`` would do the
same, but runs Python between ``fork`` and ``exec`` in a process with threads, which may deadlock; hence a
file of its own that imports nothing of Kairos and starts in a few milliseconds.

The kernel's word is Linux's ``prctl(PR_SET_PDEATHSIG)``. Elsewhere the call is left out: everything works,
but a parent that is killed with SIGKILL leaves its children behind.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends; end at once if that has happened already.

    Parameters
    ----------
    parent_pid : the parent's process id, as the parent itself knows it: it may have died before ``prctl`` was
        called.
    """
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 (costs 10 ms, and is needed on Linux only)

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(0)


def main(argv: Sequence[str]) -> None:
    """Become ``argv[1:]`` as a child of process ``argv[0]``."""
    die_with_parent(int(argv[0]))
    try:
        os.execvp(argv[1], list(argv[1:]))
    except OSError as error:
        sys.exit(f"cannot run {argv[1]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
