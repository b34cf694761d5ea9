"""One user's story, put together from the log and the profile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from config.definitions import Experiment
from config.loader import load_definitions
from config.settings import Settings
from config.topics import CHURN_ALERTS, EXPOSURES, INPUTS, MESSAGES, OFFERS
from config.units import spell_duration
from models.errors import KairosError
from models.forward import departure_of
from models.profile.codec import decode_profile
from models.profile.moved import MovedError
from models.profile.state import E4, Profile
from models.reviews import mean, told_by
from models.wire import epoch_ms, lane_of
from services.bus.reader import read_topic
from services.state import keys
from services.state.propensities import Propensity, PropensityReader
from services.state.redis_lane import connect, translated
from services.state.user_facts import FactsReader, UserFacts

_STYLES = {"churn-alerts": "yellow", "messages": "cyan", "offers": "green", "exposures": "magenta"}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened, at event time `at` (ms)."""

    at: int
    what: str
    detail: str
    style: str = ""
    rank: int = 0  # at the same time: what came in, what was decided, what became of it


@dataclass(slots=True)
class Story:
    """Everything about one user; `facts` are the profile in words."""

    profile: Profile | None
    facts: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)


def tell(settings: Settings, user: str) -> Story:
    """Read the user's partition of every topic, and the profile."""
    lane = lane_of(user, settings.lanes)
    client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
    with translated():
        packed: Any = client.get(keys.profile(lane, user))
    story = Story(None)
    try:
        story.profile = None if packed is None else decode_profile(packed)
    except MovedError as away:
        to, day = away.redirect.to, _day(away.redirect.at)
        story.facts = {"merged into": f"{to}, by an alias of {day}; what came later is in that user's story"}
    if story.profile is not None:
        definitions = load_definitions(settings.config_dir, check_templates=False)
        story.facts = facts_of(story.profile, definitions.experiments)
        found = PropensityReader(client, settings.lanes).ask(user, definitions.goals)
        if found is not None:
            story.facts |= {f"will {one.goal}": _likely(one) for one in found.propensities}
        expected = FactsReader(client, settings.lanes).ask(user)
        if expected is not None:
            story.facts |= _expected(expected)
    client.close()
    key = user.encode()
    for topic in (*INPUTS, CHURN_ALERTS, OFFERS, MESSAGES, EXPOSURES):
        for record in read_topic(settings.kafka.bootstrap, topic.name, lane):
            if record.key == key and record.value:
                line = _line(topic.name, record.value, record.timestamp_ms)
                if line is not None:
                    story.lines.append(line)
    story.lines.sort(key=lambda line: (line.at, line.rank))
    return story


def facts_of(profile: Profile, experiments: Iterable[Experiment]) -> dict[str, str]:
    """The profile in words; it knows experiments by their codes only."""
    next_order = profile.expected_next_order_ms()
    overdue = next_order is not None and next_order < profile.last_seen_ms
    found = {
        "first seen": _day(profile.first_seen * 1000),
        "last seen": _day(profile.last_seen_ms),
        "events": f"{profile.events:,} in {profile.sessions:,} sessions",
        "orders": f"{profile.orders} on {profile.purchase_days} days, {profile.money_minor / 100:,.2f} in all",
        "last order": _day(profile.last_order_ms) if profile.orders else "never",
        "next order expected": "nothing to tell it from yet"
        if next_order is None
        else _day(next_order) + " (overdue)" * overdue,
        "churn score": "none before the first order" if profile.score < 0 else f"{profile.score:.1%}",
        "consent": ", ".join(f"{k}: {'yes' if v else 'no'}" for k, v in profile.consent.items()) or "none given",
    }
    said = told_by(profile)
    if said.times:
        found["reviews"] = (
            f"{said.times}, mean sentiment {mean(said):+.2f} (-1 to 1), the last {said.last_e4 / E4:+.2f}"
        )
    if profile.exposures:
        by_code = {experiment.code: experiment for experiment in experiments}
        found["experiments"] = ", ".join(
            _exposure(by_code.get(code), seen.variant) for code, seen in profile.exposures.items()
        )
    return found


def _likely(told: Propensity) -> str:
    if told.probability is None:
        return told.note
    why = ", ".join(f"{one.text} ({one.share:+.2f})" for one in told.reasons)
    return f"{told.probability:.1%} within {spell_duration(told.horizon_ms)}: {why}"


def _expected(found: UserFacts) -> dict[str, str]:
    facts = {"expected value": f"{found.expected_value:,.2f} within {found.horizon_days} days ({found.basis})"}
    if found.learned and found.next_order_at is not None:
        facts["next order expected"] = f"{_day(found.next_order_at)}, if one comes"
    return facts | {"segment": found.segment or "none yet"} | ({"portrait": found.portrait} if found.portrait else {})


def _exposure(experiment: Experiment | None, variant: int) -> str:
    if experiment is None:
        return "one that is not defined any more"
    return f"{experiment.id}: {experiment.variant_by_code.get(variant, 'a variant that is not defined any more')}"


def _day(at_ms: int) -> str:
    if not at_ms:
        return "never"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%d %b %Y")


def _line(topic: str, value: bytes, broker_ms: int) -> Line | None:
    try:
        found: dict[str, Any] = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return None
    style = _STYLES.get(topic, "")
    rank = 2 if topic == "feedback" else int(topic in _STYLES)
    if topic == "churn-alerts":
        why = "; ".join(reason["text"] for reason in found["reasons"])
        return Line(found["at"], f"Churn alert {found['score']:.0%}", why, style, rank)
    if topic == "offers":
        names = ", ".join(offer["name"] for offer in found["offers"][:3] if offer["name"])
        return Line(found["at"], "Offers ranked", names, style, rank)
    if topic == "messages":
        if found["suppressed"]:
            return Line(found["decided_at"], f"Not sent: {found['campaign']}", found["reason"], "dim", rank)
        return Line(
            found["decided_at"], f"Message {found['campaign']}", f"{found['reason']}  [{found['id']}]", style, rank
        )
    if topic == "exposures":
        return Line(found["at"], f"Experiment {found['experiment']}", f"variant {found['variant']}", style, rank)
    if found.get("type") == "merge":
        return _merge(value)
    properties = found.get("properties") or {}
    at = msgspec.convert(found.get("timestamp"), datetime | int | float | None, strict=False)
    name = found.get("event") or found.get("type", "")
    detail = properties.get("name") or ""
    if name == "alias":
        detail = f"{found.get('previousId')} is {found.get('userId') or found.get('anonymousId')}"
    if properties.get("revenue") is not None:
        detail = f"{properties['revenue']:,.2f} {properties.get('currency') or ''}"
    return Line(epoch_ms(at, broker_ms), name, str(detail), "", rank)


def _merge(value: bytes) -> Line | None:
    try:
        told, packed = departure_of(value)
        came = decode_profile(packed)
    except (ValueError, KairosError):
        return None
    what = f"{came.events:,} events, {came.orders} orders, {came.money_minor / 100:,.2f}"
    return Line(told.merged_at, f"Merged: {told.previous_id}", what, "magenta", 1)
