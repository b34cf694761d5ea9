"""Alerts in Redis: listed, acknowledged by somebody, and waiting for the webhooks that are to be told of them.

They are a view of the topics that hold them. An alert is written together with the position in its topic, on the
condition that this is where the writer believed it to be; it is written once, so neither a second publication nor a
second reader touches what people and receivers said since. A webhook is tried when its alert is due in a sorted set;
whoever takes it moves that time on (a lease), so that others leave it alone and somebody comes back to it if the taker
dies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
import redis

from models.alerts import KINDS, Alert
from models.errors import FenceError
from models.profile.codec import decode_profile
from models.profile.moved import MovedError
from models.wire import lane_of
from services.state import keys
from services.state.cluster import at_node, get_many
from services.state.redis_lane import translated

KEEP = 1_000  # of each lane
_HOOK = "webhook:"

# KEYS[1] = due set. ARGV: now, end of the lease, how many.
_CLAIM = """
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(found) do redis.call('ZADD', KEYS[1], ARGV[2], id) end
return found
"""
# KEYS: due set, alert. ARGV: alert's id, end of the lease, field, what became of it, when next ('' = never).
_SETTLE = """
if ARGV[5] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
elseif tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0) == tonumber(ARGV[2]) then
  redis.call('ZADD', KEYS[1], ARGV[5], ARGV[1])
else
  return 0
end
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('HSET', KEYS[2], ARGV[3], ARGV[4]) end
return 1
"""
# KEYS[1] = alert. ARGV[1] = who, when. Answers what stands; nil if there is no such alert.
_ACKNOWLEDGE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
redis.call('HSETNX', KEYS[1], 'acknowledged', ARGV[1])
return redis.call('HGET', KEYS[1], 'acknowledged')
"""


class Acknowledged(msgspec.Struct, frozen=True):
    """Who acknowledged an alert, when (wall clock, ms), and what they noted."""

    by: str
    at: int
    note: str = ""


class Attempt(msgspec.Struct, frozen=True):
    """What became of a webhook so far; `at` is wall clock, `detail` the receiver's answer or what went wrong."""

    state: Literal["waiting", "delivered", "dead"]
    attempts: int
    at: int
    detail: str


class Taken(msgspec.Struct, frozen=True):
    """A record of an alert topic: where it lay, and what it says."""

    alert: Alert
    value: bytes
    offset: int
    broker_ms: int


class Job(msgspec.Struct, frozen=True):
    """A webhook that is due; `lease_ms` says until when it is the taker's. `taken` is None when it was forgotten."""

    lane: int
    webhook: str
    id: str
    lease_ms: int
    taken: Taken | None
    attempts: int


class ToldAlert(msgspec.Struct, frozen=True):
    """An alert as people see it.

    Parameters
    ----------
    over : by the user's profile it needs nobody's attention any more. open : neither over nor acknowledged.
    """

    id: str
    kind: str
    user: str
    at: int
    score: float
    reasons: list[str]
    action: str
    over: bool
    open: bool
    acknowledged: Acknowledged | None
    webhooks: dict[str, Attempt]


_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode
_taken = msgspec.msgpack.Decoder(Taken).decode
_acknowledged = msgspec.json.Decoder(Acknowledged).decode
_attempt = msgspec.json.Decoder(Attempt).decode


class AlertStore:
    """Reads and writes; synchronous, from any thread. Every method raises TransientError when Redis is away.

    Parameters
    ----------
    client : of Redis. lanes : how many there are. ttl_s : how long an alert that is taken is remembered.
    """

    def __init__(self, client: redis.Redis, lanes: int, ttl_s: int = 30 * 86_400) -> None:
        self._client, self._lanes, self._ttl_s = client, lanes, ttl_s

    # -- taken from their topics

    def fence(self, lane: int, topic: str) -> int | None:
        """Next offset of the lane's partition of `topic`; None before the first."""
        with translated():
            found: Any = self._client.hget(keys.alert_fence(lane), topic)
        return None if found is None else int(found)

    def take(
        self, lane: int, topic: str, span: tuple[int | None, int], alerts: Sequence[Taken], webhooks: Iterable[str]
    ) -> None:
        """Write alerts, and that every webhook is to be told of them, if the position is still ``span[0]``.

        Parameters
        ----------
        span : position that is expected, and the one after these.

        Raises
        ------
        FenceError
            Another one stands there: nothing was written.
        """
        fence, newest = keys.alert_fence(lane), keys.newest_alerts(lane)
        dues = [keys.webhook_due(lane, webhook) for webhook in webhooks]
        before, after = span
        with translated(), at_node(self._client, fence) as node:
            # Asked before the position: whoever writes one of them moves it.
            known = node.pipeline(transaction=False)
            for one in alerts:
                known.exists(keys.alert(lane, one.alert.id))
            new = {one.alert.id: one for one, held in zip(alerts, known.execute(), strict=True) if not held}
            with node.pipeline() as pipe:
                pipe.watch(fence)  # type: ignore[no-untyped-call]
                stored = pipe.hget(fence, topic)
                if (None if stored is None else int(stored)) != before:
                    raise FenceError(f"another worker has taken alerts of {topic}-{lane}")
                pipe.multi()
                pipe.hset(fence, topic, str(after))
                for name, one in new.items():
                    key = keys.alert(lane, name)
                    pipe.hset(key, "taken", _pack(one))
                    pipe.expire(key, self._ttl_s)
                    pipe.zadd(newest, {name: one.broker_ms})
                    for due in dues:
                        pipe.zadd(due, {name: 0})
                        pipe.expire(due, self._ttl_s)  # of a webhook that is declared no more
                pipe.zremrangebyrank(newest, 0, -KEEP - 1)
                pipe.execute()

    # -- webhooks

    def claim(self, lane: int, webhook: str, now_ms: int, lease_ms: int, limit: int) -> list[Job]:
        """Take what is due, oldest first; nobody else gets it before `lease_ms` (wall clock)."""
        due = keys.webhook_due(lane, webhook)
        with translated(), at_node(self._client, due) as node:
            found: Any = node.eval(_CLAIM, 1, due, now_ms, lease_ms, limit)
            names = [name.decode() for name in found]
            pipe = node.pipeline(transaction=False)
            for name in names:
                pipe.hmget(keys.alert(lane, name), ["taken", _HOOK + webhook])
            held = pipe.execute()
        return [
            Job(lane, webhook, name, lease_ms, taken and _taken(taken), _attempt(told).attempts if told else 0)
            for name, (taken, told) in zip(names, held, strict=True)
        ]

    def settle(self, job: Job, told: Attempt, next_ms: int | None) -> None:
        """Write what became of a job, and when it is tried next (None: never).

        A failure is not written where the lease was over and somebody else took it; a success always is.
        """
        due = keys.webhook_due(job.lane, job.webhook)
        again = "" if next_ms is None else str(next_ms)
        key = keys.alert(job.lane, job.id)
        with translated(), at_node(self._client, due) as node:
            node.eval(_SETTLE, 2, due, key, job.id, job.lease_ms, _HOOK + job.webhook, _encode(told), again)

    # -- people

    def newest(self, user: str | None = None, *, limit: int = KEEP) -> list[ToldAlert]:
        """The newest alerts of each lane, or those of a user, newest first.

        Parameters
        ----------
        limit : most of one lane that are looked at.
        """
        found: list[ToldAlert] = []
        for lane in range(self._lanes) if user is None else [lane_of(user, self._lanes)]:
            key = keys.newest_alerts(lane)
            with translated(), at_node(self._client, key) as node:
                names: Any = node.zrevrange(key, 0, limit - 1)
            found += self._read(lane, [name.decode() for name in names])
        return sorted((one for one in found if user in {None, one.user}), key=lambda one: (-one.at, one.id))

    def find(self, alert: str) -> ToldAlert | None:
        """One alert; None if there is none, or no longer."""
        return next((one for lane in range(self._lanes) for one in self._read(lane, [alert])), None)

    def acknowledge(self, alert: str, by: str, note: str, now_ms: int) -> Acknowledged | None:
        """Acknowledge an alert; answers what stands: whoever was first. None if there is no such alert."""
        said = _encode(Acknowledged(by, now_ms, note))
        for lane in range(self._lanes):
            key = keys.alert(lane, alert)
            with translated(), at_node(self._client, key) as node:
                stands: Any = node.eval(_ACKNOWLEDGE, 1, key, said)
            if stands is not None:
                return _acknowledged(stands)
        return None

    def resend(self, told: ToldAlert, webhooks: Iterable[str]) -> None:
        """Try webhooks again from the beginning, at once."""
        lane = lane_of(told.user, self._lanes)
        key = keys.alert(lane, told.id)
        with translated(), at_node(self._client, key) as node, node.pipeline() as pipe:
            for webhook in webhooks:
                pipe.hdel(key, _HOOK + webhook)
                pipe.zadd(keys.webhook_due(lane, webhook), {told.id: 0})
            pipe.execute()

    def _read(self, lane: int, names: Sequence[str]) -> list[ToldAlert]:
        with translated(), at_node(self._client, keys.newest_alerts(lane)) as node:
            pipe = node.pipeline(transaction=False)
            for name in names:
                pipe.hgetall(keys.alert(lane, name))
            held = [fields for fields in pipe.execute() if b"taken" in fields]
        alerts = [_taken(fields[b"taken"]).alert for fields in held]
        over = self._over(lane, alerts)
        return [_told(alert, fields, is_over) for alert, fields, is_over in zip(alerts, held, over, strict=True)]

    def _over(self, lane: int, alerts: Sequence[Alert]) -> list[bool]:
        """Whether the user's profile says that an alert is over: its word is what alerts are decided by."""
        if not alerts:
            return []
        with translated():
            packed = get_many(self._client, [keys.profile(lane, one.user) for one in alerts])
        return [_is_over(alert, profile) for alert, profile in zip(alerts, packed, strict=True)]


def _is_over(alert: Alert, packed: bytes | None) -> bool:
    if packed is None or alert.kind not in KINDS:
        return False
    try:
        return KINDS[alert.kind].is_over(alert, decode_profile(packed))
    except MovedError:  # merged into another user: somebody has to look
        return False


def _told(alert: Alert, fields: dict[bytes, bytes], over: bool) -> ToldAlert:
    said = fields.get(b"acknowledged")
    acknowledged = _acknowledged(said) if said else None
    hooks = {
        name.decode().removeprefix(_HOOK): _attempt(told)
        for name, told in fields.items()
        if name.startswith(_HOOK.encode())
    }
    return ToldAlert(
        **msgspec.structs.asdict(alert),
        over=over,
        open=not over and acknowledged is None,
        acknowledged=acknowledged,
        webhooks=hooks,
    )
