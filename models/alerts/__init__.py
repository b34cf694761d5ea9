"""What people and other services are told of: one module per kind, which says where it is published and how it reads.

Adding a kind is adding its module to `KINDS` and its name to ``config.webhook.Kind``.
"""

from __future__ import annotations

from models.alerts import churn
from models.alerts.alert import WEBHOOK_FAILED, Alert, Kind

__all__ = ["KINDS", "WEBHOOK_FAILED", "Alert", "Kind"]

KINDS: dict[str, Kind] = {kind.name: kind for kind in (churn.KIND,)}
