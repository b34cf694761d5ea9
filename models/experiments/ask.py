"""Which variant a user has, or would have, for a service that asks: the same rules as where users are exposed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from models.campaigns.view import user_view
from models.experiments.trial import Trial
from models.profile.state import Profile

Why: TypeAlias = Literal[
    "exposed", "assigned", "tester", "rolled_out", "stopped", "disabled", "outside", "not_eligible", "not_running"
]


@dataclass(frozen=True, slots=True)
class Answer:
    """A variant (None: takes no part), why, and when the user was exposed (ms; None: not yet)."""

    variant: str | None
    why: Why
    exposed_at: int | None = None


def answer(trial: Trial, profile: Profile | None, user: str, at: int) -> Answer:
    """Variant of `user` at `at` (ms); changes nothing.

    Parameters
    ----------
    profile : as stored; None: nobody knows the user.
    """
    experiment = trial.experiment
    seen = profile.exposures.get(trial.code) if profile is not None else None
    first = None if seen is None else seen.at
    if not experiment.enabled:
        return Answer(None, "disabled", first)
    ruling = experiment.ruling
    if ruling is not None and ruling.status != "running":
        winner = ruling.winner if ruling.status == "rolled_out" else experiment.control.id
        return Answer(winner, "rolled_out" if ruling.status == "rolled_out" else "stopped", first)
    if seen is not None:
        return Answer(experiment.variant_by_code.get(seen.variant), "exposed", first)
    if not trial.counts(user):
        return Answer(trial.variant(user), "tester")
    if not trial.running(at):
        return Answer(None, "not_running")
    variant = trial.variant(user)
    if variant is None:
        return Answer(None, "outside")
    if trial.condition is not None:
        facts = user_view(profile or Profile(), at, trial.condition.user_fields)
        if not trial.condition.holds({"event": "", "properties": {}, "user": facts}):
            return Answer(None, "not_eligible")
    return Answer(variant, "assigned")
