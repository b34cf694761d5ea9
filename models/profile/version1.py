"""Profiles as version 1 stored them, and what becomes of them: read during an upgrade, never written."""

from __future__ import annotations

from typing import Any

import msgspec

from config.codes import code16, code32
from models.profile import version2
from models.profile.person import Person
from models.profile.state import E4, MILLION, Contact, Goods, Profile, Sample, Send, Timer, Visit

VERSION = 1


class _Exposure(msgspec.Struct, array_like=True):
    variant: str
    at: int
    values: dict[str, int] = {}


class _Profile(msgspec.Struct, array_like=True):
    version: int
    events: int = 0
    first_seen: int = 0
    last_seen_ms: int = 0
    orders: int = 0
    purchase_days: int = 0
    money_minor: int = 0
    refunds: int = 0
    first_order: int = 0
    last_order_ms: int = 0
    recent_purchases: float = 0.0
    decayed_at: int = 0
    decayed: bytes = b""
    sessions: int = 0
    session_start: int = 0
    session_events: int = 0
    categories_at: int = 0
    categories: dict[str, float] = {}
    recent: list[str] = []
    bought: dict[str, int] = {}
    cart: list[tuple[str, str, int]] = []
    attributes: dict[str, Any] = {}
    consent: dict[str, bool] = {}
    channels: dict[str, list[int]] = {}
    sends: list[Send] = []
    exposures: dict[str, _Exposure] = {}
    score: float = -1.0
    alerted: bool = False
    last_alert: int = 0
    samples: list[Sample] = []
    tick_due: int = 0
    timers: list[Timer] = []
    indexed_due_ms: int = 0
    seen: bytes = b""
    seen_before: bytes = b""
    seen_since: int = 0
    consent_at: int = 0
    answers: dict[str, int] = {}


_decode = msgspec.msgpack.Decoder(_Profile).decode
_SAME = tuple(name for name in _Profile.__struct_fields__ if name in Profile.__struct_fields__)


def upgraded(packed: bytes) -> Profile:
    """Profile of today from one of version 1.

    Fractions become whole numbers: categories and recent purchases are rounded to a ten-thousandth, the score (which
    was stored in millionths already) is the same. Names of experiments, variants and metrics become their codes.
    """
    old = _decode(packed)
    made = Profile(
        recent_e4=round(old.recent_purchases * E4),
        categories={name: round(weight * E4) for name, weight in old.categories.items()},
        score_e6=round(old.score * MILLION) if old.score >= 0 else -1,
        goods=Goods(old.bought, old.samples),
        person=Person(old.attributes, old.consent, old.consent_at),
        contact=Contact(old.sends, old.channels),
        trials=version2.trials_of(
            {code32(name): version2.Exposure(code16(seen.variant), seen.at) for name, seen in old.exposures.items()}
        ),
        visit=Visit(old.cart, old.answers),
    )
    for name in _SAME:
        if name not in ("version", "categories"):
            setattr(made, name, getattr(old, name))
    return made
