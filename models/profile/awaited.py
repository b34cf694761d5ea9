"""Section of a profile that holds what is waited for: whether the user reaches a goal."""

from __future__ import annotations

from typing import Any

import msgspec


class GoalSample(msgspec.Struct, array_like=True, gc=False):
    """What was known of the user at second `at`, until it is known whether the goal (its code) was reached.

    `p_e4`: propensity as it was then, in ten-thousandths; -1: none yet. `x`: raw vector (:mod:`models.features.goals`),
    and behind it the values of the attributes that the goal names (:func:`models.features.attributes.kept`).
    """

    code: int
    at: int
    reached: bool
    p_e4: int
    x: list[Any]


class Awaited(msgspec.Struct, array_like=True, gc=False):
    """Section of goals: examples that wait for their label, at most one for each."""

    goal_samples: list[GoalSample] = []
