"""The profile as conditions see it: `user` in CEL."""

from __future__ import annotations

from typing import Any

from models.profile import decay
from models.profile.state import E4, Profile

DAY_MS = 86_400_000


def user_view(profile: Profile, at: int) -> dict[str, Any]:
    """Facts about the user at `at` (ms), under the names that docs/campaigns.md explains."""
    second = at // 1000
    views, adds = decay.read(profile, decay.VIEWS, second), decay.read(profile, decay.ADDS, second)
    return {
        "orders": profile.orders,
        "money_minor": profile.money_minor,
        "days_since_order": (at - profile.last_order_ms) / DAY_MS if profile.orders else -1.0,
        "days_since_seen": max(0.0, (at - profile.last_seen_ms) / DAY_MS),
        "views_7d": views[1],
        "adds_7d": adds[1],
        "sessions": profile.sessions,
        "churn_score": profile.score,
        "country": str(profile.attributes.get("country", "")),
        "attributes": dict(profile.attributes),
        "consent": dict(profile.consent),
        "categories": {name: weight / E4 for name, weight in profile.categories.items()},
    }
