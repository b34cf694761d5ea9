"""Users who rest: what is forgotten after a month of silence, and the small form in which their profiles lie in Redis.

Most customers of a shop are silent at any time, so this form decides what the shop needs in memory. Nothing that is
left is lost in it: the customer who returns is the one who left. It costs some microseconds more than the form of
active users, twice a month.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import asdict

from models.features.churn import grown
from models.profile import decay, version2
from models.profile.awaited import Awaited
from models.profile.person import Person, reviews_of, with_reviews
from models.profile.rest_goals import unwaited, waiting
from models.profile.state import (
    ORDERS,
    RESTING_ITEMS,
    VERSION,
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
from models.profile.update import forget_bought
from models.profile.words import NAME_NUMBERS, long, named, short

FORM, FORM_OF_2 = -VERSION, -version2.VERSION
DAY_MS = 86_400_000
AFTER_MS = 30 * DAY_MS
SENDS_MS = 60 * DAY_MS
UNTOLD_MS = 180 * DAY_MS  # sends of which nothing was heard: what became of them would not be counted any more
_HOUR_S, _DAY_S = 3600, 86_400
_ALL_PRESENT = 1 << 12


def rest(profile: Profile, at: int, caps_ms: int, orders_ms: int = 0) -> None:
    """Drop what says nothing any more about a user who has been silent until `at` (ms).

    Parameters
    ----------
    caps_ms : how long sends are needed for caps. orders_ms : how long orders are needed for refunds.
    """
    if at - profile.last_seen_ms <= AFTER_MS:
        return
    if not profile.timers:  # a mail held over the night may be looked at later than this tick, when time leaps
        profile.cart = []
    keep, keep_untold = at - max(SENDS_MS, caps_ms), at - max(UNTOLD_MS, caps_ms)
    profile.sends = [send for send in profile.sends if send.at >= (keep if send.flags else keep_untold)]
    profile.session_start = profile.session_events = 0
    decay.forget(profile, at // 1000)
    forget_bought(profile.bought, RESTING_ITEMS)
    if profile.trials:
        forget_orders(profile, at - orders_ms)
    if not profile.seen and not profile.seen_before:
        profile.seen_since = 0  # the next event begins a generation in any case


def forget_orders(profile: Profile, since: int) -> None:
    """Drop orders that no refund and no exposure can change any more; of too many the oldest."""
    trials = profile.open_trials()
    if trials.purchases:
        kept = [order for order in trials.purchases if (order.at or order.refunds[0][0]) >= since]
        trials.purchases = kept[-ORDERS:]


class Folded(msgspec.Struct, array_like=True, gc=False):
    """A profile at rest. Times count back from `last_seen` or on from `first_seen`, in seconds; see `_back`.

    Parameters
    ----------
    last_seen_part, last_order_part : milliseconds within the second.
    present, decayed : which of the twelve decayed counters are not zero, and those.
    items, bought, times, recent : ids of what was bought and then of what was looked at besides; how many were bought;
        how often, by place, where it was not once; and the recently seen ones as places in `items`.
    attributes : names and values in turn, with numbers for well-known words.
    bought_days : days of the last purchases (see `_day_runs`).
    runs : examples that differ by the days between them only: (second, 2 x count + returned, step, features).
    awaited : examples of goals (see `models.profile.rest_goals`).
    """

    form: int = FORM
    events: int = 0
    sessions: int = 0
    session_events: int = 0
    orders: int = 0
    purchase_days: int = 0
    money_minor: int = 0
    refunds: int = 0
    first_seen: int = 0
    last_seen: int = 0
    last_seen_part: int = 0
    first_order: int = 0
    last_order: int = 0
    last_order_part: int = 0
    recent_e4: int = 0
    decayed_at: int = 0
    present: int = 0
    decayed: bytes = b""
    categories_at: int = 0
    categories: dict[str, int] = {}
    items: list[str | int] = []
    bought: int = 0
    times: dict[int, int] = {}
    recent: list[int] = []
    score_e6: int = -1
    alerted: bool = False
    last_alert: int = 0
    tick_due: int = 0
    timers: list[Timer] = []
    indexed_due_ms: int = 0
    seen: list[bytes] = []
    seen_since: int = 0
    attributes: list[Any] = []
    consent: dict[str | int, bool] = {}
    consent_at: int = 0
    runs: list[list[int]] = []
    sends: list[Send] = []
    channels: dict[str | int, list[int]] = {}
    given: dict[int, Any] = {}  # of version 2: exposures, which this one has in `trials`
    cart: list[tuple[str, str, int]] = []
    answers: dict[str, int] = {}
    bought_days: list[int] = []
    trials: bytes = b""
    settled: list[int] = []
    awaited: list[Any] = []


class FoldedReviewer(Folded):
    """The same of a user who reviewed products: for the others that takes no byte."""

    reviews: list[int] = []


_decode = msgspec.msgpack.Decoder(FoldedReviewer).decode


def folded(profile: Profile) -> Folded:
    """The small form of a profile."""
    goods, person = profile.open_goods(), profile.open_person()
    contact, visit = profile.open_contact(), profile.open_visit()
    first_seen = profile.first_seen
    last_seen, last_seen_part = divmod(profile.last_seen_ms, 1000)
    last_order, last_order_part = divmod(profile.last_order_ms, 1000)
    present, decayed = _without_zeros(profile.decayed)
    places = {item: place for place, item in enumerate(dict.fromkeys([*goods.bought, *profile.recent]))}
    tick_ms = profile.tick_due * 1000
    small = Folded(
        events=profile.events,
        sessions=profile.sessions,
        session_events=profile.session_events,
        orders=profile.orders,
        purchase_days=profile.purchase_days,
        money_minor=profile.money_minor,
        refunds=profile.refunds,
        first_seen=first_seen,
        last_seen=last_seen,
        last_seen_part=last_seen_part,
        first_order=_back(profile.first_order, first_seen),
        last_order=_back(last_order, last_seen),
        last_order_part=last_order_part,
        recent_e4=profile.recent_e4,
        decayed_at=_back(profile.decayed_at, last_seen),
        present=present,
        decayed=decayed,
        categories_at=_back(profile.categories_at, last_seen),
        categories=profile.categories,
        items=[_number(item) for item in places],
        bought=len(goods.bought),
        times={place: times for place, times in enumerate(map(times_bought, goods.bought.values())) if times != 1},
        recent=[places[item] for item in profile.recent],
        score_e6=profile.score_e6,
        alerted=profile.alerted,
        last_alert=profile.last_alert,
        tick_due=profile.tick_due,
        timers=profile.timers,
        indexed_due_ms=0 if profile.indexed_due_ms == tick_ms else profile.indexed_due_ms or -1,
        seen=[profile.seen, profile.seen_before] if profile.seen or profile.seen_before else [],
        seen_since=profile.seen_since,
        attributes=short(person.attributes),
        consent={NAME_NUMBERS.get(name, name): granted for name, granted in person.consent.items()},
        consent_at=_back(person.consent_at, first_seen),
        runs=_runs(goods.samples),
        sends=contact.sends,
        channels={NAME_NUMBERS.get(name, name): counts for name, counts in contact.channels.items()},
        given=profile.given,
        cart=visit.cart,
        answers=visit.answers,
        bought_days=_day_runs([day_bought(entry) for entry in goods.bought.values()], last_seen // _DAY_S),
        trials=profile.close_trials(),
        settled=profile.settled,
        awaited=waiting(profile, last_seen) if profile.awaited else [],
    )
    reviews = reviews_of(person)
    return FoldedReviewer(**asdict(small) | {"reviews": reviews}) if reviews else small


def unfolded(packed: bytes) -> Profile:
    """The profile again."""
    found = _decode(packed)
    items = [item if isinstance(item, str) else str(item) for item in found.items]
    seen, seen_before = found.seen or (b"", b"")
    profile = Profile(
        events=found.events,
        first_seen=found.first_seen,
        last_seen_ms=found.last_seen * 1000 + found.last_seen_part,
        orders=found.orders,
        purchase_days=found.purchase_days,
        money_minor=found.money_minor,
        refunds=found.refunds,
        first_order=_forth(found.first_order, found.first_seen),
        last_order_ms=_forth(found.last_order, found.last_seen) * 1000 + found.last_order_part,
        recent_e4=found.recent_e4,
        decayed_at=_forth(found.decayed_at, found.last_seen),
        decayed=_with_zeros(found.present, found.decayed),
        sessions=found.sessions,
        session_events=found.session_events,
        categories_at=_forth(found.categories_at, found.last_seen),
        categories=found.categories,
        recent=[items[place] for place in found.recent],
        score_e6=found.score_e6,
        alerted=found.alerted,
        last_alert=found.last_alert,
        tick_due=found.tick_due,
        timers=found.timers,
        indexed_due_ms=max(0, found.indexed_due_ms or found.tick_due * 1000),
        seen=seen,
        seen_before=seen_before,
        seen_since=found.seen_since,
        goods=Goods(
            {
                item: bought_entry(found.times.get(place, 1), day)
                for place, (item, day) in enumerate(
                    zip(items, _run_days(found.bought_days, found.bought, found.last_seen // _DAY_S), strict=False)
                )
            },
            _samples(found.runs),
        ),
        person=with_reviews(
            Person(long(found.attributes), named(found.consent), _forth(found.consent_at, found.first_seen)),
            found.reviews,
        ),
        contact=Contact(found.sends, named(found.channels)),
        visit=Visit(found.cart, found.answers),
        trials=version2.trials_at_rest(found.given) if found.form == FORM_OF_2 and found.given else found.trials,
        settled=found.settled,
        given={} if found.form == FORM_OF_2 else found.given,
    )
    if found.awaited:
        profile.awaited = Awaited(unwaited(profile, found.last_seen, found.awaited))
    return profile


def _back(then: int, now: int) -> int:
    """Seconds from `then` to `now` plus one, if it was before or at `now`; those after it below 0; never: 0.

    Examples
    --------
    >>> [_back(then, 100) for then in (0, 100, 99, 101)]
    [0, 1, 2, -1]
    """
    if not then:
        return 0
    return now - then + 1 if then <= now else now - then


def _forth(back: int, now: int) -> int:
    """What :func:`_back` was made of."""
    if back > 0:
        return now - back + 1
    return now - back if back else 0


def _day_runs(days: list[int], last: int) -> list[int]:
    """Days of purchases, as (days before the user was last seen, how many in a row) in turn; 0 days: nothing.

    Examples
    --------
    >>> _day_runs([90, 90, 97, 0], 100), _run_days([11, 2, 4, 1, 0, 1], 4, 100)
    ([11, 2, 4, 1, 0, 1], [90, 90, 97, 0])
    """
    runs: list[int] = []
    for day in days:
        back = _back(day, last)
        if runs and runs[-2] == back:
            runs[-1] += 1
        else:
            runs += (back, 1)
    return [] if len(runs) == 2 and runs[0] == 0 else runs


def _run_days(runs: list[int], count: int, last: int) -> list[int]:
    """What :func:`_day_runs` was made of; of a profile that was stored without them: not known."""
    if not runs:
        return [0] * count
    return [_forth(back, last) for back, times in zip(runs[::2], runs[1::2], strict=True) for _ in range(times)]


def _number(item: str) -> str | int:
    """An id as a number, which is shorter, if that number is written like the id.

    Examples
    --------
    >>> [_number(item) for item in ("22423", "85123A", "007", "0")]
    [22423, '85123A', '007', 0]
    """
    if item.isdigit() and item.isascii() and len(item) < 19 and (item[0] != "0" or item == "0"):
        return int(item)
    return item


def _without_zeros(decayed: bytes) -> tuple[int, bytes]:
    if not decayed:
        return 0, b""
    present, kept = _ALL_PRESENT, []
    for i in range(12):
        value = decayed[4 * i : 4 * i + 4]
        if value != b"\0\0\0\0":
            present |= 1 << i
            kept.append(value)
    return present, b"".join(kept)


def _with_zeros(present: int, kept: bytes) -> bytes:
    if not present:
        return b""
    values, place = [], 0
    for i in range(12):
        if present >> i & 1:
            values.append(kept[place : place + 4])
            place += 4
        else:
            values.append(b"\0\0\0\0")
    return b"".join(values)


def _runs(samples: list[Sample]) -> list[list[int]]:
    """Examples taken in the same state at a steady pace become one entry."""
    runs: list[list[int]] = []
    last: Sample | None = None
    step, count = 0, 0
    for sample in samples:
        if last is not None and sample.returned == last.returned:
            gap = sample.at - last.at
            if gap > 0 and (gap == step or count == 1):
                days = sample.at // _DAY_S - last.at // _DAY_S
                if sample.x == grown(last.x, days):
                    step, count = gap, count + 1
                    runs[-1][1] += 2
                    runs[-1][2] = step // _HOUR_S if step % _HOUR_S == 0 else -step
                    last = sample
                    continue
        runs.append([sample.at, 2 + sample.returned, 0, *sample.x])
        last, step, count = sample, 0, 1
    return runs


def _samples(runs: list[list[int]]) -> list[Sample]:
    found = []
    for first, counted, steps, *x in runs:
        step = steps * _HOUR_S if steps >= 0 else -steps
        for i in range(counted >> 1):
            at = first + i * step
            found.append(Sample(at, grown(x, at // _DAY_S - first // _DAY_S), bool(counted & 1)))
    return found
