"""Checkpoints of the learn role in Redis: state and offset move together, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import redis

from models.errors import FenceError
from models.learners.envelope import Envelope
from services.state import keys
from services.state.cluster import at_node
from services.state.redis_lane import translated

_OFFSET, _DATA = "offset", "data"


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint as it lies in Redis.

    Parameters
    ----------
    offset : next offset of `training` to learn; None where there is no checkpoint.
    data : what the session wrote. latest_version : newest published snapshot, 0 for none.
    """

    offset: int | None = None
    data: bytes | None = field(default=None, repr=False)
    latest_version: int = 0


class LearnStore:
    """Loads and commits checkpoints.

    Parameters
    ----------
    client : synchronous client with retries off (:func:`services.state.redis_lane.connect`): a transaction
        that was repeated after it was executed would answer "somebody else was here".
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def load(self, model: str) -> StoredCheckpoint:
        """Checkpoint of `model`, read in one transaction with the newest version.

        Raises
        ------
        TransientError
            Redis is away.
        """
        with translated(), at_node(self._client, keys.learn_checkpoint(model)) as node, node.pipeline() as pipe:
            pipe.hmget(keys.learn_checkpoint(model), _OFFSET, _DATA)
            pipe.get(keys.snapshot_latest(model))
            (offset, data), latest = pipe.execute()
        return StoredCheckpoint(None if offset is None else int(offset), data, int(latest or 0))

    def commit(
        self,
        model: str,
        previous_offset: int | None,
        offset: int,
        checkpoint: bytes,
        snapshot: Envelope | None,
        comparisons: Mapping[str, bytes] | None = None,
        health: Mapping[str, bytes] | None = None,
    ) -> bool:
        """Write everything together, if the stored offset is still `previous_offset`.

        Parameters
        ----------
        comparisons : by which of its scores they are of; "" where there is one.

        Returns
        -------
        False when somebody else has moved it: this learner is a zombie, nothing was written. Load again.

        Raises
        ------
        TransientError
            Redis is away; whether it was written is not known. Load again.
        """
        key = keys.learn_checkpoint(model)
        try:
            with translated(), at_node(self._client, key) as node, node.pipeline() as pipe:
                pipe.watch(key)  # type: ignore[no-untyped-call]
                stored = pipe.hget(key, _OFFSET)
                if (None if stored is None else int(stored)) != previous_offset:
                    return False
                pipe.multi()
                pipe.hset(key, mapping={_OFFSET: offset, _DATA: checkpoint})
                if snapshot is not None:
                    # Old versions stay: the audit replays decisions with the snapshot they were made with.
                    pipe.set(keys.snapshot(model, snapshot.version), snapshot.to_bytes())
                    pipe.set(keys.snapshot_latest(model), snapshot.version)
                for part, found in (comparisons or {}).items():
                    pipe.set(keys.comparison(model, part), found)
                if health is not None:
                    pipe.delete(keys.model_health(model))
                    for name, told in health.items():
                        pipe.hset(keys.model_health(model), name, told)
                pipe.execute()
        except FenceError:
            return False
        return True
