"""The other engines: what each of them runs, in which environment, and what it does not do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_DOES_NOT = (
    "no fence (after a crash events count twice or are lost), no duplicates, no timers, no offers, no consent and caps, no"
    " journal"
)
_SAME_CORE = (
    "Kairos's core and its transaction; but no hand-over of partitions, no gaps found, no merging of topics by time, no"
    " dead letter for what the core cannot apply, no new models or policies while it runs, no page"
)


@dataclass(frozen=True, slots=True)
class Peer:
    """One engine.

    Parameters
    ----------
    name : in the table. module : of `benchmarks.peers`. venv : its environment, `peers/<venv>.txt`.
    goal : Kairos has to need this many times less processor time per event.
    kind : `event`: the tutorial's job, one event at a time (it gets fewer events); `core`: Kairos's core; `limit`.
    does_not : what it leaves out that Kairos does. versions : distributions to name.
    """

    name: str
    module: str
    venv: str
    goal: float | None
    kind: Literal["event", "core", "limit"]
    does_not: str
    versions: tuple[str, ...]

    def argv(self, *task: str) -> list[str]:
        """Arguments for its Python."""
        if self.module.startswith("bytewax"):
            arguments = ", ".join(repr(value) for value in task)
            return ["-m", "bytewax.run", f"benchmarks.peers.{self.module}:flow({arguments})"]
        return ["-m", f"benchmarks.peers.{self.module}", *task]


PEERS = (
    Peer("tutorial Faust", "tutorial_faust", "faust", 30.0, "event", _DOES_NOT, ("faust-streaming", "aiokafka")),
    Peer(
        "Quix, per event",
        "quix_event",
        "quix",
        None,
        "event",
        _DOES_NOT,
        ("quixstreams", "confluent-kafka", "pydantic"),
    ),
    Peer("Bytewax, per event", "bytewax_event", "bytewax", None, "event", _DOES_NOT, ("bytewax", "confluent-kafka")),
    Peer("Quix, batches", "quix_core", "quix", 1.5, "core", _SAME_CORE, ()),
    Peer("Bytewax, batches", "bytewax_core", "bytewax", 1.0, "core", _SAME_CORE, ()),
    Peer("raw aiokafka", "aiokafka_core", "aiokafka", 0.8, "core", _SAME_CORE, ("aiokafka",)),
    Peer(
        "no logic (limit)",
        "limit",
        "aiokafka",
        0.3,
        "limit",
        "everything but reading, decoding and one MGET and MSET",
        (),
    ),
)
