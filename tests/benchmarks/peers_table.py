"""The other engines: what each of them runs, in which environment, and what it does not do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MISSING = {
    "event": "The tutorial's job, one event at a time, without: a fence (after a crash events are lost or count twice),"
    " duplicates, timers, offers, consent and caps, a journal.",
    "core": "Kairos's core and its transaction in Redis, around which is missing: hand-over of partitions and going on from"
    " the fence, finding gaps, merging of topics by time (they read one), a dead letter for what the core cannot apply, new"
    " models and policies while it runs, the page.",
}


@dataclass(frozen=True, slots=True)
class Peer:
    """One engine.

    Parameters
    ----------
    name : in the table. module : of `benchmarks.peers`. venv : its environment, `peers/<venv>.txt`.
    goal : Kairos has to need this many times less processor time per event.
    kind : `event`: the tutorial's job, one event at a time (it gets fewer events); `core`: Kairos's core; `limit`.
    does_not : what it leaves out beside what :data:`MISSING` says of its kind. versions : distributions to name.
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
    Peer(
        "tutorial Faust",
        "tutorial_faust",
        "faust",
        30.0,
        "event",
        "offsets are acknowledged event by event, whatever Redis holds by then; no table with a changelog",
        ("faust-streaming", "aiokafka"),
    ),
    Peer(
        "Quix, per event",
        "quix_event",
        "quix",
        None,
        "event",
        "offsets are committed every five seconds, whatever Redis holds by then; none of Quix's own state, windows, joins",
        ("quixstreams", "confluent-kafka", "pydantic"),
    ),
    Peer(
        "Bytewax, per event",
        "bytewax_event",
        "bytewax",
        None,
        "event",
        "no recovery store: it would begin again at the first record",
        ("bytewax", "confluent-kafka"),
    ),
    Peer(
        "Quix, batches",
        "quix_core",
        "quix",
        1.5,
        "core",
        "after a crash the events since the last checkpoint come again, and nothing drops them",
        (),
    ),
    Peer(
        "Bytewax, batches",
        "bytewax_core",
        "bytewax",
        1.0,
        "core",
        "no recovery store; its sink chooses partitions by the key alone, so that journal entries land anywhere",
        (),
    ),
    Peer(
        "raw aiokafka",
        "aiokafka_core",
        "aiokafka",
        0.8,
        "core",
        "one lane at a time waits for Redis and for the broker; no back pressure, no retry after an error",
        ("aiokafka",),
    ),
    Peer(
        "no logic (limit)",
        "limit",
        "aiokafka",
        0.3,
        "limit",
        "everything but reading, decoding, one MGET and one MSET a chunk",
        (),
    ),
)
