"""Packed state of one user.

Lists instead of maps (``array_like``), seconds where milliseconds say nothing, nothing stored that can be derived: a
typical profile at rest stays below 400 bytes in Redis.
"""

from __future__ import annotations

from typing import Any

import msgspec

from models.errors import IncompatibleSnapshotError

VERSION = 1

RECENT_ITEMS = 8
BOUGHT_ITEMS = 12
CART_ITEMS = 4
CATEGORIES = 6
SENDS = 12
ATTRIBUTES = 24
SEEN_IDS = 4096


class Timer(msgspec.Struct, array_like=True, gc=False):
    """Something that is to happen at event time `due` unless it is cancelled.

    kind: "campaign" (a delayed trigger) or "release" (a message held over quiet hours). `occurrence` is the messageId
    of the event that set it, `set_at` that event's time; both in ms.
    """

    due: int
    kind: str
    rule: str
    set_at: int
    occurrence: str


class Send(msgspec.Struct, array_like=True, gc=False):
    """A message decided for the user, for caps and for feedback. flags: 1 delivered, 2 opened, 4 clicked, 8 ordered."""

    at: int
    campaign: str
    digest: bytes
    flags: int = 0
    marketing: bool = True


class Exposure(msgspec.Struct, array_like=True, gc=False):
    """First exposure to an experiment and the user's running value of each metric (minor units or 0/1)."""

    variant: str
    at: int
    values: dict[str, int] = {}


class Sample(msgspec.Struct, array_like=True, gc=False):
    """Features that wait for their label. `returned`: an order was seen inside the horizon."""

    at: int
    x: list[int]
    returned: bool = False


class Profile(msgspec.Struct, array_like=True, gc=False):
    """Everything Kairos knows about one user.

    Times: `_ms` milliseconds, otherwise seconds since 1970, 0 = never. Money: minor units of the shop's currency.
    """

    version: int = VERSION
    events: int = 0
    first_seen: int = 0
    last_seen_ms: int = 0
    # recency, frequency, money
    orders: int = 0
    purchase_days: int = 0
    money_minor: int = 0
    refunds: int = 0
    first_order: int = 0
    last_order_ms: int = 0
    recent_purchases: float = 0.0
    # decayed counters: views, adds, orders, spend at half-lives of 1, 7 and 30 days, as of `decayed_at`
    decayed_at: int = 0
    decayed: bytes = b""
    # session
    sessions: int = 0
    session_start: int = 0
    session_events: int = 0
    # affinity
    categories_at: int = 0
    categories: dict[str, float] = {}
    recent: list[str] = []
    bought: dict[str, int] = {}
    cart: list[tuple[str, str, int]] = []
    # what the user told us
    attributes: dict[str, Any] = {}
    consent: dict[str, bool] = {}
    # messages
    channels: dict[str, list[int]] = {}
    sends: list[Send] = []
    # experiments
    exposures: dict[str, Exposure] = {}
    # churn
    score: float = -1.0
    alerted: bool = False
    last_alert: int = 0
    samples: list[Sample] = []
    # time
    tick_due: int = 0
    timers: list[Timer] = []
    indexed_due_ms: int = 0
    # messageIds seen, 8 bytes each, two generations of a day of broker time
    seen: bytes = b""
    seen_before: bytes = b""
    seen_since: int = 0
    # time of the newest consent known, and of the newest event of each name that answers a wait (but for orders)
    consent_at: int = 0
    answers: dict[str, int] = {}

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


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Profile)
encode_profile = _encoder.encode


def decode_profile(packed: bytes) -> Profile:
    """Profile from its packed form.

    Raises
    ------
    IncompatibleSnapshotError
        The stored version is newer than this code. Older ones: fields are only ever appended, with a default.
    """
    try:
        profile = _decoder.decode(packed)
    except msgspec.DecodeError as error:
        raise IncompatibleSnapshotError(f"a stored profile cannot be read: {error}") from error
    if profile.version > VERSION:
        raise IncompatibleSnapshotError(f"profile of version {profile.version}, this code reads up to {VERSION}")
    return profile
