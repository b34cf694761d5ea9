"""How often an offer may be given: to one customer, in all, and for how much money. Hard limits, never exceeded.

Lanes work side by side and ask nobody, so each has its share of what may be given in all, and counts in its own
transaction: exact under any crash, and the audit replays it. The price: a lane may use up its share while another has
some left. Customers are dealt out evenly, so that matters for a handful of vouchers and hardly for hundreds.
"""

from __future__ import annotations

from config.codes import code32
from config.definitions import Offer
from models.profile.state import Profile


def share(total: int, lane: int, lanes: int) -> int:
    """What a lane may give of `total`; the shares of all lanes add up to it.

    Examples
    --------
    >>> [share(10, lane, 4) for lane in range(4)]
    [3, 3, 2, 2]
    """
    return total // lanes + (lane < total % lanes)


def halved(count: int, money: int) -> tuple[int, int]:
    """What each half of a divided lane has given: rounded up, so that the halves never give more than was left."""
    return -(-count // 2), -(-money // 2)


def discount_minor(offer: Offer, price_minor: int) -> int:
    """What the offer takes off a product's price.

    Examples
    --------
    >>> discount_minor(Offer(id="x", kind="discount", text="{item}", percent=10), 999)
    100
    """
    if offer.percent is not None:
        return round(price_minor * offer.percent / 100)
    return min(offer.value_minor or 0, price_minor)


def earned_minor(offer: Offer, price_minor: int) -> int:
    """What the shop earns when the product is bought with the offer; without `margin` the price counts as earned."""
    margin = 1.0 if offer.margin is None else offer.margin
    return round(price_minor * margin) - discount_minor(offer, price_minor)


class Limits:
    """What one decision may still give, and the record of what it gave.

    Parameters
    ----------
    given : of the lane: offer -> (how often, for how much). lane, lanes : which one of how many.
    profile : the customer's. at : of the decision, ms.
    """

    __slots__ = ("_given", "_lane", "_lanes", "_profile", "at", "gave")

    def __init__(
        self, given: dict[str, tuple[int, int]], profile: Profile, at: int, lane: int = 0, lanes: int = 1
    ) -> None:
        self._given, self._profile, self.at = given, profile, at
        self._lane, self._lanes = lane, lanes
        self.gave: dict[str, int] = {}

    def allow(self, offer: Offer) -> bool:
        """Whether the customer may get the offer at all."""
        if offer.cap is not None:
            since = (self.at - offer.cap.per_ms) // 1000
            times = self._profile.given.get(code32(offer.id), ())
            if sum(second > since for second in times) >= offer.cap.max:
                return False
        if offer.stock is None:
            return True
        return self._given.get(offer.id, (0, 0))[0] < share(offer.stock, self._lane, self._lanes)

    def pays(self, offer: Offer, price_minor: int) -> bool:
        """Whether the offer may be made on a product of this price: something is earned, and the budget reaches."""
        if offer.margin is not None and earned_minor(offer, price_minor) <= 0:
            return False
        if offer.budget_minor is None:
            return True
        spent = self._given.get(offer.id, (0, 0))[1] - self.gave.get(offer.id, 0)
        return spent + discount_minor(offer, price_minor) <= share(offer.budget_minor, self._lane, self._lanes)

    def give(self, offer: Offer, price_minor: int) -> None:
        """The list carries the offer, on a product of this price; on several products the dearest discount counts."""
        if offer.cap is None and offer.stock is None and offer.budget_minor is None:
            return
        cost = discount_minor(offer, price_minor)
        count, money = self._given.get(offer.id, (0, 0))
        before = self.gave.get(offer.id)
        self.gave[offer.id] = max(cost, before or 0)
        self._given[offer.id] = (count + (before is None), money + self.gave[offer.id] - (before or 0))
        if before is None and offer.cap is not None:
            times = self._profile.given
            code = code32(offer.id)
            times[code] = sorted([*times.get(code, ()), self.at // 1000])[-offer.cap.max :]
