"""A Faust transport that hands an agent one chunk of one partition at a time.

Plain Faust spends about 100 microseconds on handing over one event; a chunk of a thousand costs no more.
Why it is made as it is: docs/adr/0002-micro-batch-transport.md.

Use
---
``register()``, then an app with the broker ``microbatch://host:port`` and ``ChunkSchema``; agents iterate
``stream.noack().events()``, ``event.value`` is a :class:`Chunk`, and ``event.ack()`` follows the commit.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import cast

import faust
from faust.transport.drivers import TRANSPORTS

from streams.transport.chunk import COMMITTED, EARLIEST, Chunk, ChunkMessage, ChunkSchema, Record
from streams.transport.consumer import ChunkConsumer, ChunkTransport
from streams.transport.options import (
    ContractError,
    Hooks,
    PartitionHook,
    PositionLostError,
    PositionSource,
    TransportOptions,
)

__all__ = [
    "COMMITTED",
    "EARLIEST",
    "FAUST_VERSION",
    "SCHEME",
    "Chunk",
    "ChunkConsumer",
    "ChunkMessage",
    "ChunkSchema",
    "ChunkTransport",
    "ContractError",
    "Hooks",
    "PartitionHook",
    "PositionLostError",
    "PositionSource",
    "Record",
    "TransportOptions",
    "chunk_consumer",
    "configure",
    "register",
    "set_partition_hooks",
    "set_position_source",
]

SCHEME = "microbatch"
FAUST_VERSION = "0.15.3"


def register() -> None:
    """Make ``microbatch://`` known to Faust.

    Raises
    ------
    ContractError
        Another version of Faust is installed: what the transport leans on may have changed meaning silently.
    """
    installed = version("faust-streaming")
    if installed != FAUST_VERSION:
        raise ContractError(f"the transport is made for faust-streaming {FAUST_VERSION}, not {installed}")
    TRANSPORTS.aliases[SCHEME] = "streams.transport:ChunkTransport"


def _transport(app: faust.App) -> ChunkTransport:
    if not isinstance(app.transport, ChunkTransport):
        raise TypeError(f"the broker of {app.conf.id} is not {SCHEME}://")
    return app.transport


def configure(app: faust.App, options: TransportOptions) -> None:
    """Set the limits of `app`'s transport, before it starts."""
    _transport(app).options = options


def set_position_source(app: faust.App, positions: PositionSource) -> None:
    """Ask `positions` where to read on, after every assignment and rewind.

    A partition that it leaves out starts at the earliest record, so that a new or emptied store is filled
    from the log; ``COMMITTED`` in place of an offset means the group's committed one.
    """
    _transport(app).hooks.positions = positions


def set_partition_hooks(
    app: faust.App, *, on_assigned: PartitionHook | None = None, on_revoked: PartitionHook | None = None
) -> None:
    """Call the lanes when partitions come and go (see :class:`Hooks`)."""
    hooks = _transport(app).hooks
    hooks.on_assigned = on_assigned
    hooks.on_revoked = on_revoked


def chunk_consumer(app: faust.App) -> ChunkConsumer:
    """Return the consumer of `app`, which has ``rewind``, ``is_current``, ``log_end`` and more."""
    return cast(ChunkConsumer, app.consumer)
