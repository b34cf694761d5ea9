"""Expected value, next order, segment and portrait for other services."""

from __future__ import annotations

from typing import Any

from config.settings import Settings
from services.state.live import connect_patient
from services.state.user_facts import FactsReader, UserFacts, groups_of, portraits_of


class Expectations:
    """Answers; synchronous, from any thread.

    Parameters
    ----------
    settings : where Redis is.
    """

    def __init__(self, settings: Settings) -> None:
        self._client = connect_patient(settings.redis.url.get_secret_value(), settings.redis.timeout_ms / 1000)
        self._reader = FactsReader(self._client, settings.lanes)

    def ask(self, user: str) -> UserFacts | None:
        """Facts of a user; None if nobody knows the user.

        Raises
        ------
        TransientError
            Redis is away: ask again.
        """
        return self._reader.ask(user)

    def segments(self) -> dict[str, Any]:
        """Segments by behaviour and portraits, with their shares."""
        known = self._reader.newest()
        portraits = [{"name": name, "share": round(share, 4)} for name, share in portraits_of(known.portraits.payload)]
        versions = {name: known.versions[name] for name in ("segments", "portraits")}
        return {"segments": groups_of(known.segments.payload), "portraits": portraits, "snapshots": versions}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
