"""The registry of models in Redis: batch versions as envelopes, who serves and who is the shadow, what learn found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

import msgspec
import redis

from models.errors import FenceError, IncompatibleSnapshotError, TransientError
from models.learners import batch
from models.learners.contest import Comparison
from models.learners.envelope import Envelope, pack_state
from models.learners.standing import Standing
from models.learners.task import CHURN, Task
from services.state import keys
from services.state.cluster import at_node, get_many
from services.state.redis_lane import translated
from services.state.snapshots import SnapshotReader

TRIES: Final = 20
T = TypeVar("T")


class ModelRegistry:
    """Batch versions of a score and the places of all its models.

    Parameters
    ----------
    client : synchronous client (:func:`services.state.redis_lane.connect`).
    task : the score.

    Notes
    -----
    A version is written once and never changed or deleted: the audit needs every one that ever served. Places are one
    small document; whoever changes it does so only if nobody else has in between.
    """

    def __init__(self, client: redis.Redis, task: Task = CHURN) -> None:
        self._client = client
        self.task = task
        self._batch = task.batch
        self._reader = SnapshotReader(client)

    def standing(self) -> Standing:
        """Who serves, who is tried; the online model and nobody, until that is changed.

        Raises
        ------
        IncompatibleSnapshotError
            It cannot be read.
        TransientError
            Redis is away.
        """
        return self._decoded(keys.registry(self.task.place), Standing) or Standing()

    def comparison(self) -> Comparison | None:
        """What the learn role found so far; None before its first checkpoint."""
        return self._decoded(keys.comparison(self.task.kind.learner, self.task.part), Comparison)

    def change(self, make: Callable[[Standing], Standing]) -> Standing:
        """Change places; `make` is asked again with what stands there when somebody else was quicker.

        Raises
        ------
        TransientError
            Redis is away, or others change all the time.
        """
        key = keys.registry(self.task.place)
        for _ in range(TRIES):
            try:
                with translated(), at_node(self._client, key) as node, node.pipeline() as pipe:
                    pipe.watch(key)  # type: ignore[no-untyped-call]
                    before = cast(bytes | None, pipe.get(key))
                    standing = make(Standing() if before is None else _decode(before, Standing, key))
                    pipe.multi()
                    pipe.set(key, msgspec.json.encode(standing))
                    pipe.execute()
                    return standing
            except FenceError:
                continue
        raise TransientError("the registry is being changed by others all the time")

    def add(self, state: Mapping[str, Any], meta: dict[str, Any], library: str, created_ms: int) -> Envelope:
        """Store a new version; its number is the next that is free.

        Raises
        ------
        IncompatibleSnapshotError
            It could not be loaded again.
        TransientError
            Redis is away.
        """
        payload = pack_state(dict(state))
        for _ in range(TRIES):
            envelope = Envelope(
                name=self._batch,
                schema=batch.SCHEMA,
                library=library,
                version=self.newest() + 1,
                created_ms=created_ms,
                meta=meta,
                payload=payload,
            )
            packed = envelope.to_bytes()
            batch.BatchModel.from_envelope(Envelope.from_bytes(packed, name=self._batch))
            with translated():
                if not self._client.set(keys.snapshot(self._batch, envelope.version), packed, nx=True):
                    # Somebody else has just taken the number, or stopped between the two writes.
                    self._client.set(keys.snapshot_latest(self._batch), envelope.version)
                    continue
                self._client.set(keys.snapshot_latest(self._batch), envelope.version)
            return envelope
        raise TransientError("others add versions all the time")

    def newest(self) -> int:
        """Newest batch version, 0 for none."""
        return self._reader.latest([self._batch]).get(self._batch, 0)

    def envelope(self, version: int) -> Envelope:
        """One batch version as it is stored.

        Raises
        ------
        IncompatibleSnapshotError
            There is no such version, or it is damaged.
        TransientError
            Redis is away.
        """
        return self._reader.load(self._batch, version)

    def load(self, version: int) -> batch.BatchModel:
        """One batch version, ready to score.

        Raises
        ------
        IncompatibleSnapshotError
            There is no such version, it is damaged, or of another schema.
        TransientError
            Redis is away.
        """
        return batch.BatchModel.from_envelope(self.envelope(version))

    def _decoded(self, key: str, kind: type[T]) -> T | None:
        with translated():
            found = cast(bytes | None, self._client.get(key))
        return None if found is None else _decode(found, kind, key)


def read_standings(client: redis.Redis, tasks: Sequence[Task]) -> dict[Task, Standing | IncompatibleSnapshotError]:
    """Places of the models of many scores, in one round trip; the error where one cannot be read.

    Raises
    ------
    TransientError
        Redis is away.
    """
    places = [keys.registry(task.place) for task in tasks]
    with translated():
        packed = get_many(client, places) if places else []
    found: dict[Task, Standing | IncompatibleSnapshotError] = {}
    for task, place, value in zip(tasks, places, packed, strict=True):
        try:
            found[task] = Standing() if value is None else _decode(value, Standing, place)
        except IncompatibleSnapshotError as error:
            found[task] = error
    return found


def _decode(found: bytes, kind: type[T], key: str) -> T:
    try:
        return msgspec.json.decode(found, type=kind)
    except msgspec.DecodeError as error:
        raise IncompatibleSnapshotError(f"{key} cannot be read: {error}") from error
