"""One model learning from its partition of `training`: examples in, checkpoints and snapshots out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final, Protocol

import msgspec
import numpy as np

from models.decisions import BasketExample, ChurnExample
from models.errors import ConfigurationError, FenceError, IncompatibleSnapshotError
from models.features import churn
from models.learners import demand, goal_scores, linear
from models.learners.base import FloatArray
from models.learners.contest import Comparison, Contest
from models.learners.demand_model import DemandModel
from models.learners.envelope import Envelope, pack_state, unpack_state
from models.learners.goal_learner import GoalsModel
from models.learners.pool import Pool
from models.learners.recommender import Recommender
from models.offers import recs
from models.offers.past import Past

SCHEMA: Final = 1
MIN_EXAMPLES: Final = 500
MIN_OF_EACH_LABEL: Final = 20

Position = tuple[int, int, int]


class TrainingRecord(Protocol):
    """A record of `training` as it lies in the log."""

    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class Model(Protocol):
    """What a session drives: decodes, learns, and says what to publish."""

    schema: int

    def learn(self, value: bytes) -> None: ...
    def payload(self) -> bytes: ...
    def meta(self) -> dict[str, Any]: ...
    def snapshot(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


@dataclass(slots=True)
class Applied:
    """What became of the records of one chunk: learned + duplicates + refused is their number."""

    learned: int = 0
    duplicates: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)


class ChurnModel:
    """The churn pool behind a session; served as one :class:`models.learners.linear.LinearModel`."""

    schema = linear.SCHEMA

    def __init__(self) -> None:
        self.pool = Pool(len(churn.FEATURE_NAMES))
        self.contest = Contest()
        self._positives = 0
        self._first_label_ms: int | None = None
        self._decode = msgspec.json.Decoder(ChurnExample).decode

    def learn(self, value: bytes) -> None:
        """Learn one :class:`models.decisions.ChurnExample`."""
        example = self._decode(value)
        if example.type != "churn" or example.label not in (0, 1) or len(example.x) != len(churn.RAW_NAMES):
            raise msgspec.ValidationError("not a churn example of this feature schema")
        features = churn.expand(churn.as_matrix([example.x]))[0]
        if self.contest.active:
            online = self.pool.served_at(features, example.at)
            self.contest.note(example.user, example.at, example.x, example.label, online)
        self._learn(features, example.label, example.at, example.known_at)

    def learn_example(self, x: Sequence[int], label: int, at_ms: int, known_ms: int) -> None:
        """Learn one raw vector with its label."""
        self._learn(churn.expand(churn.as_matrix([x]))[0], label, at_ms, known_ms)

    def _learn(self, features: FloatArray, label: int, at_ms: int, known_ms: int) -> None:
        self.pool.learn_one(features, label, at_ms, known_ms)
        self._positives += label
        if self._first_label_ms is None:
            self._first_label_ms = known_ms

    @property
    def learned(self) -> bool:
        """Whether enough labels of both kinds are known; until then the rule is served."""
        fewer = min(self._positives, self.pool.count - self._positives)
        return self.pool.count >= MIN_EXAMPLES and fewer >= MIN_OF_EACH_LABEL

    def linear_model(self) -> linear.LinearModel:
        """Return what is served now."""
        return linear.LinearModel(self._linear_payload())

    def payload(self) -> bytes:
        return msgspec.msgpack.encode(self._linear_payload())

    def meta(self) -> dict[str, Any]:
        shares = zip((member.name for member in self.pool.members), self.pool.weights().round(3), strict=True)
        return {
            "learned": self.learned,
            "examples": self.pool.count,
            "first_label_ms": self._first_label_ms,
            "pool": {name: float(share) for name, share in shares},
        }

    def snapshot(self) -> dict[str, Any]:
        return {
            "pool": self.pool.snapshot(),
            "positives": self._positives,
            "first_label_ms": self._first_label_ms,
            "contest": self.contest.snapshot(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.pool.restore(state["pool"])
        self._positives, self._first_label_ms = state["positives"], state["first_label_ms"]
        self.contest.restore(state.get("contest"))

    def _linear_payload(self) -> linear.LinearPayload:
        count, first = self.pool.count, self._first_label_ms
        if not self.learned:
            rule = linear.LinearModel.rule().payload
            return msgspec.structs.replace(rule, examples=count, first_label_ms=first)
        return linear.payload_of(self.pool, churn.FEATURE_NAMES, learned=True, since_ms=first)


class RecsModel:
    """The recommender behind a session."""

    schema = recs.SCHEMA

    def __init__(self) -> None:
        self.items = Recommender()
        self._decode = msgspec.json.Decoder(BasketExample).decode

    def learn(self, value: bytes) -> None:
        """Learn one :class:`models.decisions.BasketExample`."""
        example = self._decode(value)
        if example.type != "basket":
            raise msgspec.ValidationError("not a basket example")
        history, times, days = example.history, example.times, example.days
        if len(times) != len(history) or len(days) != len(history):  # of before these were told
            times, days = [1] * len(history), [0] * len(history)
        past = Past(
            list(zip(reversed(history), reversed(times), reversed(days), strict=True)),
            example.recent[::-1],
            example.orders,
            example.first_day,
        )
        self.items.learn_basket(example.items, past, example.at, example.categories)

    def payload(self) -> bytes:
        return self.items.payload()

    def meta(self) -> dict[str, Any]:
        return {"baskets": self.items.count, "items": len(self.items.items), "lists": self.items.ranker.count}

    def snapshot(self) -> dict[str, Any]:
        return self.items.snapshot()

    def restore(self, state: dict[str, Any]) -> None:
        self.items.restore(state)


MODELS: Final[dict[str, type[ChurnModel] | type[RecsModel] | type[DemandModel] | type[GoalsModel]]] = {
    demand.NAME: DemandModel,
    linear.NAME: ChurnModel,
    recs.NAME: RecsModel,
    goal_scores.NAME: GoalsModel,
}


class LearnSession:
    """A model, the offset up to which it has learned, and what it has seen of each lane.

    Parameters
    ----------
    model : ``churn``, ``recs``, ``goals`` or ``demand``.

    Notes
    -----
    Everything that decides whether an example is learned (offset, newest position per lane) is in the
    checkpoint with the model itself. One conditional write of :meth:`checkpoint` therefore moves all of it
    or nothing.

    Raises
    ------
    ConfigurationError
        No such model.

    Examples
    --------
    >>> session = LearnSession("recs")
    >>> session.offset, session.snapshot(0) is None
    (0, True)
    """

    def __init__(self, model: str) -> None:
        if model not in MODELS:
            raise ConfigurationError(f"no model {model!r}", remedy=f"one of {', '.join(MODELS)}")
        self.name = model
        self.model: Model = MODELS[model]()
        self.offset = 0
        self.version = 0
        self.changed = False
        self.learned_total = 0
        self.duplicates_total = 0
        self.refused_total = 0
        self._positions: dict[str, Position] = {}

    def apply(self, records: Sequence[TrainingRecord], start: int, end: int) -> Applied:
        """Learn the records of one chunk that were not learned before.

        Parameters
        ----------
        records : consecutive records; `start`, `end` : position before the fetch, last offset + 1.

        Raises
        ------
        FenceError
            The chunk begins behind a gap: something fetched was never applied. Read on from :attr:`offset`.
        """
        if start > self.offset:
            raise FenceError(f"{self.name}: a chunk from {start}, learned up to {self.offset}")
        applied = Applied()
        for record in records:
            if record.offset < self.offset:
                continue
            position = position_of(record.headers)
            if position is not None and self._positions.get(position[0], (-1, -1, -1)) >= position[1]:
                applied.duplicates += 1
                continue
            try:
                self.model.learn(record.value or b"")
            except msgspec.DecodeError as error:
                applied.refused.append((record.offset, str(error)))
            else:
                applied.learned += 1
            if position is not None:
                self._positions[position[0]] = position[1]
        self.offset = max(self.offset, end)
        self.changed = self.changed or (applied.learned > 0 and self._worth_publishing())
        self.learned_total += applied.learned
        self.duplicates_total += applied.duplicates
        self.refused_total += len(applied.refused)
        return applied

    @property
    def contest(self) -> Contest | None:
        """Where its model is compared with others; None where there is nothing to compare."""
        return self.model.contest if isinstance(self.model, ChurnModel) else None

    def comparison(self) -> Comparison | None:
        """What was found in it so far."""
        return None if self.contest is None else self.contest.report()

    def snapshot(self, created_ms: int) -> Envelope | None:
        """Next version to publish, or None if nothing was learned since the last one.

        The version counts up at once: write the checkpoint that follows in the same transaction.
        """
        if not self.changed:
            return None
        self.version += 1
        self.changed = False
        return Envelope(
            name=self.name,
            schema=self.model.schema,
            library=f"numpy {np.__version__}, river {version('river')}",
            version=self.version,
            created_ms=created_ms,
            meta=self.model.meta(),
            payload=self.model.payload(),
        )

    def _worth_publishing(self) -> bool:
        """Whether what was learned shows: demand is told anew when a week is over, everything else at once."""
        if not isinstance(self.model, DemandModel):
            return True
        renewed, self.model.renewed = self.model.renewed, False
        return renewed

    def checkpoint(self) -> bytes:
        """Everything needed to go on, as bytes."""
        return pack_state(
            {
                "schema": SCHEMA,
                "model": self.name,
                "offset": self.offset,
                "version": self.version,
                "changed": self.changed,
                "totals": [self.learned_total, self.duplicates_total, self.refused_total],
                "positions": {lane: list(position) for lane, position in self._positions.items()},
                "state": self.model.snapshot(),
            }
        )

    def restore(self, data: bytes) -> None:
        """Become the session that was checkpointed.

        Raises
        ------
        IncompatibleSnapshotError
            Of another model or schema.
        """
        state = unpack_state(data)
        if (state.get("schema"), state.get("model")) != (SCHEMA, self.name):
            raise IncompatibleSnapshotError(
                f"checkpoint of {state.get('model')} schema {state.get('schema')}, "
                f"this code reads {self.name} schema {SCHEMA}"
            )
        try:
            self.model.restore(state["state"])
            self.offset, self.version, self.changed = state["offset"], state["version"], state["changed"]
            self.learned_total, self.duplicates_total, self.refused_total = state["totals"]
            self._positions = {lane: (p[0], p[1], p[2]) for lane, p in state["positions"].items()}
        except KeyError as error:
            raise IncompatibleSnapshotError(f"checkpoint of {self.name} without {error}") from error


def position_of(headers: Sequence[tuple[str, bytes]]) -> tuple[str, Position] | None:
    """Lane and (epoch, seq, n) of a published effect; None where the headers are missing or unreadable.

    Examples
    --------
    >>> position_of([("kairos-lane", b"3"), ("kairos-epoch", b"1"), ("kairos-seq", b"9"), ("kairos-n", b"0")])
    ('3', (1, 9, 0))
    """
    found = dict(headers)
    try:
        epoch, seq, n = (int(found[f"kairos-{part}"]) for part in ("epoch", "seq", "n"))
        return found["kairos-lane"].decode(), (epoch, seq, n)
    except (KeyError, ValueError):
        return None
