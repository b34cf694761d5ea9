"""Sentences of a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.experiments.sums import WORDS

if TYPE_CHECKING:
    from models.experiments.compare import Comparison


def effect_of(compared: Comparison) -> str:
    """Size of an effect with its interval: as a lift where there is one.

    Lifts are in percent of the control; without one, the difference is in the metric's own unit.
    """
    if compared.lift is not None and compared.lift_interval is not None:
        low, high = (f"{100.0 * bound:.1f}" for bound in compared.lift_interval)
        return f"{100.0 * compared.lift:+.1f} % [{low}, {high}]"
    scale = compared.metric.scale
    if compared.interval is not None:
        low, high = (f"{bound / scale:.4g}" for bound in compared.interval)
        return f"{compared.difference / scale:+.4g} [{low}, {high}]"
    return f"{compared.difference / scale:+.4g} (no interval yet)"


def sentence_of(verdict: str, compared: Comparison | None, days: int | None) -> str:
    """One sentence for people."""
    if compared is None:
        return "No verdict: the arms did not get the users that the weights say. Find out why before reading results."
    what = f"{compared.variant} is {{}} on {compared.metric.id}: {effect_of(compared)}"
    wait = "" if days is None else f" About {days} more day{'s' if days != 1 else ''} to the planned number of users."
    if verdict == "better":
        return f"{what.format('better')}, you may stop now."
    if verdict == "worse":
        return f"{what.format('worse')}, you may stop now."
    if verdict == "harm":
        return f"Stop: {compared.variant} harms {compared.metric.id}: {effect_of(compared)}."
    if verdict == "mixed":
        return f"{what.format('better')}, but worse on another metric: weigh them up."
    if verdict == "no_difference":
        return f"No difference was found at the planned number of users: {compared.variant} {effect_of(compared)}."
    if verdict == "not_enough_data":
        return f"Not enough data: {WORDS[compared.shortage] if compared.shortage else 'no users'}.{wait}"
    return f"Nothing is decided yet: {compared.variant} {effect_of(compared)} on {compared.metric.id}.{wait}"
