"""What the doctor found."""

from __future__ import annotations

from enum import IntEnum

import msgspec


class Level(IntEnum):
    """How bad it is; the worst one is the exit code."""

    OK = 0
    WARNING = 1
    BAD = 2


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Parameters
    ----------
    what : short name. found : what is there. remedy : what to do; empty where all is well.
    """

    what: str
    level: Level
    found: str
    remedy: str = ""


def ok(what: str, found: str) -> Finding:
    """All is well."""
    return Finding(what, Level.OK, found)


def warn(what: str, found: str, remedy: str) -> Finding:
    """It works, and should not stay so."""
    return Finding(what, Level.WARNING, found, remedy)


def bad(what: str, found: str, remedy: str) -> Finding:
    """It does not work, or data is at risk."""
    return Finding(what, Level.BAD, found, remedy)
