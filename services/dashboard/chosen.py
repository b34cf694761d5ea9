"""What the page shows of offers and recommended products: data, and pure functions that make it of a reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.definitions import Definitions
from config.units import spell_duration
from models.offers.answered import rule_of
from models.offers.bandit import NAME
from models.offers.figures import NOTHING, Figures, cautions
from models.profile.state import MILLION
from services.state.live import RawLive

SETS_SHOWN = 3
COUNTED = ("first", "viewed", "clicked", "ordered")


@dataclass(frozen=True, slots=True)
class Recommended:
    """What recommended lists bring.

    Parameters
    ----------
    figures : by list and place; empty while no list was shown.
    cautions : what they do not say, in sentences.
    currency : of the money.
    """

    figures: Figures = NOTHING
    cautions: tuple[str, ...] = ()
    currency: str = "GBP"


@dataclass(frozen=True, slots=True)
class Arm:
    """An offer in a set.

    Parameters
    ----------
    offer : its id.
    share : 0 to 1, how often it comes first now (without context).
    told : times that it came first and its window has ended.
    rewards : of them, those that were rewarded.
    rate : rewards over told; None before the first.
    low, high : 95 % interval of the rate.
    """

    offer: str
    share: float
    told: int
    rewards: int
    rate: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class OfferSet:
    """Offers among which the bandit chooses.

    Parameters
    ----------
    title : what it goes by, such as "order within 7 days".
    contextual : shares hang on the customer.
    arms : the offers.
    """

    title: str
    contextual: bool
    arms: tuple[Arm, ...]


@dataclass(frozen=True, slots=True)
class OfferCounts:
    """How often an offer was put first and answered, over all sets.

    Parameters
    ----------
    offer : its id.
    first : times put first.
    viewed, clicked, ordered : times that it was seen, clicked, followed by an order in its window.
    """

    offer: str
    first: int
    viewed: int
    clicked: int
    ordered: int


@dataclass(frozen=True, slots=True)
class Choosing:
    """How it is chosen which offer comes first.

    Parameters
    ----------
    by : `priority` or `bandit`.
    version : of the bandit; 0 before anything was learned.
    sets : those chosen from most lately.
    of : how many sets there are.
    counts : of every offer that was ever put first.
    """

    by: str = "priority"
    version: int = 0
    sets: tuple[OfferSet, ...] = ()
    of: int = 0
    counts: tuple[OfferCounts, ...] = ()


def counters_of(definitions: Definitions) -> tuple[str, ...]:
    """Counters that :func:`build_choosing` needs."""
    if definitions.policy.offers.choose != "bandit":
        return ()
    return tuple(rule_of(offer.id) for offer in definitions.offers)


def build_recommended(raw: RawLive, definitions: Definitions) -> Recommended:
    """What recommended lists bring, and what that does not say."""
    return Recommended(raw.recommended, tuple(cautions(definitions.policy)), definitions.churn.currency)


def build_choosing(raw: RawLive, definitions: Definitions) -> Choosing:
    """The sets of offers chosen from most lately, and what was counted."""
    by = definitions.policy.offers.choose
    if by != "bandit":
        return Choosing(by)
    snapshot = raw.snapshots.get(NAME)
    sets: list[dict[str, Any]] = [] if snapshot is None else list(snapshot.meta.get("sets", ()))
    counted = [(offer.id, raw.counters.get(rule_of(offer.id), {})) for offer in definitions.offers]
    return Choosing(
        by,
        snapshot.version if snapshot else 0,
        tuple(_set(one) for one in sets[:SETS_SHOWN]),
        len(sets),
        tuple(OfferCounts(offer, *(counts.get(name, 0) for name in COUNTED)) for offer, counts in counted if counts),
    )


def _set(one: Mapping[str, Any]) -> OfferSet:
    title = f"{one['reward']} within {spell_duration(one['within_ms'])}"
    arms = (
        Arm(arm["offer"], arm["share_e6"] / MILLION, arm["n"], arm["rewards"], arm["rate"], arm["low"], arm["high"])
        for arm in one["arms"]
    )
    return OfferSet(title, bool(one["contextual"]), tuple(sorted(arms, key=lambda arm: (-arm.share, arm.offer))))
