"""What a simulation reports: a figure, its limit, and whether it holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Tick: TypeAlias = Callable[[int], None]
Sense: TypeAlias = Literal["at most", "at least", ""]

# One-sided 1 % of a binomial share: a sound method misses a limit by chance in one of a hundred figures.
SLACK = 2.33
LOOKS = 100


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.

    Parameters
    ----------
    world : which worlds. method : what was watched. measure : what the value is. limit : at most or at least this,
        None for figures that are only shown, to compare.
    """

    world: str
    method: str
    measure: str
    value: float
    worlds: int
    sense: Sense = ""
    limit: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        if self.limit is None:
            return True
        return self.value <= self.limit if self.sense == "at most" else self.value >= self.limit


def most_false(worlds: int, alpha: float = 0.05) -> float:
    """Largest share of false positives that a test at alpha shows in so many worlds, by chance.

    Examples
    --------
    >>> round(most_false(2_000), 4)
    0.0614
    """
    return alpha + SLACK * math.sqrt(alpha * (1.0 - alpha) / worlds)


def least(share: float, worlds: int) -> float:
    """Smallest share that so many worlds show, by chance, when the true one is `share`."""
    return share - SLACK * math.sqrt(share * (1.0 - share) / worlds)


def false_positives(world: str, method: str, value: float, worlds: int) -> Figure:
    """Share of worlds without a difference in which a method claimed one."""
    return Figure(world, method, "false positives", value, worlds, "at most", most_false(worlds))
