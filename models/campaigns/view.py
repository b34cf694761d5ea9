"""The profile as conditions see it: `user` in CEL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from models.profile import decay
from models.profile.state import E4, Profile
from models.reviews import mean, told_by

if TYPE_CHECKING:
    from models.experiments.trial import Trial
    from models.facts import Facts
    from models.goals import Goals
    from models.uplift import Uplifts

DAY_MS = 86_400_000
_FACTS: dict[str, Callable[[Profile, int], Any]] = {
    "orders": lambda profile, _: profile.orders,
    "money_minor": lambda profile, _: profile.money_minor,
    "days_since_order": lambda profile, at: (at - profile.last_order_ms) / DAY_MS if profile.orders else -1.0,
    "days_since_seen": lambda profile, at: max(0.0, (at - profile.last_seen_ms) / DAY_MS),
    "views_7d": lambda profile, at: decay.read(profile, decay.VIEWS, at // 1000)[1],
    "adds_7d": lambda profile, at: decay.read(profile, decay.ADDS, at // 1000)[1],
    "sessions": lambda profile, _: profile.sessions,
    "churn_score": lambda profile, _: profile.score,
    "country": lambda profile, _: str(profile.attributes.get("country", "")),
    "attributes": lambda profile, _: dict(profile.attributes),
    "consent": lambda profile, _: dict(profile.consent),
    "reviews": lambda profile, _: told_by(profile).times,
    "sentiment": lambda profile, _: mean(told_by(profile)),
    "categories": lambda profile, _: {name: weight / E4 for name, weight in profile.categories.items()},
}


PROPENSITY, VARIANT, UPLIFT = "propensity", "variant", "uplift"
# What is learned, and told by models.facts.Facts.
LEARNED = ("expected_value", "expected_next_order_days", "segment", "portrait")
_EVERY = (*_FACTS, PROPENSITY, VARIANT, UPLIFT, *LEARNED)


def user_view(
    profile: Profile,
    at: int,
    fields: Iterable[str] | None = None,
    goals: Goals | None = None,
    trials: Mapping[str, Trial] | None = None,
    facts: Facts | None = None,
    uplift: Uplifts | None = None,
) -> dict[str, Any]:
    """Facts about the user at `at` (ms), under the names that docs/campaigns.md explains.

    Parameters
    ----------
    fields : those that are looked at (None: all). The others would be read out of packed sections for nothing.
    goals, trials, facts, uplift : what propensities, variants, what else is learned and uplifts are told of; None: of
        nothing.
    """
    found: dict[str, Any] = {}
    for name in _EVERY if fields is None else fields:
        if name == PROPENSITY:
            found[name] = {} if goals is None else goals.propensities(profile, at // 1000)
        elif name == UPLIFT:
            found[name] = {} if uplift is None else uplift.told(profile, at // 1000)
        elif name == VARIANT:
            given = {one: trial.given(profile) for one, trial in (trials or {}).items()}
            found[name] = {one: variant for one, variant in given.items() if variant is not None}
        elif name in LEARNED:
            if facts is not None:
                found[name] = facts.tell(name, profile, at)
        else:
            found[name] = _FACTS[name](profile, at)
    return found
