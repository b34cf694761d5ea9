"""Two profiles of one person become one: what becomes of each part of them.

Sums add up, moments are the first or the last, and what decays is decayed to the same moment before it is added: there
the order of merges means nothing. It means something in three places only: attributes that both have are the target's,
an index entry belongs to the target's key, and so do marks of experiments, which hang on the user id. docs/identity.md
has the table.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from models.decisions import effect_id
from models.experiments.unite import trials_of_both
from models.features.churn import DAY_MS, RECENT_HALF_LIFE_DAYS
from models.profile import decay, dedupe
from models.profile.awaited import Awaited, GoalSample
from models.profile.person import Person, reviews_of, with_reviews
from models.profile.rest_goals import RAW
from models.profile.state import (
    ATTRIBUTES,
    BOUGHT_ITEMS,
    CART_ITEMS,
    CATEGORIES,
    E4,
    RECENT_ITEMS,
    Contact,
    Goods,
    Profile,
    Sample,
    Send,
    Timer,
    Visit,
    bought_entry,
    day_bought,
    times_bought,
)
from models.profile.update import CATEGORY_HALF_LIFE_S, DAY_S, forget_bought
from models.reviews import of_both

SAMPLES = 64
STEP = "1"
SUPPRESSED = "suppressed"


def merge(target: Profile, source: Profile, user: str = "", session_gap_ms: int = 30 * 60_000) -> Profile:
    """Profile of the person that both are; neither is changed, but their sections are open afterwards.

    Parameters
    ----------
    target : whose id remains. source : whose id is given up.
    user : the id that remains, for the ids of messages that are held over the night ("": they keep theirs).
    session_gap_ms : silence that ends a visit.
    """
    older, newer = sorted((target, source), key=_seen_last)
    sessions, session_start, session_events = _visits(older, newer, session_gap_ms)
    decayed_at, decayed = decay.total(target, source)
    categories_at, categories = _categories(target, source)
    seen, seen_before, seen_since = dedupe.union(target, source)
    sends = [*target.sends, *_readdressed(source, user)]
    return Profile(
        events=target.events + source.events,
        first_seen=_first(target.first_seen, source.first_seen),
        last_seen_ms=newer.last_seen_ms,
        orders=target.orders + source.orders,
        purchase_days=_purchase_days(target, source),
        money_minor=target.money_minor + source.money_minor,
        refunds=target.refunds + source.refunds,
        first_order=_first(target.first_order, source.first_order),
        last_order_ms=max(target.last_order_ms, source.last_order_ms),
        recent_e4=_recent_purchases(target, source),
        decayed_at=decayed_at,
        decayed=decayed,
        sessions=sessions,
        session_start=session_start,
        session_events=session_events,
        categories_at=categories_at,
        categories=categories,
        recent=list(dict.fromkeys([*older.recent, *newer.recent][::-1]))[:RECENT_ITEMS][::-1],
        score_e6=max(target.score_e6, source.score_e6),
        alerted=target.alerted or source.alerted,
        last_alert=max(target.last_alert, source.last_alert),
        tick_due=_first(target.tick_due, source.tick_due),
        timers=_timers([*target.timers, *source.timers]),
        indexed_due_ms=target.indexed_due_ms,
        seen=seen,
        seen_before=seen_before,
        seen_since=seen_since,
        goods=Goods(_bought(older, newer), _samples(target, source)),
        person=_person(target, source),
        contact=Contact(_sends(sends), _channels(target, source)),
        visit=Visit(_cart(older, newer), _answers(target, source)),
        trials=trials_of_both(target.open_trials(), source.open_trials()),
        settled=list(target.settled),
        given=_given(target, source),
        awaited=_awaited(target, source),
    )


def _seen_last(profile: Profile) -> tuple[int, list[str]]:
    return profile.last_seen_ms, profile.recent


def _first(one: int, other: int) -> int:
    """The earlier of two moments, of which 0 is none."""
    return min(one, other) if one and other else one or other


def _purchase_days(one: Profile, other: Profile) -> int:
    """Days with an order. A profile knows its first and its last; one of these that both have counts once."""
    total = one.purchase_days + other.purchase_days
    if not one.orders or not other.orders:
        return total
    mine, theirs = ({p.first_order // DAY_S, p.last_order_ms // DAY_MS} for p in (one, other))
    span = max(mine | theirs) - min(mine | theirs) + 1
    return min(total - len(mine & theirs), span)


def _recent_purchases(one: Profile, other: Profile) -> int:
    days = [profile.last_order_ms // DAY_MS for profile in (one, other)]
    if not one.orders or not other.orders:
        return one.recent_e4 + other.recent_e4
    last = max(days)
    counts = [profile.recent_e4 for profile in (one, other)]
    total = sum(held * 2.0 ** ((day - last) / RECENT_HALF_LIFE_DAYS) for held, day in zip(counts, days, strict=True))
    return round(float(total)) - (E4 if days[0] == days[1] else 0)


def _visits(older: Profile, newer: Profile, gap_ms: int) -> tuple[int, int, int]:
    """How many, and start and events of the last one: who looks around and then signs in is one visitor."""
    sessions = older.sessions + newer.sessions
    if older.session_start and newer.session_start and newer.session_start * 1000 - older.last_seen_ms <= gap_ms:
        start = min(older.session_start, newer.session_start)
        return sessions - 1, start, older.session_events + newer.session_events
    if not newer.sessions:
        return sessions, older.session_start, older.session_events
    return sessions, newer.session_start, newer.session_events


def _categories(one: Profile, other: Profile) -> tuple[int, dict[str, int]]:
    at = max(one.categories_at, other.categories_at)
    weights: dict[str, int] = {}
    for profile in (one, other):
        factor = 0.5 ** (max(0, at - profile.categories_at) / CATEGORY_HALF_LIFE_S)
        for name, weight in profile.categories.items():
            weights[name] = weights.get(name, 0) + round(weight * factor)
    liked = sorted(weights, key=lambda name: (-weights[name], name))[:CATEGORIES]
    return at, {name: weights[name] for name in liked}


def _bought(older: Profile, newer: Profile) -> dict[str, int]:
    """Days tell which was bought last; of one day, what the one bought who was seen last."""
    entries: dict[str, int] = {}
    places: dict[str, tuple[int, int, int]] = {}
    for rank, profile in enumerate((older, newer)):
        for place, (item, entry) in enumerate(profile.bought.items()):
            held = entries.get(item, 0)
            day = max(day_bought(held), day_bought(entry))
            entries[item] = bought_entry(times_bought(held) + times_bought(entry), day)
            places[item] = max(places.get(item, (0, 0, 0)), (day_bought(entry), rank, place))
    found = {item: entries[item] for item in sorted(entries, key=lambda item: places[item])}
    forget_bought(found, BOUGHT_ITEMS)
    return found


def _samples(target: Profile, source: Profile) -> list[Sample]:
    """Examples of both: each says what was known of one of them then. One second has one example."""
    found = {sample.at: sample for sample in [*source.samples, *target.samples]}
    kept = [found[at] for at in sorted(found)][-SAMPLES:]
    return [Sample(sample.at, list(sample.x), sample.returned) for sample in kept]


def _person(target: Profile, source: Profile) -> Person:
    """The target's attributes, and what only the source told. Consent: a refusal by either stays one."""
    mine, theirs = target.open_person(), source.open_person()
    attributes: dict[str, Any] = dict(target.attributes)
    for name, value in source.attributes.items():
        if len(attributes) < ATTRIBUTES:
            attributes.setdefault(name, value)
    consent: dict[str, bool] = {}
    for channel in (*target.consent, *source.consent):
        said = [held[channel] for held in (target.consent, source.consent) if channel in held]
        consent[channel] = any(said) if channel == SUPPRESSED else all(said)
    if len(consent) > ATTRIBUTES:  # silence is no consent: what refuses is kept
        ranked = sorted(consent, key=lambda channel: (consent[channel] and channel != SUPPRESSED, channel))
        consent = {channel: consent[channel] for channel in ranked[:ATTRIBUTES]}
    person = Person(attributes, consent, max(mine.consent_at, theirs.consent_at))
    return with_reviews(person, of_both(reviews_of(mine), reviews_of(theirs)))


def _timers(timers: list[Timer]) -> list[Timer]:
    """Of waits of one campaign the one that began last; every message that is held over the night, and every offer."""
    found: dict[tuple[str, ...], Timer] = {}
    for timer in timers:
        which = (timer.kind, timer.rule, *([timer.occurrence] if timer.kind != "campaign" else []))
        held = found.get(which)
        if held is None or _began(timer) > _began(held):
            found[which] = timer
    return sorted(found.values(), key=lambda timer: (timer.due, timer.rule, timer.kind, timer.occurrence))


def _began(timer: Timer) -> tuple[int, int, str]:
    return timer.set_at, timer.due, timer.occurrence


def _readdressed(source: Profile, user: str) -> list[Send]:
    """Sends of the source. The id of a message that is still held will be made with the user who gets it."""
    held = {(timer.due, timer.rule): timer for timer in source.timers if timer.kind == "release"}
    found = []
    for send in source.sends:
        timer = held.get((send.at, send.campaign)) if user else None
        digest = send.digest
        if timer is not None:
            digest = bytes.fromhex(effect_id(send.campaign, STEP, user, timer.occurrence))[:8]
        found.append(Send(send.at, send.campaign, digest, send.flags, send.marketing))
    return found


def _sends(sends: list[Send]) -> list[Send]:
    """All of them: caps hold for the person. Decide lets go of those that no cap counts."""
    found: dict[bytes, Send] = {}
    for send in sends:
        held = found.setdefault(send.digest, Send(send.at, send.campaign, send.digest, 0, send.marketing))
        held.flags |= send.flags
    return sorted(found.values(), key=lambda send: (send.at, send.digest))


def _channels(one: Profile, other: Profile) -> dict[str, list[int]]:
    found = {name: list(counts) for name, counts in sorted(one.channels.items())}
    for name, counts in other.channels.items():
        found[name] = [a + b for a, b in zip(found.get(name, [0, 0, 0]), counts, strict=True)]
    return found


def _cart(older: Profile, newer: Profile) -> list[tuple[str, str, int]]:
    """Lines of both, but for a cart that was left before the other one ordered: it says nothing any more."""
    lines: dict[str, tuple[str, str, int]] = {}
    for profile, other in ((older, newer), (newer, older)):
        if other.last_order_ms <= profile.last_seen_ms:
            for line in profile.cart:
                lines.pop(line[0], None)
                lines[line[0]] = line
    return list(lines.values())[-CART_ITEMS:]


def _answers(one: Profile, other: Profile) -> dict[str, int]:
    found = dict(one.answers)
    for name, at in other.answers.items():
        found[name] = max(at, found.get(name, 0))
    return found


def _awaited(one: Profile, other: Profile) -> Awaited:
    """Of two examples of one goal that are open the older one; what either reached, the person has."""
    found: dict[int, GoalSample] = {}
    for sample in [*one.goal_samples, *other.goal_samples]:
        held = found.get(sample.code)
        if held is not None:
            first = min(held, sample, key=_earlier)
            found[sample.code] = replace(first, reached=held.reached or sample.reached)
        else:
            found[sample.code] = sample
    return Awaited([found[code] for code in sorted(found)])


def _earlier(sample: GoalSample) -> tuple[int, int, list[int], str]:
    """What the older of two examples is told by; of what is known about users words and numbers do not compare."""
    return sample.at, sample.p_e4, sample.x[:RAW], str(sample.x[RAW:])


def _given(one: Profile, other: Profile) -> dict[int, list[int]]:
    """When each capped offer was given to either: caps hold for the person."""
    codes = sorted({*one.given, *other.given})
    return {code: sorted([*one.given.get(code, ()), *other.given.get(code, ())]) for code in codes}
