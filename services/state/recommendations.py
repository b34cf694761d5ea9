"""Recommendations told to whoever asks, from profile and newest snapshots: they reflect the user's last event."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import msgspec
import redis
import structlog

from config.rules import OfferPolicy
from config.topics import INPUT_NAMES
from models.errors import KairosError
from models.identity import MAX_HOPS
from models.lane import decode_state
from models.offers import rankings, recs, stock
from models.offers.past import Past, past_of
from models.offers.rank import DAY_MS, rank_items
from models.offers.recs import Recs
from models.offers.stock import Stock
from models.profile.codec import decode_profile
from models.profile.moved import MovedError
from models.profile.state import Profile
from models.wire import lane_of
from services.state import keys
from services.state.redis_lane import translated
from services.state.snapshots import SnapshotReader

log = structlog.get_logger()

LOOK_S: Final = 1.0
MOST: Final = 500


class Recommended(msgspec.Struct, frozen=True):
    """One product: `score` in log-odds, `price_minor` as orders told it last."""

    item: str
    name: str
    price_minor: int | None
    score: float
    reason: str


class Recommendations(msgspec.Struct, frozen=True):
    """Answer about a user (after a merge: by the id that is left) as of `at` (event time, ms), best first.

    Parameters
    ----------
    known : whether anything is known of the user; of others what is popular is told.
    ranking : id of this list: whoever shows it sends it back as `list_id`, so that what comes of it is counted.
    left_out : of the candidates that were asked about: out of stock, bought before, or never ordered by anyone.
    """

    user: str
    known: bool
    at: int
    snapshot: int
    stock: int
    items: list[Recommended]
    left_out: list[str] = []
    ranking: str = ""


class RecommendationReader:
    """Answers; synchronous, from any thread.

    Parameters
    ----------
    client : of Redis. lanes : how many there are. elapsed_s : monotonic clock: newer snapshots are looked for once a
        second.
    """

    def __init__(self, client: redis.Redis, lanes: int, elapsed_s: Callable[[], float] = time.monotonic) -> None:
        self._client, self._lanes, self._elapsed_s = client, lanes, elapsed_s
        self._snapshots = SnapshotReader(client)
        self._models = (Recs(), Stock())
        self._looked_s = float("-inf")
        self._lock = threading.Lock()

    def ask(
        self,
        user: str,
        policy: OfferPolicy,
        size: int = 10,
        among: Sequence[str] | None = None,
        shown_as: str = rankings.ASKED,
    ) -> Recommendations:
        """Best products for a user, of all or of those `among`; `shown_as`: name of the list that they are for.

        Raises
        ------
        TransientError
            Redis is away.
        IncompatibleSnapshotError
            The newest snapshot is of another version of the code.
        """
        user, profile, watermark = self._profile(user)
        past, at = Past.of(), watermark
        if profile is not None:
            past, at = past_of(profile), max(watermark, profile.last_seen_ms)
        known, shelf = self._newest()
        ranked = rank_items(
            past,
            known,
            day=at // DAY_MS,
            size=size,
            repeats=policy.repeats == "allow",
            per_category=policy.per_category if among is None else 0,
            without=shelf.out,
            among=among,
        )
        found = []
        for one in ranked:
            name, price, _ = known.items.get(one.item, ("", None, ""))
            found.append(Recommended(one.item, name, price, one.score, one.reason))
        told = {one.item for one in ranked}
        left_out = [item for item in dict.fromkeys(among or ()) if item not in told] if len(ranked) < size else []
        ranking = rankings.ranking_id(shown_as, user, at, known.version, [one.item for one in ranked])
        return Recommendations(user, profile is not None, at, known.version, shelf.version, found, left_out, ranking)

    def _profile(self, user: str) -> tuple[str, Profile | None, int]:
        """The user's id now, what is known, and the lane's time."""
        for _ in range(MAX_HOPS):
            lane = lane_of(user, self._lanes)
            with translated():
                packed, state = cast(list[bytes | None], self._client.mget(keys.profile(lane, user), keys.state(lane)))
            watermark = decode_state(state, len(INPUT_NAMES)).watermark
            try:
                return user, None if packed is None else decode_profile(packed), watermark
            except MovedError as away:
                user = away.redirect.to
        return user, None, 0

    def _newest(self) -> tuple[Recs, Stock]:
        """The models in use. Newer ones are read beside, so that nobody waits for them but the first who asks."""
        if self._elapsed_s() - self._looked_s >= LOOK_S and self._lock.acquire(blocking=not self._models[0].version):
            try:
                self._looked_s = self._elapsed_s()
                if self._models[0].version:
                    threading.Thread(target=self._take, daemon=True).start()
                else:
                    self._models = self._look()
            finally:
                self._lock.release()
        return self._models

    def _take(self) -> None:
        with self._lock:
            try:
                self._models = self._look()
            except KairosError as error:
                log.warning("recommendations_kept", snapshot=self._models[0].version, error=str(error))

    def _look(self) -> tuple[Recs, Stock]:
        latest = self._snapshots.latest((recs.NAME, stock.NAME))
        items, shelf = self._models

        def newer(name: str, current: Any, read: Callable[..., Any], nothing: Any) -> Any:
            version = latest.get(name, 0)
            if version == current.version:
                return current
            return read(self._snapshots.load(name, version)) if version else nothing

        items = newer(recs.NAME, items, Recs.from_envelope, Recs())
        return items, newer(stock.NAME, shelf, Stock.from_envelope, Stock())
