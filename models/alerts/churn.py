"""Churn alerts: :class:`models.decisions.ChurnAlert` of the topic `churn-alerts`."""

from __future__ import annotations

import msgspec

from config.topics import CHURN_ALERTS
from models.alerts.alert import Alert, Kind
from models.decisions import ChurnAlert
from models.profile.state import Profile

_decode = msgspec.json.Decoder(ChurnAlert).decode


def _read(value: bytes) -> Alert:
    found = _decode(value)
    campaign = found.action.get("campaign", "")
    reasons = [reason.text for reason in found.reasons]
    action = f"campaign {campaign}" if campaign else ""
    return Alert(found.id, found.user, found.at, KIND.name, found.score, reasons, action)


def _is_over(alert: Alert, profile: Profile) -> bool:
    """The score has come down since (hysteresis), or there is a newer alert."""
    return not profile.alerted or profile.last_alert > alert.at // 1000


KIND = Kind("churn-alert", CHURN_ALERTS.name, "churn.alert", _read, _is_over)
