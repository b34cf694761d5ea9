"""The `live:*` keys: what the roles write for people to look at, and how the page reads it.

Nothing here decides anything: a lost live key costs a look, never a count. The counters that count (lanes,
campaigns, experiments) are written by decide in its transactions and only read here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import msgspec
import redis as redis_py

from config.topics import LEARNED_FROM
from models.errors import TransientError
from models.lane import LaneState
from models.learners.contest import Comparison
from models.learners.envelope import Envelope
from models.offers.figures import NOTHING, Figures
from services.state import keys
from services.state.alerts import AlertStore, ToldAlert
from services.state.cluster import Cluster, is_cluster
from services.state.lanes import decode_lanes, lane_keys
from services.state.model_health import Row
from services.state.model_health import judged as judged_health
from services.state.rankings import RankingReader
from services.state.reviews import Reviewed, ReviewReader
from services.state.rules import RuleReader, ToldRule

TailKind = Literal["events", "alerts", "offers", "messages"]
TAIL_KINDS: tuple[TailKind, ...] = ("events", "alerts", "offers", "messages")
TAIL_LENGTH = 50
WORKER_TTL_S = 15
# A worker that stopped without saying so stays on the page this long, marked as silent.
SILENT_FOR_MS = 3_600_000
PRODUCTS_EVERY_S = 5.0
MOST_ALERTS = 50  # of each lane that the page looks at
Products = tuple[tuple[Reviewed, ...], tuple[ToldRule, ...], Figures, tuple[ToldAlert, ...]]
MOST_RULES = 20

WORKERS_KEY = "live:workers"
DEMO_KEY = "live:demo"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def worker_key(role: str, worker: str) -> str:
    """Key of one worker's figures."""
    return f"live:worker:{role}:{worker}"


def tail_key(kind: TailKind) -> str:
    """Key of one capped list of things that just happened."""
    return f"live:tail:{kind}"


def publish_worker(redis: redis_py.Redis, role: str, worker: str, payload: Mapping[str, Any]) -> None:
    """Write a worker's figures (each second); they vanish when it stops writing.

    Parameters
    ----------
    redis : synchronous client.
    role, worker : which one, e.g. ``"decide", "w1"``.
    payload : see `docs/metrics.md`; must hold `at` (wall clock, ms).
    """
    record = {"role": role, "worker": worker, **payload}
    at = int(record["at"])
    pipe = redis.pipeline(transaction=False)
    pipe.set(worker_key(role, worker), _encode(record), ex=WORKER_TTL_S)
    # An index, because SCAN would walk over every profile.
    pipe.zadd(WORKERS_KEY, {f"{role}:{worker}": at})
    pipe.zremrangebyscore(WORKERS_KEY, "-inf", at - SILENT_FOR_MS)
    pipe.execute()


def retire_worker(redis: redis_py.Redis, role: str, worker: str) -> None:
    """Take a worker that ends in order off the page, so that it is not shown as silent."""
    pipe = redis.pipeline(transaction=False)
    pipe.delete(worker_key(role, worker))
    pipe.zrem(WORKERS_KEY, f"{role}:{worker}")
    pipe.execute()


def worker_seen_ms(redis: redis_py.Redis, role: str) -> int | None:
    """When a worker of `role` last wrote its figures, wall clock in ms; None if none is known."""
    found = cast(list[tuple[bytes, float]], redis.zrevrange(WORKERS_KEY, 0, -1, withscores=True))
    prefix = f"{role}:".encode()
    return max((int(at) for name, at in found if name.startswith(prefix)), default=None)


def worker_figures(redis: redis_py.Redis) -> list[dict[str, Any]]:
    """What the workers alive tell about themselves, by role and name."""
    names = cast(list[bytes], redis.zrange(WORKERS_KEY, 0, -1))
    places = sorted(name.decode().partition(":")[::2] for name in names)
    values = [cast(bytes | None, redis.get(worker_key(role, worker))) for role, worker in places]
    return [_decode(value) for value in values if value is not None]


def push_tail(redis: redis_py.Redis, kind: TailKind, items: Sequence[Mapping[str, Any]]) -> None:
    """Put things that just happened, oldest first, on top of a tail.

    Each item holds `text` (a sentence in human words: product names, never stock codes), `at` (wall
    clock, ms), `ts` (event time, ms) and `user`; it may hold `detail` (a second line) and `tag` (one or two
    words, such as the state of a message).
    """
    if not items:
        return
    newest = items[-TAIL_LENGTH:]
    pipe = redis.pipeline(transaction=False)
    pipe.lpush(tail_key(kind), *(_encode(dict(item)) for item in newest))
    pipe.ltrim(tail_key(kind), 0, TAIL_LENGTH - 1)
    pipe.execute()


def publish_demo(redis: redis_py.Redis, payload: Mapping[str, Any]) -> None:
    """Write the demo's clock: `clock` (ISO), `speed`, `started_at`, `label` and its progress."""
    redis.set(DEMO_KEY, _encode(dict(payload)), ex=3600)


def clear_demo(redis: redis_py.Redis) -> None:
    """End the replay's clock: the page shows the lanes' own again."""
    redis.delete(DEMO_KEY)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the page shows of a published model.

    Parameters
    ----------
    name, version, created_ms : from the envelope.
    library : library and version that wrote it.
    meta : the envelope's own notes, such as `learned`, `examples`, `first_label_ms`.
    """

    name: str
    version: int
    created_ms: int
    library: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RawLive:
    """Everything the page is made of, as it lay in Redis at one moment.

    Parameters
    ----------
    workers : the figures of workers that are alive.
    silent : (role, worker, last seen in wall ms) of workers that stopped writing without saying goodbye.
    tails : newest first, per kind.
    demo : the replay's clock, if one runs.
    lanes : the proof counters of each lane.
    cards : of experiments, as the judge wrote them. campaigns : counters by id and field, summed over lanes.
    counters : others that were asked for, by name.
    snapshots : published models by name. health : of every score. comparison : of the registry's champion and shadow.
    reviewed : products that were reviewed, best first.
    together : rules of what is bought together, strongest first; not all. recommended : what recommended lists bring.
    alerts : open ones, newest first; not all.
    """

    workers: tuple[Mapping[str, Any], ...] = ()
    silent: tuple[tuple[str, str, int], ...] = ()
    tails: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    demo: Mapping[str, Any] | None = None
    lanes: Mapping[int, LaneState] = field(default_factory=dict)
    cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    campaigns: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)
    reviewed: tuple[Reviewed, ...] = ()
    together: tuple[ToldRule, ...] = ()
    recommended: Figures = NOTHING
    alerts: tuple[ToldAlert, ...] = ()
    health: tuple[Row, ...] = ()
    comparison: Comparison | None = None


class RedisAwayError(TransientError):
    """Redis does not answer; `address` (host and port, no password) is where it was looked for."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"Redis at {address} does not answer: {reason}")
        self.address = address


def connect_patient(url: str, timeout_s: float) -> redis_py.Redis:
    """Client with redis-py's own retries: whoever only looks may ask twice."""
    if is_cluster(url):
        return cast(redis_py.Redis, Cluster(url, timeout_s))
    return redis_py.Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, decode_responses=False
    )


class LiveReader:
    """Read what the page shows, in three round trips.

    Parameters
    ----------
    url : redis:// address.
    lanes : number of lanes whose counters are summed.
    timeout_s : how long Redis may take before it counts as away.

    Notes
    -----
    A synchronous client in a thread: one reader for all who look, so that a hundred open pages cost Redis as
    much as one.
    """

    def __init__(self, url: str, lanes: int, timeout_s: float = 2.0) -> None:
        self._lanes = lanes
        self._redis = connect_patient(url, timeout_s)
        # Several in a cluster; without the password.
        places = urlsplit(url).netloc.rpartition("@")[2] or "localhost:6379"
        self.address = places if ":" in places else f"{places}:6379"
        self._snapshots: dict[str, Snapshot] = {}
        self.reviews = ReviewReader(self._redis, lanes)
        self.rules = RuleReader(self._redis)
        self._rankings = RankingReader(self._redis, lanes)
        self.alerts = AlertStore(self._redis, lanes)
        self._products: Products = (), (), NOTHING, ()
        self._products_s = 0.0

    async def read(self, experiments: Iterable[str], campaigns: Iterable[str], counters: Iterable[str] = ()) -> RawLive:
        """Read once.

        Raises
        ------
        RedisAwayError
            Redis does not answer, or is still loading.
        """
        return await asyncio.to_thread(self.read_now, tuple(experiments), tuple(campaigns), tuple(counters))

    async def ping(self) -> None:
        """Return when Redis answers; raise :class:`RedisAwayError` when it does not."""
        try:
            await asyncio.to_thread(self._redis.ping)
        except (redis_py.RedisError, redis_py.RedisClusterException) as error:
            raise RedisAwayError(self.address, type(error).__name__) from error

    def read_now(self, experiments: Sequence[str], campaigns: Sequence[str], counters: Sequence[str] = ()) -> RawLive:
        """:meth:`read` without the thread."""
        try:
            return self._read(experiments, campaigns, counters)
        except (redis_py.RedisError, redis_py.RedisClusterException) as error:
            raise RedisAwayError(self.address, type(error).__name__) from error

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _read(self, experiments: Sequence[str], campaigns: Sequence[str], counters: Sequence[str]) -> RawLive:
        listed = cast(list[tuple[bytes, float]], self._redis.zrange(WORKERS_KEY, 0, -1, withscores=True))
        known: list[tuple[str, str, int]] = []
        for packed_name, seen in listed:
            role, _, worker = packed_name.decode().partition(":")
            known.append((role, worker, int(seen)))
        pipe = self._redis.pipeline(transaction=False)
        for role, worker, _ in known:
            pipe.get(worker_key(role, worker))
        for kind in TAIL_KINDS:
            pipe.lrange(tail_key(kind), 0, TAIL_LENGTH - 1)
        pipe.get(DEMO_KEY)
        for key in lane_keys(self._lanes):
            pipe.get(key)
        for name in LEARNED_FROM:
            pipe.get(keys.snapshot_latest(name))
            pipe.hgetall(keys.model_health(name))
        pipe.get(keys.comparison("churn"))
        for identifier in experiments:
            pipe.hget(keys.experiment(identifier), "result")
        summed = [*(f"camp:{identifier}" for identifier in campaigns), *counters]
        for counter in summed:
            for lane in range(self._lanes):
                pipe.hgetall(keys.counters(lane, counter))
        replies = iter(pipe.execute())

        alive: list[Mapping[str, Any]] = []
        silent: list[tuple[str, str, int]] = []
        for role, worker, last in known:
            raw = next(replies)
            if raw is None:
                silent.append((role, worker, last))
            else:
                alive.extend(_readable([raw]))
        tails: dict[str, tuple[Mapping[str, Any], ...]] = {kind: _readable(next(replies)) for kind in TAIL_KINDS}
        demo = next(replies)
        lanes = decode_lanes([next(replies) for _ in range(self._lanes)])
        models = {name: (next(replies), next(replies)) for name in LEARNED_FROM}
        compared = next(replies)
        judged = {identifier: next(replies) for identifier in experiments}
        sums: dict[str, dict[str, int]] = {}
        for counter in summed:
            total = sums.setdefault(counter, {})
            for _ in range(self._lanes):
                for packed, value in next(replies).items():
                    field_name = packed.decode()
                    total[field_name] = total.get(field_name, 0) + int(value)
        reviewed, bought_together, recommended, alerts = self._read_products()
        return RawLive(
            workers=tuple(alive),
            silent=tuple(silent),
            tails=tails,
            demo=next(iter(_readable([demo])), None),
            lanes=lanes,
            cards={name: card for name, packed in judged.items() for card in _readable([packed])},
            campaigns={identifier: sums[f"camp:{identifier}"] for identifier in campaigns},
            counters={name: sums[name] for name in counters},
            snapshots=self._read_snapshots({name: latest for name, (latest, _) in models.items()}),
            health=tuple(
                judged_health(
                    {name: found for name, (_, found) in models.items()},
                    max((one.watermark for one in lanes.values()), default=None),
                )
            ),
            comparison=_comparison(compared),
            reviewed=reviewed,
            together=bought_together,
            recommended=recommended,
            alerts=alerts,
        )

    def _read_products(self) -> Products:
        """What is long and changes slowly: read less often than the rest, and the less often the longer it takes."""
        begun_s = time.monotonic()
        if begun_s >= self._products_s:
            try:
                found = tuple(self.reviews.ranked()), tuple(self.rules.ranked()[:MOST_RULES])
                waiting = tuple(one for one in self.alerts.newest(limit=MOST_ALERTS) if one.open)
                self._products = (*found, self._rankings.figures(), waiting)
            except TransientError as error:
                raise RedisAwayError(self.address, str(error)) from error
            now_s = time.monotonic()
            self._products_s = now_s + max(PRODUCTS_EVERY_S, 20.0 * (now_s - begun_s))
        return self._products

    def _read_snapshots(self, versions: Mapping[str, bytes | None]) -> dict[str, Snapshot]:
        for name, raw in versions.items():
            if raw is None:
                self._snapshots.pop(name, None)
                continue
            version = int(raw)
            # A model's payload may be megabytes: only a new version is fetched.
            if name in self._snapshots and self._snapshots[name].version == version:
                continue
            blob = self._redis.get(keys.snapshot(name, version))
            if blob is not None:
                self._snapshots[name] = describe_snapshot(cast(bytes, blob))
        return dict(self._snapshots)


def _comparison(packed: bytes | None) -> Comparison | None:
    try:
        return None if packed is None else msgspec.json.decode(packed, type=Comparison)
    except msgspec.DecodeError:
        return None


def deciding(workers: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Figures of the workers of decide."""
    return [figures for figures in workers if figures.get("role") == "decide"]


def _readable(values: Iterable[bytes | None]) -> tuple[Mapping[str, Any], ...]:
    """Decode what can be decoded: these keys are for people, and a bad one must not hide the others."""
    decoded = []
    for value in values:
        if value is None:
            continue
        try:
            decoded.append(_decode(value))
        except msgspec.DecodeError:
            continue
    return tuple(decoded)


def describe_snapshot(blob: bytes) -> Snapshot:
    """Read of a snapshot's envelope what people want to know; the payload is left alone.

    Raises
    ------
    IncompatibleSnapshotError
        It is no envelope that this code knows.
    """
    envelope = Envelope.from_bytes(blob)
    return Snapshot(envelope.name, envelope.version, envelope.created_ms, library=envelope.library, meta=envelope.meta)
