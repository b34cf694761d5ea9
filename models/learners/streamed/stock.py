"""What is out of stock, in the learn role: nothing is learned, the newest word of the shop on each product is kept."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from models.decisions import StockExample
from models.errors import IncompatibleSnapshotError
from models.learners.model import Model
from models.offers import stock
from models.offers.stock import StockPayload

MOST: Final = 200_000  # products; beyond that the ones go that are in stock, the longest ago first


class StockModel(Model):
    """The newest word on each product; published when it changed what is out of stock."""

    schema = stock.SCHEMA
    learns = "stock"

    def __init__(self) -> None:
        self.told: dict[str, tuple[int, bool]] = {}
        self._renewed = False
        self._decode = msgspec.json.Decoder(StockExample).decode

    def learn(self, value: bytes) -> None:
        """Take one :class:`models.decisions.StockExample`; what is older than what is known changes nothing."""
        example = self._decode(value)
        at, out = self.told.get(example.item, (-1, False))
        if example.at < at:
            return
        self.told[example.item] = (example.at, example.out)
        self._renewed = self._renewed or out != example.out
        if len(self.told) > MOST:
            there = sorted((at, item) for item, (at, out) in self.told.items() if not out)
            for _, item in there[: MOST // 10]:
                del self.told[item]

    def worth_publishing(self) -> bool:
        renewed, self._renewed = self._renewed, False
        return renewed

    def payload(self) -> bytes:
        return msgspec.msgpack.encode(StockPayload(sorted(item for item, (_, out) in self.told.items() if out)))

    def meta(self) -> dict[str, Any]:
        return {"products": len(self.told), "out": sum(out for _, out in self.told.values())}

    def snapshot(self) -> dict[str, Any]:
        return {"told": [[item, at, out] for item, (at, out) in self.told.items()]}

    def restore(self, state: dict[str, Any]) -> None:
        try:
            self.told = {item: (at, out) for item, at, out in state["told"]}
        except (KeyError, TypeError, ValueError) as error:
            raise IncompatibleSnapshotError(f"not a state of the stock: {error!r}") from error


MODEL: Final = StockModel
