"""What is kept of an experiment between two looks: the frozen plan, what the looks must remember, what was told.

Small, and written together with the event that tells a change (:mod:`services.state.experiments`).
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from config.overrides import Override
from models.decisions import effect_id
from models.errors import IncompatibleSnapshotError
from models.experiments.compare import Memory
from models.experiments.plan import Plan
from models.experiments.verdict import Memories

SCHEMA = 1


class VerdictChanged(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment's verdict, status or final result is another one than before.

    Parameters
    ----------
    id : the same for the same change, however often it is published: keep one of each. number : 1 for the first change
        of this version of the experiment, then one more each time. at : event time up to which everything was counted.
    before : verdict until now. status : running, stopped or rolled_out, with `reason` in plain words.
    override : the decision in force, for whoever decides; null while the file alone says it.
    final : 0 while users may still come or convert; then 1, and one more whenever the final result had to be corrected.
    result : the whole card.
    """

    topic: ClassVar[str] = "verdicts"

    id: str
    experiment: str
    version: int
    number: int
    at: int
    verdict: str
    before: str
    variant: str | None
    sentence: str
    action: str
    status: str
    reason: str
    override: dict[str, Any] | None
    final: int
    result: dict[str, Any]
    type: str = "VerdictChanged"


class Told(msgspec.Struct, frozen=True):
    """What the last event said; another one follows when any of it changes."""

    verdict: str = ""
    variant: str | None = None
    status: str = "running"
    step: int = 0
    final: int = 0


class Point(msgspec.Struct, frozen=True):
    """One point of the plots: a look, thinned out.

    `rows`: (variant, metric, value, low, high) of the lifts. An end of an interval that does not exist yet is None.
    """

    at: int
    matured: int
    rows: list[tuple[str, str, float | None, float | None, float | None]]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """State of one version of an experiment.

    Parameters
    ----------
    plan : as it was when the first user was exposed. since : watermark of that moment; 0: nobody is exposed yet.
    memories : (variant, metric, what its looks remember). number : events so far. told : what the last one said.
    override : the decision in force, JSON; "" for none. final : version of the final result; 0: there is none.
    final_at, final_sums : watermark and digest of what the final result was made from.
    points : for the plots. outbox : events that may not be in Kafka yet, oldest first.
    """

    experiment: str
    version: int
    plan: Plan
    since: int = 0
    memories: list[tuple[str, str, Memory]] = []
    number: int = 0
    told: Told = Told()
    override: str = ""
    final: int = 0
    final_at: int = 0
    final_sums: str = ""
    points: list[Point] = []
    outbox: list[VerdictChanged] = []
    schema: int = SCHEMA

    @property
    def decided(self) -> Override | None:
        """The decision in force."""
        return Override.model_validate_json(self.override) if self.override else None

    def remembered(self) -> Memories:
        """Memories by variant and metric."""
        return {(variant, metric): memory for variant, metric, memory in self.memories}


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


def encode_record(record: Record) -> bytes:
    """Packed form."""
    return _encoder.encode(record)


def decode_record(packed: bytes) -> Record:
    """Read what :func:`encode_record` wrote.

    Raises
    ------
    IncompatibleSnapshotError
        It was written by another version of the code.
    """
    try:
        found = _decoder.decode(packed)
    except (msgspec.DecodeError, ValueError) as error:
        raise IncompatibleSnapshotError(f"the state of an experiment cannot be read: {error}") from error
    if found.schema != SCHEMA:
        raise IncompatibleSnapshotError(f"the state of {found.experiment} has schema {found.schema}, not {SCHEMA}")
    return found


def event_of(record: Record, told: Told, document: dict[str, Any], at: int) -> VerdictChanged:
    """The event that tells a change; its id names the change, so that a repeated one can be dropped."""
    override = record.decided
    occurrence = (
        f"{record.version}|{record.number + 1}|{told.verdict}|{told.variant}|{told.status}|{told.step}|{told.final}"
    )
    return VerdictChanged(
        id=effect_id(record.experiment, "verdict", "", occurrence),
        experiment=record.experiment,
        version=record.version,
        number=record.number + 1,
        at=at,
        verdict=told.verdict,
        before=record.told.verdict,
        variant=told.variant,
        sentence=document["sentence"],
        action=document["action"],
        status=told.status,
        reason=override.reason if override is not None else "",
        override=None if override is None else override.model_dump(mode="json"),
        final=told.final,
        result=document,
    )
