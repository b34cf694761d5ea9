"""What the shop has not in stock: told by events, served as a snapshot, never recommended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from models.decisions import StockExample, effect_id
from models.learners.envelope import Envelope, payload_in
from models.profile.state import Profile
from models.profile.update import item_id
from models.wire import Input

if TYPE_CHECKING:
    from models.decide import Turn

NAME: Final = "stock"
SCHEMA: Final = 1
CHANGED: Final = "Product Stock Changed"


class StockPayload(msgspec.Struct, frozen=True):
    """Payload of a ``stock`` snapshot: ids of the products that are out of stock, sorted."""

    out: list[str]


class Stock:
    """Products that are out of stock, frozen.

    Parameters
    ----------
    out : their ids. version : of the snapshot, 0 before anything was told.

    Examples
    --------
    >>> "lamp" in Stock(["lamp"]).out
    True
    """

    __slots__ = ("out", "version")

    def __init__(self, out: Iterable[str] = (), version: int = 0) -> None:
        self.out = frozenset(out)
        self.version = version

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> Stock:
        """Stock of a snapshot.

        Raises
        ------
        IncompatibleSnapshotError
            Another model or layout.
        """
        return cls(payload_in(envelope, NAME, SCHEMA, StockPayload).out, envelope.version)


def changed(turn: Turn, _: Profile, event: Input) -> None:
    """The shop tells that a product is out of stock, or is there again.

    `in_stock` says so; without it `quantity` does: 0 is out of stock. An event that says neither changes nothing.
    """
    item, quantity = item_id(event.properties), event.properties.quantity
    told: Any = event.document()["properties"].get("in_stock")
    if not isinstance(told, bool):
        told = None if quantity is None else quantity > 0
    if item is None or told is None:
        return
    ident = effect_id("stock", "told", event.user, event.message_id)
    turn.out.effects.append(StockExample(id=ident, user=event.user, at=event.at, item=item, out=not told))
