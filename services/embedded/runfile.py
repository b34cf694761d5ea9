"""The file by which other commands find a running embedded stack: ``.kairos/run.json``."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

RUN_FILE_NAME = "run.json"


class RunInfo(msgspec.Struct, frozen=True):
    """Where a running stack is.

    Parameters
    ----------
    pid : of the process that supervises it.
    started_at : wall time, epoch ms.
    env : the ``KAIROS_*`` variables that lead to it.
    mail_dir : folder of the mail sink.
    log_dir : folder of the logs.
    url : address of the page.
    """

    pid: int
    started_at: int
    env: dict[str, str]
    mail_dir: str
    log_dir: str
    url: str


def write_run_file(data_dir: Path, info: RunInfo) -> Path:
    """Store it in one step, readable by its owner alone (an address may hold a password)."""
    path = data_dir / RUN_FILE_NAME
    draft = path.with_name(f"{RUN_FILE_NAME}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(info), indent=2))
    draft.replace(path)
    return path


def find_running(data_dir: Path) -> RunInfo | None:
    """Return the stack that runs with this data folder; None also if its process ended without a word."""
    try:
        info = msgspec.json.decode((data_dir / RUN_FILE_NAME).read_bytes(), type=RunInfo)
    except (OSError, msgspec.DecodeError):
        return None
    return info if _alive(info.pid) else None


def remove_run_file(data_dir: Path) -> None:
    """Take it away, if it is there."""
    (data_dir / RUN_FILE_NAME).unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
