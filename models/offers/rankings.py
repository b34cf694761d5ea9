"""Recommended lists that customers were shown, and what came of the products in them, by place in the list.

A list that was recommended has an id; the site sends it back as `list_id` of `Product List Viewed`. From then on, until
the window ends, it lies with the customer, in a timer: nobody else carries anything, and what is no answer to a list
that was recommended is told apart without reading it again. Everything is counted in the transaction of the event.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from config.codes import code32
from config.rules import RecommendationPolicy
from models.decisions import effect_id
from models.profile.state import Profile, Timer
from models.profile.update import ID_LENGTH, INTEGERS, item_id, to_minor
from models.wire import Input

if TYPE_CHECKING:
    from models.decide import Turn

VIEWED_EVENT, CLICKED_EVENT, ADDED_EVENT = "Product List Viewed", "Product Clicked", "Product Added"
KIND: Final = "ranking"
OPEN: Final = 5  # lists of one customer at a time
PLACES: Final = 20  # of longer lists the rest is not counted
DECIDED, ASKED, OTHER, SIMULATED = "offers", "asked", "other", "simulated"
PRODUCTS: Final = "recs-products"
DAY_MS: Final = 86_400_000
_CLICKED, _ADDED, _BOUGHT = 1, 2, 4
_FLAGS = {_CLICKED: "clicked", _ADDED: "added", _BOUGHT: "bought"}
_ID = re.compile(r"(?:([a-z0-9]+(?:-[a-z0-9]+)*):)?([0-9a-f]{32})")
# Nearly every event is told apart by such a look at its bytes. Without a quote before the name: several times faster.
_ANY_LIST = re.compile(rb'list_id"')
_RANKING = re.compile(rb'list_id"\s*:\s*"(?:[a-z0-9-]{1,64}:)?[0-9a-f]{32}"')


class Held(msgspec.Struct, array_like=True, gc=False):
    """What is kept of a list: four bytes a product (CRC-32), one byte each of its place and of what came of it."""

    items: bytes = b""
    places: bytes = b""
    flags: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Held).decode


def counter_key(name: str) -> str:
    """Counter hash of a list.

    Fields: ``d|<day>|<what>`` by day of event time (since 1970), ``p|<place>|<what>`` by place.
    """
    return f"recs:{name}"


def ranking_id(name: str, user: str, at: int, snapshot: int, items: Iterable[str]) -> str:
    """Id of an answer over HTTP: the same products at the same time are the same list.

    Examples
    --------
    >>> ranking_id("home", "u1", 0, 1, ["a", "b"])[:5]
    'home:'
    """
    return f"{name}:" + effect_id("recs", name, user, "\x1f".join((str(at), str(snapshot), *items)))


def list_of(told: object, policy: RecommendationPolicy) -> tuple[str, str] | None:
    """Name of the list and id of the ranking that a `list_id` names; None if it is none of ours.

    Examples
    --------
    >>> list_of("home:" + 32 * "a", RecommendationPolicy(lists=("home",)))[0], list_of("sale", RecommendationPolicy())
    ('home', None)
    """
    found = _ID.fullmatch(told) if isinstance(told, str) else None
    if found is None:
        return None
    name = found[1] or DECIDED
    return name if name in {DECIDED, ASKED, SIMULATED, *policy.lists} else OTHER, found[2]


def on_list(turn: Turn, profile: Profile, event: Input) -> None:
    """A list was shown. If Kairos recommended it: each product counts once as shown, at its place."""
    if _RANKING.search(event.record.value or b"") is None:
        return
    properties, policy = event.document()["properties"], turn.brain.definitions.policy.recommendations
    found, shown = list_of(properties.get("list_id"), policy), _shown(properties.get("products"))
    if found is None or not shown:
        return
    name, ranking = found
    timer = _open(turn, profile, event, name, ranking)
    if timer is None:
        return
    held = _decode(timer.held)
    items, places, before = bytearray(held.items), bytearray(held.places), len(held.places)
    count, key, known = turn.out.count, counter_key(name), turn.brain.recs.index
    for item, place in shown:
        code = code32(item).to_bytes(4)
        if len(places) < PLACES and _number(items, code) < 0:
            items += code
            places.append(place)
            count(key, f"p|{place}|shown")
            if item in known:
                count(PRODUCTS, f"shown|{item}")
    more = len(places) - before
    if more:
        count(key, f"d|{event.at // DAY_MS}|shown", more)
        timer.held = _encode(Held(bytes(items), bytes(places), held.flags + bytes(more)))


def on_click(turn: Turn, profile: Profile, event: Input) -> None:
    """A product was clicked: in the list that the event names, or in the newest one that shows it."""
    value = event.record.value or b""
    named = _RANKING.search(value)
    if named is None and (not profile.timers or _ANY_LIST.search(value)):
        return  # nothing was shown, or it was another list
    item = item_id(event.properties)
    if named is None:
        _came(turn, profile, event, item, _CLICKED)
        return
    found = list_of(event.document()["properties"].get("list_id"), turn.brain.definitions.policy.recommendations)
    if found is not None and not _came(turn, profile, event, item, _CLICKED, ranking=found[1]):
        turn.out.count(counter_key(found[0]), f"d|{event.at // DAY_MS}|stray")


def on_added(turn: Turn, profile: Profile, event: Input) -> None:
    """A product was put into the cart: it counts for the list in which it was clicked last, else shown last."""
    if profile.timers:
        _came(turn, profile, event, item_id(event.properties), _ADDED)


def on_order(turn: Turn, profile: Profile, event: Input) -> None:
    """Products of an order count like those that were put into the cart, with units and money."""
    if not any(timer.kind == KIND for timer in profile.timers):
        return
    bought: dict[str, list[int]] = {}
    for line in event.properties.products or ():
        item, quantity = item_id(line), 1.0 if line.quantity is None else line.quantity
        if item is not None and quantity > 0:
            sums = bought.setdefault(item, [0, 0])
            sums[0] += max(int(quantity), 1)
            sums[1] += to_minor((line.price or 0.0) * quantity)
    for item, (units, money) in bought.items():
        _came(turn, profile, event, item, _BOUGHT, units=units, money_minor=money)


def _shown(products: object) -> list[tuple[str, int]]:
    """Products of a list with their places from 1 on; of those that tell none, in the order in which they stand."""
    found: list[tuple[str, int]] = []
    lines = products if isinstance(products, list) else []
    told = [_place(line) for line in lines]
    first = 1 if 0 in told else 0  # a site that counts from 0
    for number, (line, place) in enumerate(zip(lines, told, strict=True), 1):
        item, stands = _item(line), number if place is None else place + first
        if item and 1 <= stands <= PLACES:
            found.append((item, stands))
    return found


def _place(line: object) -> int | None:
    place = line.get("position") if isinstance(line, dict) else None
    if isinstance(place, str) and place.isdecimal() and len(place) < 9:
        return int(place)
    return place if type(place) is int and place in INTEGERS else None


def _item(line: Any) -> str:
    """Id of a product as :func:`models.profile.update.item_id` has it."""
    if not isinstance(line, dict):
        return ""
    found = line.get("product_id")
    found = line.get("sku") if found is None else found
    return str(found)[:ID_LENGTH] if type(found) in {str, int} else ""


def _open(turn: Turn, profile: Profile, event: Input, name: str, ranking: str) -> Timer | None:
    """What is kept of the list, from now on if it was not shown before; None where its window is over already."""
    at, key = event.at, counter_key(name)
    standing = [timer for timer in profile.timers if timer.kind == KIND and at < timer.due]
    for timer in standing:
        if timer.occurrence == ranking:
            return timer
    due = at + turn.brain.definitions.policy.recommendations.within_ms
    if due <= turn.watermark_before:
        turn.out.count(key, f"d|{at // DAY_MS}|late")
        return None
    if len(standing) >= OPEN:  # one that nobody answered goes first
        least = min(standing, key=lambda one: (any(_decode(one.held).flags), one.set_at, one.occurrence))
        profile.timers.remove(least)
    made = Timer(due, KIND, f"list:{name}", at, ranking, _encode(Held()))
    profile.timers.append(made)
    turn.out.count(key, f"d|{at // DAY_MS}|rankings")
    return made


def _came(
    turn: Turn,
    profile: Profile,
    event: Input,
    item: str | None,
    flag: int,
    *,
    ranking: str | None = None,
    units: int = 0,
    money_minor: int = 0,
) -> bool:
    """Count an answer for one list that shows the product, once. Returns whether there is such a list."""
    if item is None:
        return False
    at, code = event.at, code32(item).to_bytes(4)
    best: tuple[tuple[bool, int, str], Timer, Held, int] | None = None
    for timer in profile.timers:
        if (
            timer.kind != KIND
            or code not in timer.held
            or not timer.set_at <= at < timer.due
            or ranking not in {None, timer.occurrence}
        ):
            continue
        held = _decode(timer.held)
        number = _number(held.items, code)
        if number >= 0:
            rank = bool(held.flags[number] & _CLICKED) and flag != _CLICKED, timer.set_at, timer.occurrence
            if best is None or rank > best[0]:
                best = rank, timer, held, number
    if best is None:
        return False
    _, timer, held, number = best
    before = held.flags[number]
    if before & flag:
        return True
    name = timer.rule.partition(":")[2]
    if flag == _CLICKED and not any(one & _CLICKED for one in held.flags):
        turn.out.count(counter_key(name), f"d|{at // DAY_MS}|rankings_clicked")
    held.flags = held.flags[:number] + bytes([before | flag]) + held.flags[number + 1 :]
    timer.held = _encode(held)
    more = {"units": units, "money_minor": money_minor} if flag == _BOUGHT else {}
    if more and before & _CLICKED:
        more |= {"clicked_bought": 1, "clicked_minor": money_minor}
    _count(turn, name, at, held.places[number], item, **{_FLAGS[flag]: 1}, **more)
    return True


def _number(items: bytes | bytearray, code: bytes) -> int:
    """Which of the products has the code; -1: none."""
    at = items.find(code)
    while at % 4 and at >= 0:
        at = items.find(code, at + 1)
    return at // 4


def _count(turn: Turn, name: str, at: int, place: int, item: str, **by: int) -> None:
    """Count for the day, for the place, and for a product that the recommender knows: those are bounded in number."""
    count, key, known = turn.out.count, counter_key(name), item in turn.brain.recs.index
    for what, amount in by.items():
        count(key, f"d|{at // DAY_MS}|{what}", amount)
        count(key, f"p|{place}|{what}", amount)
        if known and what in {"clicked", "bought", "money_minor"}:
            count(PRODUCTS, f"{what}|{item}", amount)
