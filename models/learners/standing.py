"""Who serves, who is tried beside it, and the rule by which they change places. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from models.errors import ConfigurationError, KairosError
from models.learners.contest import ONLINE, Comparison

LEAST_EXAMPLES: Final = 500
LEAST_OF_EACH_LABEL: Final = 20
LEAST_GROUPS: Final = 30
KEPT_CHANGES: Final = 50


class NotProvenError(KairosError):
    """The shadow was not shown to be better; nothing was changed."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of places: what, when (wall clock), who serves and who is the shadow after it, and why."""

    at_ms: int
    what: str
    champion: int
    shadow: int | None
    reason: str
    forced: bool = False


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Places of the models of one score; versions of the registry, 0 for the online model.

    Parameters
    ----------
    champion : serves. shadow : is scored beside it, None for nobody.
    former : champions before, the last one last: where a rollback goes. changes : the newest fifty, oldest first.

    Examples
    --------
    >>> tried = Standing().with_shadow(3, 1_000)
    >>> tried.promoted(None, 2_000, force=True).champion
    3
    >>> tried.promoted(None, 2_000, force=True).rolled_back(3_000).champion
    0
    """

    champion: int = ONLINE
    shadow: int | None = None
    former: tuple[int, ...] = ()
    changes: tuple[Change, ...] = ()

    def with_shadow(self, version: int | None, at_ms: int, reason: str = "") -> Standing:
        """Let this one be scored beside the champion; None: nobody.

        Raises
        ------
        ConfigurationError
            It is the champion.
        """
        if version == self.champion:
            raise ConfigurationError(f"{spell(version)} serves already", remedy="kairos models list")
        return self._changed("shadow", at_ms, self.champion, version, self.former, reason)

    def promoted(self, comparison: Comparison | None, at_ms: int, *, force: bool = False) -> Standing:
        """Let the shadow serve; who served before is its shadow from here on.

        Raises
        ------
        NotProvenError
            The rule is not fulfilled (:func:`unproven`), and `force` is not given.
        ConfigurationError
            There is no shadow.
        """
        if self.shadow is None:
            raise ConfigurationError("there is no shadow to promote", remedy="kairos train, or kairos models shadow")
        against = unproven(self, comparison)
        if against and not force:
            raise NotProvenError(f"{spell(self.shadow)} is not promoted: {against}\n  --force promotes it all the same")
        reason = f"forced, although {against}" if against else told(comparison)
        former = (*self.former, self.champion)
        return self._changed("promote", at_ms, self.shadow, self.champion, former, reason, forced=bool(against))

    def rolled_back(self, at_ms: int, reason: str = "") -> Standing:
        """Let the champion before serve again; the present one is its shadow from here on.

        Raises
        ------
        ConfigurationError
            There was none before.
        """
        if not self.former:
            raise ConfigurationError("there is nothing to go back to: no model was promoted")
        *former, before = self.former
        return self._changed("rollback", at_ms, before, self.champion, tuple(former), reason)

    def _changed(
        self,
        what: str,
        at_ms: int,
        champion: int,
        shadow: int | None,
        former: tuple[int, ...],
        reason: str,
        *,
        forced: bool = False,
    ) -> Standing:
        change = Change(at_ms=at_ms, what=what, champion=champion, shadow=shadow, reason=reason, forced=forced)
        changes = (*self.changes, change)[-KEPT_CHANGES:]
        return Standing(champion=champion, shadow=shadow, former=former, changes=changes)


def unproven(standing: Standing, comparison: Comparison | None) -> str:
    """Why the shadow is not shown to be better, as a sentence; empty when it is.

    Notes
    -----
    The rule: at least 500 examples with at least 20 of each label from at least 30 of the 64 groups of customers, and
    the whole interval of the difference in log loss lies above 0. The interval is valid at any time, so it may be asked
    every day.
    """
    if comparison is None or (comparison.champion, comparison.shadow) != (standing.champion, standing.shadow):
        return "the learn role has not compared these two yet (a label must come first)"
    if comparison.refused:
        return f"the learn role could not load it: {comparison.refused}"
    fewer = min(comparison.positives, comparison.examples - comparison.positives)
    if comparison.examples < LEAST_EXAMPLES or fewer < LEAST_OF_EACH_LABEL:
        return (
            f"{comparison.examples} labelled examples were compared, {fewer} of the rarer label; "
            f"{LEAST_EXAMPLES} and {LEAST_OF_EACH_LABEL} are needed"
        )
    if comparison.groups < LEAST_GROUPS:
        return f"they come from {comparison.groups} of 64 groups of customers, {LEAST_GROUPS} are needed"
    if comparison.low is None or comparison.low <= 0.0:
        return f"the difference is not significant: {told(comparison)}"
    return ""


def told(comparison: Comparison | None) -> str:
    """The difference in words."""
    if comparison is None or comparison.difference is None or comparison.low is None or comparison.high is None:
        return "nothing was compared"
    return (
        f"log loss lower by {comparison.difference:.4f} per example "
        f"(95 % interval {comparison.low:.4f} to {comparison.high:.4f}, {comparison.examples} examples)"
    )


def spell(version: int | None) -> str:
    """Name of a model for people.

    Examples
    --------
    >>> spell(0), spell(3), spell(None)
    ('online', 'batch 3', 'nobody')
    """
    if version is None:
        return "nobody"
    return "online" if version == ONLINE else f"batch {version}"
