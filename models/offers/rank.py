"""Rank items and offers for one user.

Score of an item = co-visitation with what the user saw and bought + the user's own frequency + a little of what is
popular now (all of it for a newcomer: the cold start). With probability `explore` the first place goes to a random
one of the list, so that its effect can be learned later; the propensity says how likely each place was.
"""

from __future__ import annotations

from collections.abc import Callable

import xxhash

from config.definitions import Offer, OfferPolicy
from models.decisions import RankedOffer
from models.offers.recs import Recs
from models.profile.state import Profile

RECENT_WEIGHT = 0.6
BOUGHT_WEIGHT = 1.0
FREQUENCY_WEIGHT = 1.6
POPULAR_WEIGHT = 0.4
EXTRA_OFFERS = 2


def draw(*parts: str) -> float:
    """Deterministic number in [0, 1) from what identifies the decision.

    Examples
    --------
    >>> draw("u1", "m1") == draw("u1", "m1")
    True
    """
    return xxhash.xxh3_64_intdigest("\x1f".join(parts).encode()) / 2**64


def rank_items(profile: Profile, recs: Recs, *, size: int, repeats: bool) -> list[tuple[str, float, str]]:
    """Best items as (item, score, reason), best first; equal scores by item id."""
    scores: dict[str, float] = {}
    because: dict[str, tuple[float, str]] = {}
    sources: list[tuple[str, float]] = []
    # The order of `bought` and `recent` is recency: later ones weigh more.
    for place, (item, times) in enumerate(reversed(profile.bought.items())):
        weight = min(times, 4) / (1.0 + 0.15 * place)
        sources.append((item, BOUGHT_WEIGHT * weight))
        if repeats:
            scores[item] = FREQUENCY_WEIGHT * (times - 0.5) / (1.0 + 0.1 * place)
            because[item] = (scores[item], "bought before")
    for place, item in enumerate(reversed(profile.recent)):
        sources.append((item, RECENT_WEIGHT / (1.0 + 0.2 * place)))
    for item, weight in sources:
        for other, strength in recs.neighbours.get(item, ()):
            share = weight * strength
            scores[other] = scores.get(other, 0.0) + share
            if share > because.get(other, (0.0, ""))[0]:
                name = recs.items.get(item, (None,))[0]
                because[other] = (share, f"often bought with {name}" if name else "often bought together")
    if recs.popular:
        top = recs.popular[0][1] or 1.0
        for item, strength in recs.popular[: 4 * size]:
            share = POPULAR_WEIGHT * strength / top
            scores[item] = scores.get(item, 0.0) + share
            if share > because.get(item, (0.0, ""))[0]:
                because[item] = (share, "popular right now")
    if not repeats:
        for item in profile.bought:
            scores.pop(item, None)
    best = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:size]
    return [(item, round(score, 4), because[item][1]) for item, score in best]


def propensity(i: int, place: int, n: int, explore: float) -> float:
    """Probability that the item ranked `i` (0 = best) of `n` stands at `place`.

    With probability `explore` one of the `n`, drawn uniformly, is moved to the front.

    Examples
    --------
    >>> propensity(0, 0, 10, 0.05), propensity(3, 0, 10, 0.05)
    (0.955, 0.005)
    """
    if place == i:
        return 1.0 - explore + explore * max(i, 1) / n
    if place == i + 1:
        return explore * (n - 1 - i) / n
    return explore / n if place == 0 else 0.0


def rank_offers(
    profile: Profile,
    user: str,
    recs: Recs,
    offers: tuple[Offer, ...],
    policy: OfferPolicy,
    *,
    at: int,
    occurrence: str,
    eligible: Callable[[Offer], bool],
) -> list[RankedOffer]:
    """Ranked answer: `policy.size` items, each as the best item offer that may be made for it, then other offers."""
    open_offers = [offer for offer in offers if offer.enabled and offer.valid_at(at) and eligible(offer)]
    open_offers.sort(key=lambda offer: (-offer.priority, offer.id))
    per_item = [offer for offer in open_offers if offer.kind != "shipping"]
    base = rank_items(profile, recs, size=policy.size, repeats=policy.repeats == "allow") if per_item else []
    chosen = 0
    explore = policy.explore if len(base) > 1 else 0.0
    number = draw("explore", user, occurrence)
    if number < explore:
        chosen = min(int(number / explore * len(base)), len(base) - 1)
    order = [i for i in range(len(base)) if i != chosen]
    if base:
        order.insert(0, chosen)
    answer: list[RankedOffer] = []
    for place, i in enumerate(order):
        item, score, reason = base[i]
        offer = next((o for o in per_item if _fits(o, item)), None)
        if offer is None:
            continue
        name, price = recs.items.get(item, ("", None))
        chance = round(propensity(i, place, len(base), explore), 6)
        answer.append(RankedOffer(offer.id, item, name, score, reason, chance, price))
    best = answer[0].name if answer else ""
    extra = [offer for offer in open_offers if offer.kind == "shipping"][:EXTRA_OFFERS]
    return answer + [RankedOffer(o.id, None, _named(o, best), 0.0, o.description or "eligible", 1.0) for o in extra]


def _named(offer: Offer, best: str) -> str:
    """The offer's text with the best item in it; what it is, while no item is known."""
    if not best and "{item}" in offer.text:
        return offer.description or offer.id
    return offer.text.format(item=best)


def _fits(offer: Offer, item: str) -> bool:
    # The catalogue knows no categories: an offer for some of them only is made for none, rather than for all.
    return not offer.categories and (not offer.items or item in offer.items)
