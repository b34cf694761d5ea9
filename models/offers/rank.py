"""Rank items and offers for one user.

Candidates are what the user bought before, what goes with it and with what was viewed, what similar users bought and
what is popular now (all there is for a newcomer: the cold start). The online-learned re-ranker orders them. With
probability `explore` the first place goes to a random one of the list, so that its effect can be learned later; the
propensity says how likely each place was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from config.definitions import Offer, OfferPolicy
from models.decisions import RankedOffer
from models.offers.candidates import KINDS, LIKE_YOU, Candidates, find
from models.offers.limits import Limits, earned_minor
from models.offers.pairs import Rules
from models.offers.past import Past, past_of
from models.offers.recs import Recs
from models.profile.state import Profile, times_bought

DAY_MS = 86_400_000

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
EXTRA_OFFERS = 2
Chooser: TypeAlias = Callable[[Sequence[Offer]], Offer]
EARNING_AMONG = 3  # lists as long as this are reordered by what products earn


def draw(*parts: str) -> float:
    """Deterministic number in [0, 1) from what identifies the decision.

    Examples
    --------
    >>> draw("u1", "m1") == draw("u1", "m1")
    True
    """
    return xxhash.xxh3_64_intdigest("\x1f".join(parts).encode()) / 2**64


class Ranked(msgspec.Struct, frozen=True, gc=False):
    """An item in a user's list: score in log-odds, and why."""

    item: str
    score: float
    reason: str


def rank_items(  # noqa: PLR0913 - what a list may hang on
    past: Past,
    recs: Recs,
    *,
    day: int,
    size: int,
    repeats: bool,
    per_category: int = 0,
    without: frozenset[str] = frozenset(),
    rules: Rules | None = None,
    among: Sequence[str] | None = None,
) -> list[Ranked]:
    """Best items, best first; equal scores by popularity, then by item id.

    Parameters
    ----------
    day : since 1970. repeats : whether items bought before may be in it. per_category : most of one category; 0: any.
    without : items that are not recommended. rules : say in reasons how many buy together what is told of.
    among : only these; without them the candidates are found. Of these, what nobody ordered yet is left out.
    """
    given = None if among is None else [recs.index[item] for item in among if item in recs.index]
    found = find(recs, past, day, given)
    if found is None:  # nothing is learned yet: all that is known is what this user bought
        times = {item: times_bought(entry) for item, entry in past.bought.items()} if repeats else {}
        own = [item for item in times if item not in without and (among is None or item in among)]
        own.sort(key=times.__getitem__, reverse=True)  # equal ones: the newest first
        return [Ranked(item, float(times[item]), "bought before") for item in own[:size]]
    if repeats:
        numbers, scores = found.ids, found.x @ recs.ranker
    else:
        numbers, scores = found.ids[~found.owned], found.x[~found.owned] @ recs.newcomer
    scores = scores.round(4)
    places = np.lexsort((recs.order[numbers], -scores))
    if not repeats:
        numbers_bought = {recs.index[item] for item in past.bought if item in recs.index}
        places = np.array([i for i in places.tolist() if int(numbers[i]) not in numbers_bought], dtype=np.int64)
    if without:
        places = np.array([i for i in places.tolist() if recs.ids[numbers[i]] not in without], dtype=np.int64)
    if per_category:
        places = np.array(_diverse(places.tolist(), numbers, recs, per_category), dtype=np.int64)
    chosen = places[:size]
    reasons = _reasons(found, numbers[chosen].tolist(), recs, rules or Rules())
    return [
        Ranked(recs.ids[number], score, reasons[number])
        for number, score in zip(numbers[chosen].tolist(), scores[chosen].tolist(), strict=True)
    ]


def _diverse(places: list[int], numbers: IntArray, recs: Recs, most: int) -> list[int]:
    """Leave out what would be one too many of its category; items without one are not counted."""
    had: dict[str, int] = {}
    kept = []
    for place in places:
        category = recs.items[recs.ids[numbers[place]]][2]
        if category:
            if had.get(category, 0) >= most:
                continue
            had[category] = had.get(category, 0) + 1
        kept.append(place)
    return kept


def _reasons(found: Candidates, chosen: list[int], recs: Recs, rules: Rules) -> dict[int, str]:
    """Why each item: the strongest link that points to it, of equal ones the first."""
    evidence = found.evidence
    rows = found.ids.searchsorted(chosen)
    strongest = np.full(len(found.ids), -1, dtype=np.int64)
    wanted = np.zeros(len(found.ids), dtype=np.bool_)
    wanted[rows] = True
    wanted &= ~found.owned
    links = wanted[evidence.targets].nonzero()[0]
    if len(links):
        links = links[::-1]
        links = links[evidence.weights[links].argsort(kind="stable")]
        strongest[evidence.targets[links]] = links  # of several for one row the last one stays
    reasons: dict[int, str] = {}
    for number, row in zip(chosen, rows.tolist(), strict=True):
        link = strongest[row]
        if found.owned[row]:
            reasons[number] = "bought before"
        elif link >= 0 and evidence.weights[link] > 0.0:
            place = evidence.places[link]
            source = recs.ids[found.sources[place]]
            kind = "seen" if place >= found.bought else KINDS[evidence.kinds[link]]
            share = rules.confidence(source, recs.ids[number]) if kind == "together" else 0.0
            reasons[number] = _because(kind, recs.items[source][0], share)
        else:
            reasons[number] = "popular with customers like you" if found.x[row, LIKE_YOU] > 0.0 else "popular right now"
    return reasons


def _because(kind: str, name: str, share: float = 0.0) -> str:
    if share and name:
        return f"{share:.0%} of the orders with {name} also have it"
    if kind == "seen":
        return f"because you viewed {name}" if name else "because of what you viewed"
    if kind == "alike":
        return f"similar to {name}" if name else "similar to what you bought"
    if kind == "after":
        return f"often bought after {name}" if name else "often bought next"
    return f"often bought with {name}" if name else "often bought together"


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


def rank_offers(  # noqa: PLR0913 - one place where everything that decides comes together
    profile: Profile,
    user: str,
    recs: Recs,
    offers: tuple[Offer, ...],
    policy: OfferPolicy,
    *,
    occurrence: str,
    eligible: Callable[[Offer], bool],
    limits: Limits,
    first: Chooser | None = None,
    without: frozenset[str] = frozenset(),
    rules: Rules | None = None,
) -> list[RankedOffer]:
    """Ranked answer: `policy.size` items, each as the best item offer that may be made for it, then other offers.

    `first` says which of the offers that may be made comes first; without it the one of the highest priority does.
    """
    open_offers = [
        offer
        for offer in offers
        if offer.enabled and offer.valid_at(limits.at) and limits.allow(offer) and eligible(offer)
    ]
    open_offers.sort(key=lambda offer: (-offer.priority, offer.id))
    per_item = [offer for offer in open_offers if offer.kind != "shipping"]
    base = (
        rank_items(
            past_of(profile),
            recs,
            day=limits.at // DAY_MS,
            size=policy.size * (EARNING_AMONG if policy.weigh_margin else 1),
            repeats=policy.repeats == "allow",
            per_category=policy.per_category,
            without=without,
            rules=rules,
        )
        if per_item
        else []
    )
    if policy.weigh_margin:
        base = _by_earning(base, per_item, recs, limits, policy)
    chosen = 0
    explore = policy.explore if len(base) > 1 else 0.0
    number = draw("explore", user, occurrence)
    if number < explore:
        chosen = min(int(number / explore * len(base)), len(base) - 1)
    order = [i for i in range(len(base)) if i != chosen]
    if base:
        order.insert(0, chosen)
    chosen_offer = _first_offer(open_offers, [base[i].item for i in order], recs, limits, first)
    if chosen_offer is not None:
        open_offers.sort(key=lambda offer: offer is not chosen_offer)
        per_item.sort(key=lambda offer: offer is not chosen_offer)
    answer: list[RankedOffer] = []
    for place, i in enumerate(order):
        item = base[i].item
        name, price, category = recs.items.get(item, ("", None, ""))
        offer = _offer_for(per_item, item, category, price or 0, limits)
        if offer is None:
            continue
        limits.give(offer, price or 0)
        chance = round(propensity(i, place, len(base), explore), 6)
        answer.append(RankedOffer(offer.id, item, name, base[i].score, base[i].reason, chance, price))
    best = answer[0].name if answer else ""
    extra = [offer for offer in open_offers if offer.kind == "shipping"][:EXTRA_OFFERS]
    for offer in extra:
        limits.give(offer, 0)
    others = [RankedOffer(o.id, None, _named(o, best), 0.0, o.description or "eligible", 1.0) for o in extra]
    if chosen_offer is not None and chosen_offer.kind == "shipping":
        return [others[0], *answer, *others[1:]]
    return answer + others


def _first_offer(
    offers: Sequence[Offer], items: Sequence[str], recs: Recs, limits: Limits, first: Chooser | None
) -> Offer | None:
    """The offer that is to come first; None: priority decides.

    What there is to choose from are the offers that may be made on the product that stands first, and those on none.
    """
    if first is None or not offers:
        return None
    products = [offer for offer in offers if offer.kind != "shipping"]
    fitting: list[Offer] = []
    for item in items:
        _, price, category = recs.items.get(item, ("", 0, ""))
        fitting = [o for o in products if _fits(o, item, category) and limits.pays(o, price or 0)]
        if fitting:
            break
    arms = [offer for offer in offers if offer.kind == "shipping" or offer in fitting]
    return first(arms) if len(arms) > 1 else None


def _offer_for(per_item: Sequence[Offer], item: str, category: str, price: int, limits: Limits) -> Offer | None:
    """The first offer that may be made on a product."""
    return next((o for o in per_item if _fits(o, item, category) and limits.pays(o, price)), None)


def _by_earning(
    base: list[Ranked], per_item: Sequence[Offer], recs: Recs, limits: Limits, policy: OfferPolicy
) -> list[Ranked]:
    """The list by chance and earning: a score is the logarithm of a chance, up to a constant, and so is the sum."""
    found = []
    for one in base:
        _, price, category = recs.items.get(one.item, ("", 0, ""))
        offer = _offer_for(per_item, one.item, category, price, limits)
        if offer is not None:
            worth = policy.weigh_margin * math.log(max(earned_minor(offer, price), 1))
            found.append(msgspec.structs.replace(one, score=round(one.score + worth, 4)))
    return sorted(found, key=lambda one: -one.score)[: policy.size]


def _named(offer: Offer, best: str) -> str:
    """The offer's text with the best item in it; what it is, while no item is known."""
    if not best and "{item}" in offer.text:
        return offer.description or offer.id
    return offer.text.format(item=best)


def _fits(offer: Offer, item: str, category: str) -> bool:
    return (not offer.items or item in offer.items) and (not offer.categories or category in offer.categories)
