"""Decide a user's next-best-offers: whom each may be made to, in which order, within which limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from config.definitions import Offer
from models import fairness
from models.campaigns.view import user_view
from models.decisions import Cause, OfferDecision, effect_id
from models.offers import answered
from models.offers.limits import Limits
from models.offers.rank import rank_offers
from models.profile.state import Profile

if TYPE_CHECKING:
    from models.decide import Turn


def decide_offers(turn: Turn, user: str, profile: Profile, at: int, cause: Cause) -> OfferDecision | None:
    """Rank the user's offers; the last decision of a user can be read at any time."""
    brain, definitions = turn.brain, turn.brain.definitions
    context: Any = None

    def eligible(offer: Offer) -> bool:
        nonlocal context
        if not offer.when:
            return True
        if context is None:
            together = brain.offer_conditions
            user_facts = user_view(
                profile, at, together.user_fields, brain.goals, brain.trials, brain.facts, brain.uplift
            )
            context = together.about({"event": cause.event, "properties": {}, "user": user_facts})
        return brain.conditions[offer.when].evaluate(context)[0]

    chosen = answered.Chosen(turn, user, profile, at, cause.message_id) if brain.chooses else None
    limits = Limits(turn.lane.given, profile, at, turn.batch.lane, turn.batch.lanes)
    ranked = rank_offers(
        profile,
        user,
        brain.recs,
        definitions.offers,
        definitions.policy.offers,
        occurrence=cause.message_id,
        eligible=eligible,
        limits=limits,
        first=chosen,
        without=brain.without,
        rules=brain.rules,
    )
    for given, cost in limits.gave.items():
        turn.out.count(f"offer:{given}", "given")
        if cost:
            turn.out.count(f"offer:{given}", "given_minor", cost)
    if not ranked:
        return None
    decision = OfferDecision(
        id=effect_id("offers", "ranked", user, cause.message_id),
        user=user,
        at=at,
        offers=ranked,
        cause=cause,
        snapshot=brain.recs.version,
        choice=chosen.choice if chosen is not None and chosen.choice is not None else msgspec.UNSET,
    )
    fairness.offered(turn, profile, ranked)
    turn.out.effects.append(decision)
    turn.out.offers[user] = decision
    return decision
