"""Experiments in Redis: the judge's record with the card of its last look, and the decisions that decide goes by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec
import redis
import structlog
from pydantic import ValidationError

from config.overrides import Override
from models.errors import FenceError, IncompatibleSnapshotError
from models.experiments.document import Document
from models.experiments.record import Record, decode_record, encode_record
from services.state import keys
from services.state.cluster import at_node
from services.state.redis_lane import translated

log = structlog.get_logger(__name__)
_RECORD, _RESULT = "record", "result"


class ExperimentStore:
    """Loads and writes what is known of experiments.

    Parameters
    ----------
    client : synchronous client with retries off (:func:`services.state.redis_lane.connect`).

    Notes
    -----
    A record is written if it is still the one that was read: of two judges one writes, the other reads again. Decisions
    lie under a key of their own; they only ever move on (:meth:`config.overrides.Override.follows`), so they may be
    written as often as somebody likes.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def load(self, experiment: str) -> tuple[bytes | None, Record | None]:
        """Record of an experiment, packed and not.

        Raises
        ------
        TransientError
            Redis is away.
        IncompatibleSnapshotError
            It was written by another version of the code.
        """
        with translated():
            packed = cast(bytes | None, self._client.hget(keys.experiment(experiment), _RECORD))
        return packed, None if packed is None else decode_record(packed)

    def commit(self, before: bytes | None, record: Record, document: Document | None) -> bytes | None:
        """Write record and card together, if the stored record is still `before`; returns its packed form.

        A final result is also kept under its own version, for good. None: somebody else has written; load again.

        Raises
        ------
        TransientError
            Redis is away; whether it was written is not known. Load again.
        """
        key, packed = keys.experiment(record.experiment), encode_record(record)
        fields: dict[str, bytes] = {_RECORD: packed}
        if document is not None:
            fields[_RESULT] = msgspec.json.encode(document)
            if record.final:
                fields[final_field(record.version, record.final)] = fields[_RESULT]
        try:
            with translated(), at_node(self._client, key) as node, node.pipeline() as pipe:
                pipe.watch(key)  # type: ignore[no-untyped-call]
                if pipe.hget(key, _RECORD) != before:
                    return None
                pipe.multi()
                pipe.hset(key, mapping=cast(Any, fields))
                pipe.execute()
        except FenceError:
            return None
        return packed

    def result(self, experiment: str, final: tuple[int, int] | None = None) -> Document | None:
        """The card of the last look, or a final result by (version of the experiment, version of the result)."""
        name = _RESULT if final is None else final_field(*final)
        with translated():
            found = cast(bytes | None, self._client.hget(keys.experiment(experiment), name))
        return None if found is None else cast(Document, msgspec.json.decode(found))

    def results(self, experiments: Iterable[str]) -> dict[str, Document]:
        """Cards of the experiments that were looked at."""
        found = {one: self.result(one) for one in experiments}
        return {one: document for one, document in found.items() if document is not None}

    def overrides(self) -> dict[str, Override]:
        """Decisions by experiment; one that cannot be read (of a later version of the code) is told and left aside."""
        with translated():
            found = cast(dict[bytes, bytes], self._client.hgetall(keys.OVERRIDES))
        readable: dict[str, Override] = {}
        for name, value in sorted(found.items()):
            try:
                readable[name.decode()] = _override(value)
            except IncompatibleSnapshotError as error:
                log.error("override_unreadable", experiment=name.decode(), reason=str(error))  # noqa: TRY400
        return readable

    def decide(self, override: Override) -> bool:
        """Write a decision, unless one that it does not follow lies there already; says whether it is in force now.

        Raises
        ------
        TransientError
            Redis is away; writing it again does no harm.
        """
        while True:
            try:
                with translated(), at_node(self._client, keys.OVERRIDES) as node, node.pipeline() as pipe:
                    pipe.watch(keys.OVERRIDES)  # type: ignore[no-untyped-call]
                    found = cast(Any, pipe.hget(keys.OVERRIDES, override.experiment))
                    before = None if found is None else _override(found)
                    if not override.follows(before):
                        return before == override
                    pipe.multi()
                    pipe.hset(keys.OVERRIDES, override.experiment, override.model_dump_json())
                    pipe.execute()
            except FenceError:
                continue
            return True


def final_field(version: int, final: int) -> str:
    """Field of a final result."""
    return f"final:{version}.{final}"


def _override(value: bytes) -> Override:
    try:
        return Override.model_validate_json(value)
    except ValidationError as error:
        raise IncompatibleSnapshotError(f"a decision about an experiment cannot be read: {error}") from error
