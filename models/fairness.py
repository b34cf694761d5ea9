"""Whether groups of users are treated alike: counted where something is decided, judged by :mod:`models.parity`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from config.definitions import Definitions
    from models.decide import Turn
    from models.decisions import RankedOffer
    from models.profile.state import Profile

What = Literal["scores", "offers", "messages"]

OTHER: Final = "other"
# Kinds of offers that save money.
BENEFITS: Final = ("discount", "shipping")
# What is counted of each user looked at, for people.
MEANING: Final[Mapping[str, str]] = {
    "scores": "customers at risk, of all looked at",
    "offers": "lists with a discount or free delivery, of all lists",
    "messages": "marketing messages sent, of all decided",
}


def counter_key(attribute: str) -> str:
    """Counter hash of an attribute."""
    return f"fair:{attribute}"


def learned_from(definitions: Definitions) -> list[str]:
    """Goals and uplifts that are learned from the attribute by which groups are told apart, as a person is told."""
    rules = definitions.policy.fairness
    if rules is None:
        return []
    each = [(f"the goal {goal.id!r}", goal.attributes) for goal in definitions.goals if goal.enabled]
    each += [(f"the uplift of {one.id!r}", one.conversion.attributes) for one in definitions.campaigns if one.enabled]
    return [
        f"{what} is learned from {rules.attribute}, by which policy.yaml tells groups apart (fairness):"
        " what is told will differ between them, and so will what conditions make of it"
        for what, names in each
        if rules.attribute in names
    ]


def note(turn: Turn, profile: Profile, what: What, *, favoured: bool) -> None:
    """Count one decision about a user who has the attribute, if one is declared."""
    rules = turn.brain.definitions.policy.fairness
    if rules is None or what not in rules.what:
        return
    value = profile.attributes.get(rules.attribute)
    if value is None or value == "":
        return
    group = str(value) if str(value) in rules.values else OTHER
    key = counter_key(rules.attribute)
    turn.out.count(key, f"{what}|{group}|n")
    if favoured:
        turn.out.count(key, f"{what}|{group}|yes")


def offered(turn: Turn, profile: Profile, ranked: Sequence[RankedOffer]) -> None:
    """Count a list of offers: whether it has something that saves money."""
    if turn.brain.definitions.policy.fairness is not None:
        kinds = turn.brain.definitions.offer_by_id
        note(turn, profile, "offers", favoured=any(kinds[one.offer].kind in BENEFITS for one in ranked))
