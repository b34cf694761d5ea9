"""What recommended lists bring: rates by place and money, from what :mod:`models.offers.rankings` counted. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from config.rules import Policy
from config.units import spell_duration
from models.experiments.fixed import wilson_interval
from models.experiments.sums import Proportion
from models.offers.rankings import ASKED, DECIDED, OTHER, SIMULATED

DAYS: Final = 90  # newest days that are told one by one
TOP: Final = 20

Counts = Mapping[str, int]
MEANING: Final[Mapping[str, str]] = {
    DECIDED: "lists of the topic offers",
    ASKED: "lists asked for over HTTP, without a name",
    SIMULATED: "lists and clicks made up by kairos demo; orders are those of the shop",
    OTHER: "names that policy.yaml does not declare",
}


class Rate(msgspec.Struct, frozen=True):
    """A share with its 95 % interval (Wilson); all None while there is nothing to divide by."""

    share: float | None = None
    low: float | None = None
    high: float | None = None


class Answers(msgspec.Struct, frozen=True):
    """What was shown and how it was answered. Money in minor units; `clicked_...`: after a click on the product.

    Parameters
    ----------
    shown : products, each once a list. click_rate, buy_rate : of those shown.
    """

    shown: int = 0
    clicked: int = 0
    added: int = 0
    bought: int = 0
    units: int = 0
    money_minor: int = 0
    clicked_bought: int = 0
    clicked_minor: int = 0
    click_rate: Rate = Rate()
    buy_rate: Rate = Rate()


class Day(msgspec.Struct, frozen=True):
    """One day (since 1970, event time) of a list."""

    day: int
    rankings: int
    shown: int
    clicked: int
    bought: int
    money_minor: int


class ListFigures(msgspec.Struct, frozen=True):
    """A list on the whole, and by place.

    Parameters
    ----------
    rankings : times that a recommended list was shown. clicked_rankings : with a click at least.
    per_1000_minor : money attributed, per 1,000 of them. clicked_per_1000_minor : of it, of products that were clicked.
    late : shown so late that the window was over. stray : clicks on lists that nobody was seen to be shown.
    places : from the first on. days : the newest, oldest first; days without anything are left out.
    """

    name: str
    rankings: int
    clicked_rankings: int
    total: Answers
    per_1000_minor: int | None
    clicked_per_1000_minor: int | None
    late: int
    stray: int
    places: dict[int, Answers]
    days: list[Day]


class ProductFigures(msgspec.Struct, frozen=True):
    """A product in all lists together."""

    product: str
    name: str
    shown: int
    clicked: int
    bought: int
    money_minor: int
    click_rate: Rate


class Figures(msgspec.Struct, frozen=True):
    """What recommended lists bring.

    Parameters
    ----------
    lists : the most often shown first. products : shown most often.
    shown_products : how many products were ever shown, of `catalogue` that the recommender knows; coverage : the share.
    """

    lists: list[ListFigures] = []
    products: list[ProductFigures] = []
    shown_products: int = 0
    catalogue: int = 0
    coverage: float | None = None


NOTHING: Final = Figures()


def figures(lists: Mapping[str, Counts], products: Counts, names: Mapping[str, str]) -> Figures:
    """Figures from counters.

    Parameters
    ----------
    lists : fields of :func:`models.offers.rankings.counter_key` by the list's name, of all lanes together.
    products : fields of its `PRODUCTS`. names : of the products that the recommender knows.
    """
    told = [_list(name, counts) for name, counts in lists.items() if counts]
    by_product: dict[str, dict[str, int]] = {}
    for field, value in products.items():
        what, _, product = field.partition("|")
        by_product.setdefault(product, {})[what] = value
    found = [
        ProductFigures(
            product,
            names.get(product, ""),
            counts["shown"],
            counts.get("clicked", 0),
            counts.get("bought", 0),
            counts.get("money_minor", 0),
            rate(counts["shown"], counts.get("clicked", 0)),
        )
        for product, counts in by_product.items()
        if counts.get("shown")
    ]
    found.sort(key=lambda one: (-one.shown, one.product))
    known = sum(one.product in names for one in found)
    return Figures(
        sorted(told, key=lambda one: (-one.rankings, one.name)),
        found[:TOP],
        known,
        len(names),
        round(known / len(names), 4) if names else None,
    )


def cautions(policy: Policy) -> list[str]:
    """What these figures say and what they do not, in sentences."""
    within = spell_duration(policy.recommendations.within_ms)
    attributed = (
        f"Attributed, not caused: what is bought within {within} after it was shown counts for the list, and customers "
        "would have bought some of it anyway."
    )
    said = [attributed]
    if policy.holdout is not None:
        said.append(
            f"The holdout {policy.holdout} tells what messages cause, recommended products in them included; it sees "
            "the same lists on the site."
        )
    return [*said, "What lists cause, an experiment tells that shows none to a part of the customers (docs/offers.md)."]


def rate(of: int, hits: int) -> Rate:
    """Share of `hits`; each product shown counts as one independent trial.

    Examples
    --------
    >>> rate(100, 10).share, rate(0, 0).share
    (0.1, None)
    """
    hits = min(hits, of)  # merged users may have been shown less than they answered
    interval = wilson_interval(Proportion(of, hits)) if of > 0 else None
    if interval is None:
        return Rate()
    return Rate(round(hits / of, 6), round(float(interval[0]), 6), round(float(interval[1]), 6))


def _list(name: str, counts: Counts) -> ListFigures:
    total: dict[str, int] = {}
    places: dict[int, dict[str, int]] = {}
    days: dict[int, dict[str, int]] = {}
    for field, value in counts.items():
        kind, _, rest = field.partition("|")
        number, _, what = rest.partition("|")
        if kind == "p":
            places.setdefault(int(number), {})[what] = value
        elif kind == "d":
            days.setdefault(int(number), {})[what] = value
            total[what] = total.get(what, 0) + value
    rankings = total.get("rankings", 0)
    newest = sorted(days)[-DAYS:]
    return ListFigures(
        name,
        rankings,
        total.get("rankings_clicked", 0),
        _answers(total),
        _per_1000(total.get("money_minor", 0), rankings),
        _per_1000(total.get("clicked_minor", 0), rankings),
        total.get("late", 0),
        total.get("stray", 0),
        {place: _answers(places[place]) for place in sorted(places)},
        [Day(day, *(days[day].get(what, 0) for what in Day.__struct_fields__[1:])) for day in newest],
    )


def _answers(counts: Counts) -> Answers:
    plain = {name: counts.get(name, 0) for name in Answers.__struct_fields__ if not name.endswith("_rate")}
    shown = plain["shown"]
    return Answers(**plain, click_rate=rate(shown, plain["clicked"]), buy_rate=rate(shown, plain["bought"]))


def _per_1000(minor: int, rankings: int) -> int | None:
    return round(1000 * minor / rankings) if rankings else None
