"""What every model that learns in the stream can do, and how it is found by its name."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import msgspec

from config.topics import LEARNED_FROM
from models.errors import ConfigurationError
from models.learners import streamed
from models.learners.contest import Contest
from models.learners.health import ScoreHealth
from models.learners.task import Task


class Model(ABC):
    """What a session drives: learns examples, and says what to publish.

    Notes
    -----
    A model is one file in :mod:`models.learners.streamed`, with its class under ``MODEL``, and its name among those of
    :mod:`config.topics`. Learning depends on the sequence of examples alone; a restored model goes on bit by bit.

    Attributes
    ----------
    schema : version of the layout of :meth:`payload`.
    learns : `type` of the examples that it learns. A partition may hold others: those are not its business.
    """

    schema: ClassVar[int]
    learns: ClassVar[str]

    @abstractmethod
    def learn(self, value: bytes) -> None:
        """Learn one example of the type :attr:`learns`.

        Raises
        ------
        msgspec.DecodeError
            It is not what this model learns from: it is refused, and learning goes on.
        """

    def learn_many(self, values: Sequence[bytes]) -> list[str | None]:
        """Learn examples in order, as :meth:`learn` would one by one; for each None, or why it was refused."""
        told: list[str | None] = []
        for value in values:
            try:
                self.learn(value)
            except msgspec.DecodeError as error:
                told.append(str(error))
            else:
                told.append(None)
        return told

    def worth_publishing(self) -> bool:
        """Whether what was learned since this was asked last shows in :meth:`payload`."""
        return True

    @abstractmethod
    def payload(self) -> bytes:
        """What is published: MessagePack of layout :attr:`schema`."""

    @abstractmethod
    def meta(self) -> dict[str, Any]:
        """Return small facts for people and dashboards."""

    def contests(self) -> Mapping[Task, Contest]:
        """Where each of its scores is compared with batch models; empty where there are none."""
        return {}

    def health(self) -> dict[str, ScoreHealth]:
        """What is known of each score that it serves, by a name for people; "" is the model itself."""
        meta = self.meta()
        examples = next((int(meta[name]) for name in ("examples", "baskets", "weeks") if name in meta), 0)
        return {"": ScoreHealth(learned=bool(meta.get("learned", examples > 0)), examples=examples)}

    @abstractmethod
    def snapshot(self) -> dict[str, Any]:
        """Plain state (numbers, strings, lists, dicts, float arrays), for :func:`..envelope.pack_state`."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Become the model that was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            The state is of another layout.
        """


def model_class(name: str) -> type[Model]:
    """Class of a model.

    Raises
    ------
    ConfigurationError
        There is no such model.

    Examples
    --------
    >>> model_class("recs").learns
    'basket'
    """
    if name not in LEARNED_FROM:
        raise ConfigurationError(f"no model {name!r}", remedy=f"one of {', '.join(sorted(LEARNED_FROM))}")
    return cast(type[Model], importlib.import_module(f"{streamed.__name__}.{name}").MODEL)
