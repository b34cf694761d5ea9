"""What a recommendation knows of its user: purchases with their number and day, and what was looked at lately."""

from __future__ import annotations

from dataclasses import dataclass

from models.profile.state import Profile, day_bought, times_bought

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Past:
    """Items of one user, newest first.

    Parameters
    ----------
    bought : (item, times, day of the last purchase since 1970; 0: not known).
    recent : items looked at, bought ones among them.
    orders, first_day : how many, and the day of the first; 0: none yet.
    """

    bought: list[tuple[str, int, int]]
    recent: list[str]
    orders: int = 0
    first_day: int = 0


def past_of(profile: Profile) -> Past:
    """The past that a profile remembers."""
    return Past(
        [(item, times_bought(entry), day_bought(entry)) for item, entry in reversed(profile.bought.items())],
        profile.recent[::-1],
        profile.orders,
        profile.first_order // DAY_S,
    )
