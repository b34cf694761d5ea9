"""What a user is likely to do, told to whoever asks: from the profile, the newest snapshot and the lane's time."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec
import redis

from config.definitions import Goal
from models.features.goals import as_matrix, raw, reasons
from models.goals import Goals
from models.learners.contest import ONLINE
from models.learners.goal_scores import NAME, GoalScores
from models.learners.standing import spell
from models.learners.task import Task
from models.profile.state import Profile
from services.state.people import find_person
from services.state.promoted import Promoted
from services.state.snapshots import SnapshotReader


class Why(msgspec.Struct, frozen=True):
    """One reason: `share` in log-odds (positive: speaks for the goal), `text` for a person."""

    text: str
    share: float


class Propensity(msgspec.Struct, frozen=True):
    """Probability that a user reaches a goal within its horizon.

    Parameters
    ----------
    probability : None while there is none; `note` says why.
    model : `online`, or the batch version that was promoted.
    reasons : strongest first. others : share in log-odds of all other reasons; base : log-odds of the average user.
        Base, reasons and others add up to the log-odds of the probability.
    """

    goal: str
    description: str
    horizon_ms: int
    probability: float | None
    note: str = ""
    model: str = ""
    reasons: list[Why] = []
    others: float = 0.0
    base: float = 0.0


class Told(msgspec.Struct, frozen=True):
    """Answer about a user (after a merge: by the id that is left) as of `at` (event time, ms).

    `snapshot` : version of the models.
    """

    user: str
    at: int
    snapshot: int
    propensities: list[Propensity]


class PropensityReader:
    """Answers; synchronous, from any thread.

    Parameters
    ----------
    client : of Redis. lanes : how many there are.

    Notes
    -----
    The score is computed as the question is asked: as of the lane's watermark (or the user's last event, if that is
    later), with the newest snapshot or the batch model that was promoted. What conditions see is the score as
    of the user's last event.
    """

    def __init__(self, client: redis.Redis, lanes: int) -> None:
        self._client, self._lanes = client, lanes
        self._snapshots = SnapshotReader(client)
        self._promoted = Promoted(client)
        self._scores = GoalScores()
        self._lock = threading.Lock()

    def ask(self, user: str, goals: Sequence[Goal]) -> Told | None:
        """Propensities of a user; None if nobody knows the user.

        Raises
        ------
        TransientError
            Redis is away.
        IncompatibleSnapshotError
            The newest snapshot is of another version of the code.
        """
        found = find_person(self._client, self._lanes, user)
        if found is None:
            return None
        user, profile, at_ms = found
        scores = self._newest(goals)
        return Told(user, at_ms, scores.version, told(profile, at_ms // 1000, Goals(tuple(goals), scores)))

    def _newest(self, goals: Sequence[Goal]) -> GoalScores:
        version = self._snapshots.latest((NAME,)).get(NAME, 0)
        with self._lock:
            known = self._scores.batch
            batch = self._promoted.take({Task.of_goal(goal.id, goal.code): known.get(goal.code) for goal in goals})
            if version != self._scores.version:
                self._scores = (
                    GoalScores.from_envelope(self._snapshots.load(NAME, version)) if version else GoalScores()
                )
            self._scores = self._scores.with_batch({task.code: one for task, one in batch.items() if one is not None})
            return self._scores


def told(profile: Profile, at: int, goals: Goals) -> list[Propensity]:
    """Propensity of every enabled goal at second `at`, with reasons."""
    served, x = goals.served, raw(profile, at)
    about = profile.attributes if served.attributed else {}
    row = served.score(as_matrix([x]), [about])[0].tolist() if served.codes else []
    probabilities = dict(zip(served.codes, row, strict=True))
    found = []
    for goal in goals.goals:
        if not goal.enabled:
            continue
        if profile.orders < goal.min_orders:
            note = f"asked of users with {goal.min_orders} or more orders"
        elif goal.code not in probabilities:
            note = "not learned yet"
        else:
            shares = served.contributions(goal.code, x, about)
            told_of = reasons(shares, x, about=about)
            found.append(
                Propensity(
                    goal.id,
                    goal.description,
                    goal.horizon_ms,
                    round(probabilities[goal.code], 4),
                    model=spell(served.batch[goal.code].version if goal.code in served.batch else ONLINE),
                    reasons=[Why(text, round(share, 4)) for text, share in told_of],
                    others=round(sum(share for _, share in shares) - sum(share for _, share in told_of), 4),
                    base=round(served.base_log_odds(goal.code), 4),
                )
            )
            continue
        found.append(Propensity(goal.id, goal.description, goal.horizon_ms, None, note))
    return found
