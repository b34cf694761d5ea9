"""An alert of any kind, as it is listed, acknowledged and posted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from models.profile.state import Profile

WEBHOOK_FAILED = "webhook_failed"  # reason of a dead letter; its header `alert` names the alert


class Alert(msgspec.Struct, frozen=True):
    """What all kinds have in common.

    Parameters
    ----------
    id : deterministic: the same alert has the same id however often it is published.
    user : whom it is about; in whose lane it lies. at : event time, ms. kind : name of its kind.
    score : how bad it is, 0 to 1. reasons : for a person, strongest first. action : what was done, for a person.
    """

    id: str
    user: str
    at: int
    kind: str
    score: float
    reasons: list[str]
    action: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of alerts.

    Parameters
    ----------
    name : as in a webhook's ``kinds:``. topic : where they are published, one partition a lane.
    event : type of the posted event. read : the alert that a record holds; raises msgspec.DecodeError.
    is_over : whether its user's profile says that it needs nobody's attention any more.
    """

    name: str
    topic: str
    event: str
    read: Callable[[bytes], Alert]
    is_over: Callable[[Alert, Profile], bool]
