"""Events of the demo: what the invoices say, what is derived, what is made up; each says which it is.

* From the file: an invoice is an `Order Completed`; one whose number starts with C is an `Order Refunded`.
* Derived: each line of an order is a `Product Viewed` and a `Product Added`, up to twenty minutes before the
  invoice. A minute before a customer's first one there is an `identify` with country, time zone and an
  address that was made up (``customer-<id>@example.test``), and with consent to mail, which a seeded share
  withholds.
* Simulated: a seeded share of orders is followed, days later, by a visit that fills a cart and leaves it,
  because the file knows only what was bought and nothing of what was left behind.

`context` tells: ``{"source": "online-retail-ii", "derived": bool, "simulated": bool}``. The same seed gives
the same bytes and the same messageIds.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import count
from typing import NamedTuple

import msgspec
import xxhash

from config.topics import CLICKSTREAM, DAY_MS, HOUR_MS, PROFILES, PURCHASES
from services.demo.history import CURRENCY, History, Invoice, Line

SOURCE = "online-retail-ii"
SEED = 2010
_MINUTE_MS = 60_000
# Shorter than any sensible waiting time of an abandoned-cart campaign, so that a real order never looks like
# one.
SHOPPING_MS = 20 * _MINUTE_MS
_LOOK_MS = 15_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_TIME_ZONES = {
    "Australia": "Australia/Sydney", "Austria": "Europe/Vienna", "Bahrain": "Asia/Bahrain",
    "Belgium": "Europe/Brussels", "Brazil": "America/Sao_Paulo", "Canada": "America/Toronto",
    "Channel Islands": "Europe/Jersey", "Cyprus": "Asia/Nicosia", "Denmark": "Europe/Copenhagen",
    "EIRE": "Europe/Dublin", "Finland": "Europe/Helsinki", "France": "Europe/Paris",
    "Germany": "Europe/Berlin", "Greece": "Europe/Athens", "Iceland": "Atlantic/Reykjavik",
    "Israel": "Asia/Jerusalem", "Italy": "Europe/Rome", "Japan": "Asia/Tokyo", "Korea": "Asia/Seoul",
    "Lithuania": "Europe/Vilnius", "Malta": "Europe/Malta", "Netherlands": "Europe/Amsterdam",
    "Nigeria": "Africa/Lagos", "Norway": "Europe/Oslo", "Poland": "Europe/Warsaw",
    "Portugal": "Europe/Lisbon", "RSA": "Africa/Johannesburg", "Singapore": "Asia/Singapore",
    "Spain": "Europe/Madrid", "Sweden": "Europe/Stockholm", "Switzerland": "Europe/Zurich",
    "Thailand": "Asia/Bangkok", "USA": "America/New_York", "United Arab Emirates": "Asia/Dubai",
    "West Indies": "America/Port_of_Spain",
}  # fmt: skip
# When somebody registered is not in the file. Kairos merges the topics by event time, so a minute is enough.
REGISTERED_BEFORE_MS = 60_000
DEFAULT_TIME_ZONE = "Europe/London"


class ShopEvent(NamedTuple):
    """One event, ready for the log; sorts by event time, then by the order in which it was made."""

    at_ms: int
    number: int
    topic: str
    user: str
    value: bytes


def share(seed: int, what: str) -> float:
    """Draw a number in [0, 1) that depends on `what` and the seed alone.

    Examples
    --------
    >>> share(1, "a") == share(1, "a") != share(2, "a")
    True
    """
    return xxhash.xxh3_64_intdigest(f"{seed}\x1f{what}".encode()) / 2**64


@lru_cache(maxsize=512)
def _day(days: int) -> str:
    return (_EPOCH + timedelta(days=days)).date().isoformat()


def iso(at_ms: int) -> str:
    """Time on the wire.

    Examples
    --------
    >>> iso(1_259_653_500_250)
    '2009-12-01T07:45:00.250Z'
    """
    days, rest = divmod(at_ms, DAY_MS)
    seconds, milli = divmod(rest, 1000)
    return f"{_day(days)}T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milli:03}Z"


def money(minor: int) -> str:
    """Pence as decimal pounds, exactly.

    Examples
    --------
    >>> money(295), money(-5)
    ('2.95', '-0.05')
    """
    sign, minor = ("-", -minor) if minor < 0 else ("", minor)
    return f"{sign}{minor // 100}.{minor % 100:02}"


@lru_cache(maxsize=16_384)
def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _context(*, derived: bool, simulated: bool) -> str:
    flags = f'"derived":{str(derived).lower()},"simulated":{str(simulated).lower()}'
    return f'"context":{{"source":"{SOURCE}",{flags}}}'


_REAL = _context(derived=False, simulated=False)
_DERIVED = _context(derived=True, simulated=False)
_SIMULATED = _context(derived=True, simulated=True)


class ShopEvents:
    """The year as events, handed out slice by slice.

    Parameters
    ----------
    history : the invoices.
    seed : of everything that is drawn.
    without_consent : share of customers who want no marketing mail.
    abandoned : share of orders that are followed by a simulated cart that is left behind.

    Attributes
    ----------
    counts : events handed out so far, by name; simulated ones by ``name (simulated)``.
    users : customers who appeared so far.
    """

    def __init__(
        self, history: History, seed: int = SEED, *, without_consent: float = 0.1, abandoned: float = 0.08
    ) -> None:
        self._history = history
        self._seed = seed
        self._without_consent = without_consent
        self._abandoned = abandoned
        self._next = 0
        self._number = count()
        self._waiting: list[tuple[ShopEvent, str]] = []
        self.counts: Counter[str] = Counter()
        self.users: set[str] = set()

    def until(self, end_ms: int) -> list[ShopEvent]:
        """Events before `end_ms` that were not handed out yet, in order of event time."""
        invoices = self._history.invoices
        # What is derived from an invoice lies before it: so far ahead invoices are read.
        ahead = end_ms + REGISTERED_BEFORE_MS + SHOPPING_MS + _MINUTE_MS
        while self._next < len(invoices) and invoices[self._next].at_ms < ahead:
            self._derive(invoices[self._next])
            self._next += 1
        found = []
        while self._waiting and self._waiting[0][0].at_ms < end_ms:
            event, name = heapq.heappop(self._waiting)
            self.counts[name] += 1
            found.append(event)
        return found

    def _put(self, at_ms: int, topic: str, user: str, name: str, text: str) -> None:
        heapq.heappush(self._waiting, (ShopEvent(at_ms, next(self._number), topic, user, text.encode()), name))

    def _derive(self, invoice: Invoice) -> None:
        items = () if invoice.refund else invoice.items
        step = min(_LOOK_MS, SHOPPING_MS // len(items)) if items else 0
        begin = invoice.at_ms - step * len(items)
        if invoice.user not in self.users:
            self.users.add(invoice.user)
            self._identify(invoice, begin)
        for number, line in enumerate(items):
            at_ms = begin + step * number
            self._product(at_ms, invoice, line, "Product Viewed", f"{number}-v", _DERIVED)
            self._product(at_ms + step // 2, invoice, line, "Product Added", f"{number}-a", _DERIVED)
        self._order(invoice)
        if items and share(self._seed, f"cart {invoice.number}") < self._abandoned:
            self._left_behind(invoice, items)

    def _identify(self, invoice: Invoice, begin_ms: int) -> None:
        user = invoice.user
        at_ms = begin_ms - REGISTERED_BEFORE_MS
        zone = _TIME_ZONES.get(invoice.country, DEFAULT_TIME_ZONE)
        consent = str(share(self._seed, f"consent {user}") >= self._without_consent).lower()
        self._put(
            at_ms, PROFILES.name, user, "identify",
            f'{{"type":"identify","userId":"{user}","messageId":"orii-{user}-id","timestamp":"{iso(at_ms)}",'
            f'"traits":{{"email":"customer-{user}@example.test","country":{_json(invoice.country)},'
            f'"timezone":"{zone}","consent":{{"email":{consent}}}}},{_DERIVED}}}',
        )  # fmt: skip

    def _product(self, at_ms: int, invoice: Invoice, line: Line, name: str, mark: str, context: str) -> None:
        self._put(
            at_ms, CLICKSTREAM.name, invoice.user, name if context is _DERIVED else f"{name} (simulated)",
            f'{{"type":"track","event":"{name}","userId":"{invoice.user}","messageId":"orii-{invoice.number}-{mark}",'
            f'"timestamp":"{iso(at_ms)}","properties":{{"product_id":{_json(line.stock_code)},'
            f'"name":{_json(line.name)},"price":{money(line.price_minor)},"quantity":{max(1, line.quantity)},'
            f'"currency":"{CURRENCY}"}},{context}}}',
        )  # fmt: skip

    def _order(self, invoice: Invoice) -> None:
        name = "Order Refunded" if invoice.refund else "Order Completed"
        products = ",".join(
            f'{{"product_id":{_json(line.stock_code)},"name":{_json(line.name)},"price":{money(line.price_minor)},'
            f'"quantity":{abs(line.quantity)}}}'
            for line in invoice.items
        )
        total, shipping = invoice.total_minor, invoice.shipping_minor
        self._put(
            invoice.at_ms, PURCHASES.name, invoice.user, name,
            f'{{"type":"track","event":"{name}","userId":"{invoice.user}","messageId":"orii-{invoice.number}",'
            f'"timestamp":"{iso(invoice.at_ms)}","properties":{{"order_id":"{invoice.number}",'
            f'"revenue":{money(total - shipping)},"shipping":{money(shipping)},"total":{money(total)},'
            f'"currency":"{CURRENCY}","products":[{products}]}},{_REAL}}}',
        )  # fmt: skip

    def _left_behind(self, invoice: Invoice, items: tuple[Line, ...]) -> None:
        draw: Callable[[str], float] = lambda what: share(self._seed, f"{what} {invoice.number}")  # noqa: E731
        days = 2 + int(draw("days") * 12)
        at_ms = (invoice.at_ms // DAY_MS + days) * DAY_MS + 9 * HOUR_MS + int(draw("hour") * 9 * HOUR_MS)
        first = int(draw("first") * len(items))
        for number, line in enumerate(items[first : first + 1 + int(draw("many") * 3)]):
            at = at_ms + number * _MINUTE_MS
            self._product(at, invoice, line, "Product Viewed", f"cart-{number}-v", _SIMULATED)
            self._product(at + _LOOK_MS, invoice, line, "Product Added", f"cart-{number}-a", _SIMULATED)
