"""How each kind of event changes the profile. One small function per kind; all are pure and never fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from models.events import MAX_AMOUNT
from models.features.churn import DAY_MS, RECENT_HALF_LIFE_DAYS, add_purchase_day
from models.profile import decay
from models.profile.state import (
    ATTRIBUTES,
    BOUGHT_ITEMS,
    CART_ITEMS,
    CATEGORIES,
    E4,
    RECENT_ITEMS,
    Profile,
    bought_entry,
    day_bought,
    times_bought,
)
from models.wire import Input, Product, Properties

DAY_S = 86_400
CATEGORY_HALF_LIFE_S = 30 * DAY_S
_FEEDBACK_FLAGS = {
    "Email Delivered": 1,
    "Message Delivered": 1,
    "Push Notification Received": 1,
    "Email Opened": 2,
    "Email Link Clicked": 4,
    "Push Notification Tapped": 4,
}
_CHANNEL_SLOT = {1: 0, 2: 1, 4: 2}


ID_LENGTH = 64
LIMIT_MINOR = round(MAX_AMOUNT * 100)
INTEGERS = range(-(2**63), 2**63)


def to_minor(amount: float) -> int:
    """Money in minor units (hundredths), within what counters and packed profiles can hold.

    Examples
    --------
    >>> to_minor(2.55)
    255
    """
    return max(-LIMIT_MINOR, min(LIMIT_MINOR, round(amount * 100)))


def item_id(product: Product | Properties) -> str | None:
    """Id of a product: product_id, else sku."""
    found = product.product_id if product.product_id is not None else product.sku
    if type(found) is str and 0 < len(found) <= ID_LENGTH:  # nearly every one
        return found
    return None if found is None or found == "" else str(found)[:ID_LENGTH]


def order_value_minor(properties: Properties) -> int:
    """Value of an order: revenue, else total, else the sum of price x quantity."""
    if properties.revenue is not None:
        return to_minor(properties.revenue)
    if properties.total is not None:
        return to_minor(properties.total)
    lines = properties.products or ()
    found = sum(to_minor((line.price or 0.0) * (1.0 if line.quantity is None else line.quantity)) for line in lines)
    return max(-LIMIT_MINOR, min(LIMIT_MINOR, found))


def touch(profile: Profile, at_ms: int, session_gap_ms: int) -> None:
    """Note that the user was there and keep the session. A late event moves nothing."""
    last = profile.last_seen_ms
    if at_ms < last:
        if profile.first_seen == 0 or at_ms // 1000 < profile.first_seen:
            profile.first_seen = at_ms // 1000
        return
    if profile.first_seen == 0:
        profile.first_seen = at_ms // 1000
    if at_ms - last > session_gap_ms:
        profile.sessions += 1
        profile.session_start = at_ms // 1000
        profile.session_events = 1
    else:
        profile.session_events += 1
    profile.last_seen_ms = at_ms


def remember_item(profile: Profile, item: str) -> None:
    """The item was looked at: it is the newest of the recent ones."""
    recent = profile.recent
    if item in recent:
        recent.remove(item)
    recent.append(item)
    if len(recent) > RECENT_ITEMS:
        del recent[0]


def _like_category(profile: Profile, category: str, amount: int, at: int) -> None:
    categories = profile.categories
    passed = at - profile.categories_at
    if passed > 3600 and categories:  # decayed by the hour: finer steps change nothing anyone can see
        factor = 0.5 ** (passed / CATEGORY_HALF_LIFE_S)
        profile.categories = categories = {k: round(v * factor) for k, v in categories.items()}
    if passed > 3600:
        profile.categories_at = at
    categories[category] = categories.get(category, 0) + amount * E4
    if len(categories) > CATEGORIES:
        del categories[_least_liked(categories)]


def _least_liked(categories: dict[str, int]) -> str:
    """The category liked least; of equals the first by name. A loop: a third of the time of `min` over pairs."""
    found, least = "", INTEGERS.stop
    for name, liking in categories.items():
        if liking < least or (liking == least and name < found):
            found, least = name, liking
    return found


def viewed(profile: Profile, event: Input) -> None:
    """A product or a list of products was looked at."""
    at = event.at // 1000
    decay.bump(profile, decay.VIEWS, 1.0, at)
    properties = event.properties
    item = item_id(properties)
    if item is not None:
        remember_item(profile, item)
    if properties.category:
        _like_category(profile, properties.category[:64], 1, at)


def added(profile: Profile, event: Input) -> None:
    """A product was put into the cart."""
    at = event.at // 1000
    decay.bump(profile, decay.ADDS, 1.0, at)
    properties = event.properties
    item = item_id(properties)
    if item is not None:
        remember_item(profile, item)
        if event.at > profile.last_order_ms and item not in [line[0] for line in profile.cart]:
            profile.cart.append((item, (properties.name or item)[:80], to_minor(properties.price or 0.0)))
            if len(profile.cart) > CART_ITEMS:
                del profile.cart[0]
    if properties.category:
        _like_category(profile, properties.category[:64], 2, at)


def removed(profile: Profile, event: Input) -> None:
    """A product was taken out of the cart."""
    item = item_id(event.properties)
    profile.cart = [line for line in profile.cart if line[0] != item]


def ordered(profile: Profile, event: Input) -> None:
    """An order was completed."""
    at, day = event.at // 1000, event.at // DAY_MS
    value = order_value_minor(event.properties)
    if profile.orders == 0:
        profile.purchase_days, profile.recent_e4 = 1, E4
        profile.first_order, profile.last_order_ms = at, event.at
    else:
        last_day, first_day = profile.last_order_ms // DAY_MS, profile.first_order // DAY_S
        if day > last_day:
            profile.purchase_days += 1
            profile.recent_e4 = round(add_purchase_day(profile.recent_purchases, day - last_day) * E4)
        elif day not in (last_day, first_day):  # late, and a day of its own as far as the profile can tell
            profile.purchase_days += 1
            profile.recent_e4 += round(2.0 ** ((day - last_day) / RECENT_HALF_LIFE_DAYS) * E4)
        profile.first_order = min(profile.first_order, at)
        profile.last_order_ms = max(profile.last_order_ms, event.at)
    profile.orders += 1
    profile.money_minor += value
    decay.bump(profile, decay.ORDERS, 1.0, at)
    decay.bump(profile, decay.SPEND, value / 100, at)
    bought = []
    for line in event.properties.products or ():
        item = item_id(line)
        if item is None:
            continue
        bought.append(item)
        if line.category:
            _like_category(profile, line.category[:64], 3, at)
    remember_bought(profile.bought, bought, day)
    if profile.cart and event.at >= profile.last_order_ms:
        profile.cart = []


def remember_bought(bought: dict[str, int], items: Iterable[str], day: int, most: int = BOUGHT_ITEMS) -> None:
    """Add the items of an order to what a user bought; the ones bought least often go, the longest ago first."""
    for item in items:
        entry = bought.pop(item, 0)  # moved to the end: the order of the keys is recency
        bought[item] = bought_entry(times_bought(entry) + 1, max(day, day_bought(entry)))
    forget_bought(bought, most)


def forget_bought(bought: dict[str, int], most: int) -> None:
    """Keep at most so many items."""
    if len(bought) > most:
        places = {item: place for place, item in enumerate(bought)}
        for item in sorted(bought, key=lambda one: (times_bought(bought[one]), places[one]))[: len(bought) - most]:
            del bought[item]


def refunded(profile: Profile, event: Input) -> None:
    """An order was refunded or cancelled, wholly or in part."""
    profile.refunds += 1
    profile.money_minor -= abs(order_value_minor(event.properties))


def identified(profile: Profile, event: Input) -> None:
    """Attributes and consent that the user told us."""
    for told, value in (event.traits or {}).items():
        name = told[:64]
        if name == "consent" and isinstance(value, dict):
            _consent(profile, {str(k)[:32]: bool(v) for k, v in value.items()}, event.at)
        elif value is None:
            profile.attributes.pop(name, None)
        elif isinstance(value, str | int | float | bool):
            kept: Any = value[:200] if isinstance(value, str) else value
            if isinstance(value, int) and value not in INTEGERS:
                kept = str(value)[:200]
            if name in profile.attributes or len(profile.attributes) < ATTRIBUTES:
                profile.attributes[name] = kept


def _consent(profile: Profile, said: dict[str, bool], at_ms: int) -> None:
    """Consent as of `at_ms`. A refusal always counts; a grant does not undo what was said after it but came before."""
    at, person = at_ms // 1000, profile.open_person()
    late, consent = at < person.consent_at, person.consent
    for channel, granted in said.items():
        known = channel in consent
        if (known or len(consent) < ATTRIBUTES) and not (late and granted and known):
            consent[channel] = granted
    person.consent_at = max(person.consent_at, at)


def unsubscribed(profile: Profile, event: Input) -> None:
    """No more marketing through the channel that the event names (without one: e-mail)."""
    channel = event.document()["properties"].get("channel")
    _consent(profile, {channel if isinstance(channel, str) and channel else "email": False}, event.at)


def complained(profile: Profile, _: Input) -> None:
    """A hard bounce or a complaint: the address is not written to any more, not even transactionally."""
    profile.consent["suppressed"] = True


def feedback(profile: Profile, event: Input) -> int:
    """What became of a message. Returns the flag that is new for that message (see `Send.flags`), 0 if none."""
    flag = _FEEDBACK_FLAGS.get(event.name, 0)
    message_id = event.properties.message_id
    if not flag or message_id is None:
        return 0
    channel = "push" if event.name.startswith("Push") else "email" if event.name.startswith("Email") else "log"
    try:
        digest = bytes.fromhex(message_id)[:8]
    except ValueError:
        return 0
    for send in profile.sends:
        if send.digest == digest:
            if send.flags & flag:
                return 0
            send.flags |= flag
            counts = profile.channels.setdefault(channel, [0, 0, 0])
            counts[_CHANNEL_SLOT[flag]] += 1
            return flag
    return 0


HANDLERS: dict[str, Callable[[Profile, Input], Any]] = {
    "Product Viewed": viewed,
    "Product Clicked": viewed,
    "Product List Viewed": viewed,
    "page": viewed,
    "screen": viewed,
    "Product Added": added,
    "Wishlist Product Added to Cart": added,
    "Product Removed": removed,
    "Order Completed": ordered,
    "Order Refunded": refunded,
    "Order Cancelled": refunded,
    "identify": identified,
    "Unsubscribed": unsubscribed,
    "Email Bounced": complained,
    "Email Marked as Spam": complained,
}
