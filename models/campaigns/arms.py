"""Experiments of messages: which variant a message takes, and who gets none because of a control group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from config.definitions import Campaign
from models.campaigns.view import user_view
from models.decisions import Cause
from models.experiments.count import Moment, expose
from models.experiments.trial import known_before
from models.profile.state import Profile

if TYPE_CHECKING:
    from models.decide import Turn


def left_out(
    turn: Turn, user: str, profile: Profile, campaign: Campaign, at: int, cause: Cause, properties: dict[str, Any]
) -> str | None:
    """Why a message that might go out is not sent: the user is in the holdout or in the campaign's control group.

    Both are experiments like any other, whose control gets nothing: users count from the first message on that they
    got, or would have got.
    """
    holdout = turn.brain.definitions.policy.holdout if campaign.purpose == "marketing" else None
    for name, reason in ((holdout, "holdout"), (campaign.control, "control_group")):
        trial = turn.brain.trials.get(name or "")
        if trial is not None:
            variant = arm(turn, user, profile, trial.id, at, cause, properties)
            if variant == trial.experiment.control.id and trial.open:
                return reason
    return None


def arm(
    turn: Turn, user: str, profile: Profile, name: str, at: int, cause: Cause, properties: dict[str, Any]
) -> str | None:
    """Variant of a message's user, who is exposed with it; None without one."""
    trial = turn.brain.trials.get(name)
    if trial is None or not trial.experiment.enabled:
        return None
    found = trial.given(profile)
    if found is not None or trial.code in profile.exposures or not trial.running(at):
        return found
    variant = trial.variant(user)
    if variant is None:
        return None
    if trial.condition is not None:
        facts = user_view(profile, at, trial.condition.user_fields)
        if not trial.condition.holds({"event": cause.event, "properties": properties, "user": facts}):
            return None
    if trial.experiment.expose_on.event is None:
        before = turn.before if cause.kind == "event" and turn.before is not None else known_before(profile)
        expose(turn.out, profile, trial, variant, Moment(user, at, cause, before, turn.watermark_before))
    return variant
