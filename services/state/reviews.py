"""What customers say about products: the lanes' counters of reviews, added up."""

from __future__ import annotations

import msgspec
import redis

from models.profile.state import E4
from models.reviews import FIELDS, KEY
from services.state.counters import read_some_counters
from services.state.product_names import ProductNames

# So many reviews that say neither good nor bad are added before products are compared: one review is no verdict.
DOUBT = 5


class Reviewed(msgspec.Struct, frozen=True):
    """What the reviews of a product say.

    Parameters
    ----------
    sentiment : mean, from -1 to 1. positive, negative : clearly so; the others say neither.
    score : the mean with `DOUBT` neutral reviews added: what products are ordered by.
    """

    product: str
    name: str
    reviews: int
    sentiment: float
    positive: int
    negative: int
    score: float


class ReviewReader:
    """Reads; synchronous, from any thread.

    Parameters
    ----------
    client : of Redis. lanes : how many there are.
    """

    def __init__(self, client: redis.Redis, lanes: int) -> None:
        self._client, self._lanes = client, lanes
        self._names = ProductNames(client)

    def ranked(self) -> list[Reviewed]:
        """Every product that was reviewed, best first.

        Raises
        ------
        TransientError
            Redis is away.
        """
        counts = read_some_counters(self._client, self._lanes, [KEY])[KEY]
        sums: dict[str, list[int]] = {}
        for name, value in counts.items():
            kind, _, product = name.partition("|")
            place = FIELDS.index(f"{kind}|") if f"{kind}|" in FIELDS else None
            if place is not None:
                sums.setdefault(product, [0] * len(FIELDS))[place] = value
        names = self._names.newest() if sums else {}
        found = [
            Reviewed(
                product,
                names.get(product, ""),
                count,
                round(total / count / E4, 4),
                positive,
                negative,
                round(total / (count + DOUBT) / E4, 4),
            )
            for product, (count, total, positive, negative) in sums.items()
            if count
        ]
        return sorted(found, key=lambda one: (-one.score, one.product))

    def of(self, product: str) -> Reviewed | None:
        """One product; None if nobody reviewed it."""
        return next((one for one in self.ranked() if one.product == product), None)
