"""The versioned envelope in which every model is stored and published.

Never a pickle of our own classes: a module may move, a pickle would break. What is kept is the registry
name of the model, the schema version of its payload, the versions of the libraries, and plain MessagePack.
"""

from __future__ import annotations

import zlib
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from models.errors import IncompatibleSnapshotError

FloatArray = npt.NDArray[np.float64]

COMPRESS_FROM_BYTES: Final = 4096
Payload = TypeVar("Payload")
_ZLIB: Final = "zlib"
_CHECKSUM: Final = "checksum"


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One stored version of a model.

    Parameters
    ----------
    name : registry name of the model (``churn``, ``recs``).
    schema : version of the payload's layout.
    library : versions of the libraries that made it, for a person who compares scores.
    version : increases by one with every snapshot published.
    created_ms : when it was made.
    meta : small facts for people and dashboards (examples learned, first label).
    payload : MessagePack, its layout is given by (name, schema).
    """

    name: str
    schema: int
    library: str
    version: int
    created_ms: int
    meta: dict[str, Any]
    payload: bytes

    def to_bytes(self) -> bytes:
        """Encode; payloads of 4 KiB and more are deflated (old versions are kept, so size adds up).

        Examples
        --------
        >>> e = Envelope(name="", schema=1, library="", version=1, created_ms=0, meta={}, payload=b"a" * 9000)
        >>> len(e.to_bytes()) < 200, Envelope.from_bytes(e.to_bytes(), name="", schema=1) == e
        (True, True)
        """
        meta, payload = self.meta | {_CHECKSUM: self.checksum}, self.payload
        if len(payload) >= COMPRESS_FROM_BYTES:
            meta, payload = meta | {"encoding": _ZLIB}, zlib.compress(payload, 1)
        return msgspec.msgpack.encode(msgspec.structs.replace(self, meta=meta, payload=payload))

    @property
    def checksum(self) -> str:
        """Of what it is and of the payload: a snapshot that was cut, mixed up or edited is refused."""
        what = f"{self.name}\x1f{self.schema}\x1f{self.version}\x1f".encode()
        return xxhash.xxh3_128_hexdigest(what + self.payload)

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str | None = None, schema: int | None = None) -> Envelope:
        """Decode, checking that it is the model and the layout that the caller can read.

        Raises
        ------
        IncompatibleSnapshotError
            It is no envelope, its checksum is wrong, or it is of another model or schema.
        """
        try:
            envelope = msgspec.msgpack.decode(data, type=cls)
            if envelope.meta.get("encoding") == _ZLIB:
                meta = {key: value for key, value in envelope.meta.items() if key != "encoding"}
                envelope = msgspec.structs.replace(envelope, meta=meta, payload=zlib.decompress(envelope.payload))
        except (msgspec.DecodeError, zlib.error) as error:
            raise IncompatibleSnapshotError(f"not a snapshot: {error}") from error
        told = envelope.meta.get(_CHECKSUM)
        if told is not None:  # those of before had none
            meta = {key: value for key, value in envelope.meta.items() if key != _CHECKSUM}
            envelope = msgspec.structs.replace(envelope, meta=meta)
            if envelope.checksum != told:
                raise IncompatibleSnapshotError(
                    f"version {envelope.version} of {envelope.name} is damaged: its checksum is {envelope.checksum}, "
                    f"not {told}"
                )
        if name is not None and envelope.name != name:
            raise IncompatibleSnapshotError(f"a snapshot of {envelope.name!r}, {name!r} was asked for")
        if schema is not None and envelope.schema != schema:
            raise IncompatibleSnapshotError(
                f"{envelope.name} has schema {envelope.schema}, this code reads {schema}: "
                "learn again from the training topic, or run the version that wrote it"
            )
        return envelope


def require(envelope: Envelope, name: str, schema: int) -> None:
    """Refuse what is of another model or layout.

    Raises
    ------
    IncompatibleSnapshotError
        It is.
    """
    if (envelope.name, envelope.schema) != (name, schema):
        raise IncompatibleSnapshotError(f"{envelope.name} schema {envelope.schema} is not {name} schema {schema}")


def payload_in(envelope: Envelope, name: str, schema: int, kind: type[Payload]) -> Payload:
    """Payload of a snapshot that has to be of this model and layout.

    Raises
    ------
    IncompatibleSnapshotError
        Another model, another layout, or unreadable.
    """
    require(envelope, name, schema)
    try:
        return msgspec.msgpack.decode(envelope.payload, type=kind)
    except msgspec.DecodeError as error:
        raise IncompatibleSnapshotError(f"{name} payload: {error}") from error


def pack_state(state: dict[str, Any]) -> bytes:
    """MessagePack of a learner's state; float arrays keep every bit (restored runs go on exactly)."""
    return msgspec.msgpack.encode(state, enc_hook=_array_to_plain)


def unpack_state(data: bytes) -> dict[str, Any]:
    """Inverse of :func:`pack_state`.

    Raises
    ------
    IncompatibleSnapshotError
        The bytes are no state.

    Examples
    --------
    >>> unpack_state(pack_state({"n": 2, "mean": np.array([[0.1, 2.0]])}))["mean"].tolist()
    [[0.1, 2.0]]
    """
    try:
        state = msgspec.msgpack.decode(data)
    except msgspec.DecodeError as error:
        raise IncompatibleSnapshotError(f"not a learner's state: {error}") from error
    if not isinstance(state, dict):
        raise IncompatibleSnapshotError("not a learner's state")
    return {key: _plain_to_array(value) for key, value in state.items()}


def _array_to_plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return {"__array__": list(value.shape), "data": np.ascontiguousarray(value, dtype="<f8").tobytes()}
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"cannot store {type(value).__name__}")


def _plain_to_array(value: Any) -> Any:
    if isinstance(value, dict):
        if "__array__" in value:
            return np.frombuffer(value["data"], dtype="<f8").reshape(value["__array__"]).copy()
        return {key: _plain_to_array(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain_to_array(item) for item in value]
    return value
