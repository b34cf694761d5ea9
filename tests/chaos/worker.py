"""``python -m chaos.worker ROLE``: the role as in production, with three additions.

An order with the id `shop.BREAKS` breaks the core each time; SIGRTMIN makes it raise once, in the middle of the batch
that it is working on or of the next one. With ``CHAOS_NEXT=1`` it is decide of a next version, which reads one more
topic: a changed subscription, hence a consumer group of its own (see `streams.app.build_app`), which works beside the
old one until that has ended.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import faust
from chaos.shop import BREAKS, NEXT_TOPIC

from config.settings import Settings
from models import decide as core
from streams import decide as role
from streams.__main__ import main
from streams.app import build_app


class _Fault:
    """Raises in the middle of a batch, once for each signal."""

    def __init__(self) -> None:
        self._armed = False
        self._after = 0
        self._apply = core._apply

    def arm(self, *_: object) -> None:
        self._armed, self._after = True, 7

    def apply(self, turn: Any, profile: Any, event: Any) -> None:
        self._apply(turn, profile, event)  # the state in memory is changed when it breaks
        if event.properties.order_id == BREAKS:
            raise ZeroDivisionError(BREAKS)
        if self._armed:
            self._after -= 1
            if self._after <= 0:
                self._armed = False
                raise ZeroDivisionError("the core breaks once")


class NextDecideRole(role.DecideRole):
    """Decide, and a topic that it only reads."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.app.agent(self.app.topic(NEXT_TOPIC, value_type=bytes), name="decide.stock")(self._read_stock)

    async def _read_stock(self, stream: Any) -> None:
        async for event in stream.noack().events():
            event.ack()


def _next_version(settings: Settings) -> faust.App:
    """Build the app of the next version, in a consumer group of its own."""
    role.build_app = lambda name, settings: build_app(f"{name}-next", settings)  # type: ignore[assignment, attr-defined, misc]
    return NextDecideRole(settings).app


if __name__ == "__main__":
    fault = _Fault()
    core._apply = fault.apply
    signal.signal(signal.SIGRTMIN, fault.arm)
    if os.environ.get("CHAOS_NEXT"):
        role.build = _next_version
    main()
