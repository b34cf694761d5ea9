"""Propensities in the stream: what each user is likely to do, and examples to learn it from.

A score is told when somebody asks: a condition, a page, a service. An example to learn from is begun at a
moment that only hashes choose: an event (one in eight), or a tick of silence. A user has at most one open for a goal,
and it is told when its horizon is over. A positive that was told at once would come before the negatives of its time,
and every score would be too high.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from config.goal import Goal
from models.campaigns.conditions import Condition, compile_condition
from models.campaigns.view import user_view
from models.decisions import GoalExample, effect_id
from models.features.attributes import Told, kept, named
from models.features.goals import RAW_NAMES, as_matrix, raw
from models.learners.goal_scores import GoalScores
from models.outcome import Outcome
from models.profile.awaited import GoalSample
from models.profile.state import E4, Profile
from models.uplift import Wait
from models.wire import Input

if TYPE_CHECKING:
    from models.decide import Turn

FloatArray = npt.NDArray[np.float64]

DAY_S = 86_400
EVENT_MASK = 7  # one event in eight may begin an example
RAW = len(RAW_NAMES)
SILENT_S = 180 * DAY_S  # whoever was not seen for so long is asked no more


@dataclass(frozen=True)
class Goals:
    """Goals as the core asks for them.

    Parameters
    ----------
    goals : the enabled ones. scores : what was learned of any goal.
    waits : what examples of campaigns wait for (:mod:`models.uplift`), which lie among those of goals.
    """

    goals: tuple[Goal, ...]
    scores: GoalScores
    waits: tuple[Wait, ...] = ()

    @cached_property
    def by_code(self) -> Mapping[int, Goal]:
        """Goals by what they ask for."""
        return {goal.code: goal for goal in self.goals}

    @cached_property
    def awaited(self) -> Mapping[int, Goal | Wait]:
        """Everything that an example may wait for, by its number."""
        return {**self.by_code, **{wait.code: wait for wait in self.waits}}

    @cached_property
    def min_orders(self) -> int:
        """Nobody with fewer orders is asked anything."""
        return min((goal.min_orders for goal in self.goals), default=0)

    @cached_property
    def served(self) -> GoalScores:
        """Models of the goals that are declared and learned."""
        return self.scores.of([goal.code for goal in self.goals])

    @cached_property
    def least_orders(self) -> tuple[int, ...]:
        """`min_orders` of each goal that is served."""
        return tuple(self.by_code[code].min_orders for code in self.served.codes)

    @cached_property
    def conditions(self) -> Mapping[int, Condition]:
        """Compiled conditions by code."""
        return {goal.code: compile_condition(goal.when) for goal in self.goals if goal.when}

    def propensities(self, profile: Profile, at: int) -> dict[str, float]:
        """Propensities of a user by the id of the goal, as of second `at`."""
        told = self.told(profile, raw(profile, at))
        return {self.by_code[code].id: p_e4 / E4 for code, p_e4 in told.items() if code in self.by_code}

    def told(self, profile: Profile, x: list[int]) -> dict[int, int]:
        """Propensity of each goal that is asked of this user, for a raw vector, in ten-thousandths."""
        served = self.served
        if not served.codes:
            return {}
        about = [profile.attributes] if served.attributed else ()
        each = zip(served.codes, _e4(served.score(as_matrix([x]), about))[0], self.least_orders, strict=True)
        return {code: p_e4 for code, p_e4, needed in each if profile.orders >= needed}

    def with_scores(self, scores: GoalScores) -> Goals:
        """The same goals with other models."""
        return replace(self, scores=scores)

    def listening(self, event: str) -> tuple[Goal | Wait, ...]:
        """What this event may reach."""
        return tuple(one for one in self.awaited.values() if one.event == event)


def on_event(turn: Turn, profile: Profile, event: Input, reached: tuple[Goal | Wait, ...], *, visit: bool) -> None:
    """An event was applied: goals that it reaches, and maybe the beginning of an example."""
    goals = turn.brain.goals
    if reached and profile.awaited:
        _reach(goals, profile, event, reached)
    if not visit or not goals.goals or profile.orders < goals.min_orders:
        return
    # A late event is no moment to begin at: what came after it is known already.
    if not event.digest[0] & EVENT_MASK and event.at >= profile.last_seen_ms:
        at = event.at // 1000
        if profile.awaited:
            settle(turn.out, goals, event.user, profile, at)
        begin(turn, profile, at)


def _reach(goals: Goals, profile: Profile, event: Input, reached: Iterable[Goal | Wait]) -> None:
    """Every open example whose horizon holds the event has its answer. It is told when the horizon is over."""
    second, document = event.at // 1000, None
    for goal in reached:
        for sample in profile.goal_samples:
            if sample.code != goal.code or sample.reached:
                continue
            if not sample.at < second < sample.at + goal.horizon_ms // 1000:
                continue
            condition = goals.conditions.get(goal.code)
            if condition is not None:
                document = document or event.document()
                facts = user_view(profile, event.at, condition.user_fields, goals)
                seen = {"event": event.name, "properties": document["properties"], "user": facts}
                if not condition.holds(seen):
                    continue
            sample.reached = True


def settle(out: Outcome, goals: Goals, user: str, profile: Profile, at: int) -> None:
    """Send every example whose horizon is over at second `at` to training; those of goals that are no more go."""
    kept = []
    for sample in profile.goal_samples:
        goal = goals.awaited.get(sample.code)
        if goal is None:
            continue
        due = sample.at + goal.horizon_ms // 1000
        if due > at:
            kept.append(sample)
            continue
        told = goal.example if isinstance(goal, Wait) else partial(_example, goal)
        out.effects.append(told(user, sample, due, at))
    if len(kept) < len(profile.goal_samples):
        profile.goal_samples = kept


def _example(goal: Goal, user: str, sample: GoalSample, due: int, at: int) -> GoalExample:
    return GoalExample(
        id=effect_id(f"goal:{goal.id}", "example", user, str(sample.at)),
        user=user,
        goal=goal.id,
        code=goal.code,
        at=sample.at * 1000,
        due=due * 1000,
        known_at=at * 1000,
        label=int(sample.reached),
        x=sample.x[:RAW] if goal.attributes else sample.x,
        p_e4=sample.p_e4,
        attributes=_about(goal, sample) if goal.attributes else msgspec.UNSET,
    )


def _about(goal: Goal, sample: GoalSample) -> dict[str, Told]:
    """What was known about the user when the example was begun."""
    return named(goal.attributes, sample.x[RAW:])


def begin(turn: Turn, profile: Profile, at: int) -> None:
    """Keep what is known of a user at second `at` for every goal that has no example open."""
    goals = turn.brain.goals
    opened = {sample.code for sample in profile.goal_samples} if profile.awaited else ()
    wanted = [goal for goal in goals.goals if goal.code not in opened and profile.orders >= goal.min_orders]
    if wanted:
        x = raw(profile, at)
        begun = [
            GoalSample(
                goal.code, at, False, -1, x + kept(profile.attributes, goal.attributes) if goal.attributes else x
            )
            for goal in wanted
        ]
        profile.goal_samples.extend(begun)
        turn.begun.extend(begun)
    wake(goals, profile)


def wake(goals: Goals, profile: Profile) -> None:
    """See that there is a tick by which an example that is open can be told. Those of customers come anyway."""
    if profile.tick_due == 0 and profile.awaited:
        dues = [
            sample.at + goals.awaited[sample.code].horizon_ms // 1000
            for sample in profile.goal_samples
            if sample.code in goals.awaited
        ]
        profile.tick_due = min(dues, default=0)


def on_tick(turn: Turn, user: str, profile: Profile, slot: int, at: int) -> None:
    """Time passes for a user: labels that fell due, and maybe a new example."""
    goals = turn.brain.goals
    if profile.awaited:
        settle(turn.out, goals, user, profile, at)
    if not goals.goals or profile.orders < goals.min_orders:
        wake(goals, profile)
        return
    turns = at // (turn.brain.definitions.churn.sample_every_ms // 1000) + slot
    if turns & 1 and 0 <= at - profile.last_seen_ms // 1000 <= SILENT_S:
        begin(turn, profile, at)
    wake(goals, profile)


def score(turn: Turn) -> None:
    """Note in the examples that were begun what would have been served: it is judged when their label comes."""
    served = turn.brain.goals.served
    if not turn.begun or not served.codes:
        return
    column = {code: place for place, code in enumerate(served.codes)}
    # Behind the numbers of a sample stand the attributes of a goal that names some, whichever goals are served.
    rows, about = [sample.x[:RAW] for sample in turn.begun], []
    if served.attributed:
        by_code = turn.brain.goals.by_code
        about = [_about(by_code[sample.code], sample) for sample in turn.begun]
    found = _e4(served.score(as_matrix(rows), about))
    for sample, row in zip(turn.begun, found, strict=True):
        if sample.code in column:
            sample.p_e4 = row[column[sample.code]]


def _e4(probabilities: FloatArray) -> list[list[int]]:
    """Ten-thousandths: what is stored and compared later must not hang on the last bits of a matrix product."""
    found: list[list[int]] = np.rint(probabilities * E4).astype(np.int64).tolist()
    return found
