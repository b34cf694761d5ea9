"""State of one user, in the form in which decide works with it.

Lists instead of maps (``array_like``), seconds where milliseconds say nothing, whole numbers instead of fractions. What
most events leave alone lies in sections that stay packed until somebody looks into them: reading and writing a profile
costs a fraction of what it would cost with all of it unpacked. How a profile is stored is told in
:mod:`models.profile.codec`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from models.profile.awaited import Awaited, GoalSample
from models.profile.person import Person, decode_person

VERSION = 3

RECENT_ITEMS = 8
BOUGHT_ITEMS = 64
RESTING_ITEMS = 20
CART_ITEMS = 4
CATEGORIES = 6
SENDS = 12
ORDERS = 32
ATTRIBUTES = 24
SEEN_IDS = 4096

MILLION = 1_000_000
E4 = 10_000


class Timer(msgspec.Struct, array_like=True, gc=False):
    """Something that is to happen at event time `due` unless it is cancelled.

    kind: "campaign" (a delayed trigger), "release" (a message held over quiet hours) or "offer" (the window ends in
    which an offer may be answered). `occurrence` is the messageId of the event that set it, `set_at` that event's time;
    both in ms. `held`: of an offer, what was known when it was given, packed.
    """

    due: int
    kind: str
    rule: str
    set_at: int
    occurrence: str
    held: bytes = b""


class Send(msgspec.Struct, array_like=True, gc=False):
    """A message decided for the user, for caps and for feedback. flags: 1 delivered, 2 opened, 4 clicked, 8 ordered."""

    at: int
    campaign: str
    digest: bytes
    flags: int = 0
    marketing: bool = True


class Exposure(msgspec.Struct, array_like=True, gc=False):
    """First exposure to an experiment, and what the user brought it since (:mod:`models.experiments.count`).

    Variant by its code (:attr:`config.definitions.Variant.code`). flags: 1 really shown two variants, 2 not counted,
    4 no covariates. `values`: running value of each metric, by its code. `before`: covariates. `parts`: place in each
    dimension.
    """

    variant: int
    at: int
    flags: int = 0
    values: dict[int, int] = {}
    before: list[int] = []
    parts: list[int] = []


class Order(msgspec.Struct, array_like=True, gc=False):
    """An order that may be refunded: code of its id, time (0: only its refund came yet), value, how late it came (ms).

    `refunds`: (time, amount or -1 for all of it, how late it came).
    """

    code: int
    at: int
    value: int
    lag: int = 0
    refunds: list[tuple[int, int, int]] = []


class Sample(msgspec.Struct, array_like=True, gc=False):
    """Features that wait for their label. `returned`: an order was seen inside the horizon."""

    at: int
    x: list[int]
    returned: bool = False


class Goods(msgspec.Struct, array_like=True, gc=False):
    """Section that orders touch, and ticks of silence.

    The order of `bought` is recency; an entry is how often and when last (:func:`bought_entry`).
    """

    bought: dict[str, int] = {}
    samples: list[Sample] = []


# How a number of `bought` is made: the lower bits tell how often, what lies above them the day.
ENTRY_DAY_BIT: Final = 8
ENTRY_TIMES: Final = (1 << ENTRY_DAY_BIT) - 1


def bought_entry(times: int, day: int) -> int:
    """How often an item was bought (at most 255) and on which day last (since 1970; 0: not known), as one number.

    Examples
    --------
    >>> entry = bought_entry(3, 14_600)
    >>> times_bought(entry), day_bought(entry)
    (3, 14600)
    """
    return max(day, 0) << ENTRY_DAY_BIT | min(times, ENTRY_TIMES)


def times_bought(entry: int) -> int:
    """How often, of an entry of `bought`."""
    return entry & ENTRY_TIMES


def day_bought(entry: int) -> int:
    """On which day last, of an entry of `bought`; 0: not known."""
    return entry >> ENTRY_DAY_BIT


class Contact(msgspec.Struct, array_like=True, gc=False):
    """Section of what we told the user, and what came of it."""

    sends: list[Send] = []
    channels: dict[str, list[int]] = {}


class Trials(msgspec.Struct, array_like=True, gc=False):
    """Section of experiments: exposures by the experiment's code, and the orders that refunds may still change."""

    exposures: dict[int, Exposure] = {}
    purchases: list[Order] = []


class Visit(msgspec.Struct, array_like=True, gc=False):
    """Section of what may have to be reminded of: the cart, and the newest event of each name that answers a wait."""

    cart: list[tuple[str, str, int]] = []
    answers: dict[str, int] = {}


_encode = msgspec.msgpack.Encoder().encode
_goods = msgspec.msgpack.Decoder(Goods).decode
_contact = msgspec.msgpack.Decoder(Contact).decode
_visit = msgspec.msgpack.Decoder(Visit).decode
_trials = msgspec.msgpack.Decoder(Trials).decode
_awaited = msgspec.msgpack.Decoder(Awaited).decode
_NO_GOODS, _NO_PERSON, _NO_CONTACT, _NO_VISIT = (_encode(one) for one in (Goods(), Person(), Contact(), Visit()))
_NO_TRIALS, _NO_AWAITED = _encode(Trials()), _encode(Awaited())


class Profile(msgspec.Struct, array_like=True, gc=False):
    """Everything Kairos knows about one user.

    Times: `_ms` milliseconds, otherwise seconds since 1970, 0 = never. Money: minor units of the shop's currency.
    The sections at the end are packed (`bytes`, empty: nothing in it) or open; use the properties.
    """

    version: int = VERSION
    events: int = 0
    first_seen: int = 0
    last_seen_ms: int = 0
    # recency, frequency, money; recent purchases in ten-thousandths
    orders: int = 0
    purchase_days: int = 0
    money_minor: int = 0
    refunds: int = 0
    first_order: int = 0
    last_order_ms: int = 0
    recent_e4: int = 0
    # decayed counters: views, adds, orders, spend at half-lives of 1, 7 and 30 days, as of `decayed_at`
    decayed_at: int = 0
    decayed: bytes = b""
    # session; its start is 0 while the user rests
    sessions: int = 0
    session_start: int = 0
    session_events: int = 0
    # affinity; weights of categories in ten-thousandths
    categories_at: int = 0
    categories: dict[str, int] = {}
    recent: list[str] = []
    # churn; score in millionths, below 0: none
    score_e6: int = -1
    alerted: bool = False
    last_alert: int = 0
    # time
    tick_due: int = 0
    timers: list[Timer] = []
    indexed_due_ms: int = 0
    # messageIds seen, 8 bytes each, two generations of a day of broker time
    seen: bytes = b""
    seen_before: bytes = b""
    seen_since: int = 0
    # sections
    goods: bytes | Goods = b""
    person: bytes | Person = b""
    contact: bytes | Contact = b""
    visit: bytes | Visit = b""
    trials: bytes | Trials = b""
    # sets of experiments that this user need not be asked about any more
    settled: list[int] = []
    # code of an offer that is capped per customer -> seconds at which it was given (models.offers.limits)
    given: dict[int, list[int]] = {}
    awaited: bytes | Awaited = b""

    def open_goods(self) -> Goods:
        """Section of orders, unpacked."""
        found = self.goods
        if isinstance(found, bytes):
            found = self.goods = _goods(found or _NO_GOODS)
        return found

    def open_person(self) -> Person:
        """Section of the person, unpacked."""
        found = self.person
        if isinstance(found, bytes):
            found = self.person = decode_person(found or _NO_PERSON)
        return found

    def open_contact(self) -> Contact:
        """Section of messages and experiments, unpacked."""
        found = self.contact
        if isinstance(found, bytes):
            found = self.contact = _contact(found or _NO_CONTACT)
        return found

    def open_visit(self) -> Visit:
        """Section of cart and waits, unpacked."""
        found = self.visit
        if isinstance(found, bytes):
            found = self.visit = _visit(found or _NO_VISIT)
        return found

    def open_trials(self) -> Trials:
        """Section of experiments, unpacked."""
        found = self.trials
        if isinstance(found, bytes):
            found = self.trials = _trials(found or _NO_TRIALS)
        return found

    def open_awaited(self) -> Awaited:
        """Section of goals, unpacked."""
        found = self.awaited
        if isinstance(found, bytes):
            found = self.awaited = _awaited(found or _NO_AWAITED)
        return found

    def close(self) -> None:
        """Pack the sections that are open."""
        if not isinstance(self.goods, bytes):
            packed = _encode(self.goods)
            self.goods = b"" if packed == _NO_GOODS else packed
        if not isinstance(self.person, bytes):
            packed = _encode(self.person)
            self.person = b"" if packed == _NO_PERSON else packed
        if not isinstance(self.contact, bytes):
            packed = _encode(self.contact)
            self.contact = b"" if packed == _NO_CONTACT else packed
        if not isinstance(self.visit, bytes):
            packed = _encode(self.visit)
            self.visit = b"" if packed == _NO_VISIT else packed
        if not isinstance(self.awaited, bytes):
            packed = _encode(self.awaited)
            self.awaited = b"" if packed == _NO_AWAITED else packed
        self.close_trials()

    def close_trials(self) -> bytes:
        """Pack the section of experiments."""
        if not isinstance(self.trials, bytes):
            packed = _encode(self.trials)
            self.trials = b"" if packed == _NO_TRIALS else packed
        return self.trials

    @property
    def bought(self) -> dict[str, int]:
        """Items bought, the latest last; an entry is how often and when last (:func:`bought_entry`)."""
        return self.open_goods().bought

    @property
    def samples(self) -> list[Sample]:
        """Examples that wait for their label, oldest first."""
        return self.open_goods().samples

    @property
    def attributes(self) -> dict[str, Any]:
        """What the user told us."""
        return self.open_person().attributes

    @property
    def consent(self) -> dict[str, bool]:
        """Channels that were allowed or refused."""
        return self.open_person().consent

    @property
    def sends(self) -> list[Send]:
        """Messages decided, oldest first."""
        return self.open_contact().sends

    @sends.setter
    def sends(self, sends: list[Send]) -> None:
        self.open_contact().sends = sends

    @property
    def channels(self) -> dict[str, list[int]]:
        """Channel -> messages delivered, opened, clicked."""
        return self.open_contact().channels

    @property
    def exposures(self) -> dict[int, Exposure]:
        """Code of the experiment -> exposure."""
        return self.open_trials().exposures

    @property
    def goal_samples(self) -> list[GoalSample]:
        """Examples of goals that wait for their label."""
        return self.open_awaited().goal_samples

    @goal_samples.setter
    def goal_samples(self, samples: list[GoalSample]) -> None:
        self.open_awaited().goal_samples = samples

    @property
    def cart(self) -> list[tuple[str, str, int]]:
        """Lines as (item, name, price in minor units)."""
        return self.open_visit().cart

    @cart.setter
    def cart(self, cart: list[tuple[str, str, int]]) -> None:
        self.open_visit().cart = cart

    @property
    def answers(self) -> dict[str, int]:
        """Time of the newest event of each name that answers a wait (but for orders), ms."""
        return self.open_visit().answers

    @property
    def score(self) -> float:
        """Churn score; below 0: none yet."""
        return self.score_e6 / MILLION if self.score_e6 >= 0 else -1.0

    @property
    def recent_purchases(self) -> float:
        """Decayed count of purchase days at the last one."""
        return self.recent_e4 / E4

    def next_due_ms(self) -> int:
        """When time next means something for this user, ms; 0 = never."""
        due = self.tick_due * 1000
        for timer in self.timers:
            if due == 0 or timer.due < due:
                due = timer.due
        return due

    def mean_gap_days(self) -> float | None:
        """Mean days between purchase days; None for one-time buyers."""
        if self.purchase_days < 2:
            return None
        return (self.last_order_ms // 86_400_000 - self.first_order // 86_400) / (self.purchase_days - 1)

    def expected_next_order_ms(self) -> int | None:
        """Expected date of the next order: last one plus the user's own mean gap; None when there is no gap yet."""
        gap = self.mean_gap_days()
        return None if gap is None else self.last_order_ms + int(gap * 86_400_000)


def fields_of(profile: Profile) -> dict[str, Any]:
    """Everything in a profile by name, the sections' fields among the others."""
    sections = {
        "goods": profile.open_goods,
        "person": profile.open_person,
        "contact": profile.open_contact,
        "visit": profile.open_visit,
        "trials": profile.open_trials,
        "awaited": profile.open_awaited,
    }
    found: dict[str, Any] = {}
    for name in Profile.__struct_fields__:
        if name in sections:
            section = sections[name]()
            found |= {part: getattr(section, part) for part in section.__struct_fields__}
        else:
            found[name] = getattr(profile, name)
    return found
