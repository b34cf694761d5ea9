"""What was decided about experiments after their files were written: stopped, a step, new shares, rolled out.

The judge and ``kairos experiments stop`` write them to Redis; decide lays them over its definitions, so that they are
part of the version of the rules that the journal names and the audit replays with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import Field

from config.experiment import Experiment, Ruling
from config.rules import Definition, Slug

if TYPE_CHECKING:
    from config.definitions import Definitions

_Frozen = TypeVar("_Frozen", bound=Definition)
_RANK = {"running": 0, "rolled_out": 1, "stopped": 2}


class Override(Definition):
    """A decision about one version of an experiment."""

    experiment: Slug = Field(description="which one")
    version: int = Field(default=1, ge=1, description="version of its file; another version begins anew")
    status: Literal["running", "stopped", "rolled_out"] = Field(
        default="running",
        description="`stopped`: nobody new takes part, all get the control; `rolled_out`: all get the winner",
    )
    step: int = Field(default=0, ge=0, description="step of a roll-out, or version of a bandit's shares, from 0")
    weights: tuple[float, ...] = Field(default=(), description="shares in force, in the order of the variants (bandit)")
    winner: Slug | None = Field(default=None, description="variant that all get (rolled_out)")
    at: int = Field(default=0, ge=0, description="event time of the decision, ms")
    by: Literal["judge", "person"] = Field(default="judge", description="who decided")
    reason: str = Field(default="", description="why, in plain words")

    def follows(self, other: Override | None) -> bool:
        """Whether this one replaces `other`.

        Decisions have an order (version, then running before rolled out before stopped, then the step), and only the
        last counts. So it does not matter how often they are written or in which order: what was stopped stays
        stopped until the file has another version.

        Examples
        --------
        >>> stop = Override(experiment="x", status="stopped")
        >>> stop.follows(Override(experiment="x", step=3)), Override(experiment="x", step=4).follows(stop)
        (True, False)
        >>> Override(experiment="x", version=2).follows(stop)
        True
        """
        return other is None or self.place > other.place

    @property
    def place(self) -> tuple[int, int, int]:
        """Its place in this order."""
        return self.version, _RANK[self.status], self.step


def overlaid(definitions: Definitions, overrides: Mapping[str, Override]) -> Definitions:
    """The definitions with what was decided since; those of another version of an experiment are left aside."""
    if not overrides:
        return definitions
    experiments = tuple(_with(one, overrides.get(one.id)) for one in definitions.experiments)
    return _copy(definitions, experiments=experiments)


def _with(experiment: Experiment, override: Override | None) -> Experiment:
    if override is None or override.version != experiment.version:
        return experiment
    fits = len(override.weights) in {0, len(experiment.variants)}
    ruling = Ruling(
        status=override.status,
        step=override.step,
        winner=override.winner,
        weights=override.weights if fits else (),
    )
    return _copy(experiment, ruling=ruling)


def _copy(model: _Frozen, **changes: object) -> _Frozen:
    """A changed copy, without what the original had worked out and kept."""
    made = model.model_copy(update=changes)
    for name in set(made.__dict__) - set(type(made).model_fields):
        del made.__dict__[name]
    return made
