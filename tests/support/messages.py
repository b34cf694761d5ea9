"""Message commands for tests."""

from typing import Any

import msgspec

from models.decisions import Cause, MessageCommand

FAR_FUTURE_MS = 4_000_000_000_000

_PLAIN = MessageCommand(
    type="SendEmail",
    id="0" * 32,
    user="u1",
    campaign="win-back",
    step="1",
    channel="email",
    template="win-back",
    variant=None,
    to="emma@example.com",
    purpose="marketing",
    decided_at=1_267_000_000_000,
    expires_at=FAR_FUTURE_MS,
    locale="en-GB",
    timezone="Europe/London",
    data={
        "name": "Emma",
        "items": [{"id": "85123A", "name": "WHITE HANGING HEART T-LIGHT HOLDER", "price": 2.55}],
        "currency": "GBP",
    },
    reason="Win back: churn alert on 24 Feb 2010",
    cause=Cause("alert", "e1", "ChurnAlert", 1_267_000_000_000),
)


def message(**changes: Any) -> MessageCommand:
    """Return a win-back mail to Emma with `changes`; an int `id` is padded to 32 digits."""
    if isinstance(changes.get("id"), int):
        changes["id"] = f"{changes['id']:032x}"
    return msgspec.structs.replace(_PLAIN, **changes)
