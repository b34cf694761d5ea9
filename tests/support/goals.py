"""Models of goals with chosen weights."""

from models.brain import Brain
from models.features.goals import FEATURE_NAMES
from models.learners.goal_scores import GoalPayload, GoalScores, GoalsPayload
from models.learners.linear import LinearPayload


def goal_scores(
    brain: Brain, *, bias: float = 0.0, learned: bool = True, version: int = 7, **weights: float
) -> GoalScores:
    """Models with these weights for every goal that the brain knows."""
    width = len(FEATURE_NAMES)
    model = LinearPayload(
        features=list(FEATURE_NAMES),
        weights=[weights.get(name, 0.0) for name in FEATURE_NAMES],
        bias=bias,
        mean=[0.0] * width,
        scale=[1.0] * width,
        platt=(1.0, 0.0),
        learned=learned,
        examples=1000,
        first_label_ms=0,
    )
    goals = {code: GoalPayload(goal=goal.id, model=model) for code, goal in brain.goals.by_code.items()}
    return GoalScores(GoalsPayload(goals=goals), version=version)
