"""What a recommendation knows of its user: purchases with their number and day, and what was looked at lately."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from models.profile.state import Profile, bought_entry

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Past:
    """Items of one user, newest first.

    Parameters
    ----------
    bought : how often and on which day last, by item (:func:`models.profile.state.bought_entry`).
    recent : items looked at, bought ones among them.
    orders, first_day : how many, and the day of the first; 0: none yet.
    """

    bought: Mapping[str, int]
    recent: Sequence[str]
    orders: int = 0
    first_day: int = 0

    @classmethod
    def of(
        cls,
        bought: Iterable[tuple[str, int, int]] = (),
        recent: Sequence[str] = (),
        orders: int = 0,
        first_day: int = 0,
    ) -> Self:
        """The past of (item, times, day of the last purchase since 1970; 0: not known), newest first.

        Examples
        --------
        >>> Past.of([("tea", 2, 14_600)]).bought
        {'tea': 3737602}
        """
        return cls({item: bought_entry(times, day) for item, times, day in bought}, recent, orders, first_day)


def past_of(profile: Profile) -> Past:
    """The past that a profile remembers."""
    return Past(
        dict(reversed(profile.bought.items())),
        profile.recent[::-1],
        profile.orders,
        profile.first_order // DAY_S,
    )
