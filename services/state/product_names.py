"""Names of products, from the newest snapshot of the recommender."""

from __future__ import annotations

import threading
import time

import redis

from models.errors import IncompatibleSnapshotError
from models.offers.recs import NAME, Recs
from services.state.snapshots import SnapshotReader

EVERY_S = 60.0


class ProductNames:
    """Reads; synchronous, from any thread. Looks for a newer snapshot once a minute.

    Parameters
    ----------
    client : of Redis.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._snapshots = SnapshotReader(client)
        self._names: dict[str, str] = {}
        self._version, self._look_s = 0, 0.0
        self._lock = threading.Lock()

    def newest(self) -> dict[str, str]:
        """Product -> name, of all that the recommender knows; those of before where the newest cannot be read.

        Raises
        ------
        TransientError
            Redis is away.
        """
        with self._lock:
            if time.monotonic() >= self._look_s:
                self._look_s = time.monotonic() + EVERY_S
                version = self._snapshots.latest((NAME,)).get(NAME, 0)
                if version != self._version:
                    try:
                        items = Recs.from_envelope(self._snapshots.load(NAME, version)).items
                    except IncompatibleSnapshotError:
                        return self._names  # ids do as well
                    self._names, self._version = {item: told[0] for item, told in items.items()}, version
            return self._names
