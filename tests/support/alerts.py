"""Churn alerts as decide publishes them."""

import msgspec

from models.alerts.churn import KIND
from models.decisions import Cause, ChurnAlert, Reason, effect_id
from services.state.alerts import Taken

AT = 1_267_000_000_000


def churn_alert(user: str, *, at: int = AT, score: float = 0.8) -> ChurnAlert:
    """An alert about a user."""
    return ChurnAlert(
        id=effect_id("churn", "alert", user, f"m@{at}"),
        user=user,
        at=at,
        score=score,
        learned=True,
        horizon_ms=90 * 86_400_000,
        reasons=[Reason("silence", "silent for 80 days", 1.2)],
        action={"campaign": "win-back"},
        cause=Cause("timer", "m", "tick", at),
        snapshot=3,
    )


def packed(alert: ChurnAlert) -> bytes:
    """The record's value."""
    return msgspec.json.encode(alert)


def taken(user: str, offset: int = 0, broker_ms: int = 1_000, **changes: int) -> Taken:
    """The alert as it is written into Redis."""
    value = packed(churn_alert(user, **changes))
    return Taken(KIND.read(value), value, offset, broker_ms)
