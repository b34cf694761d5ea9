"""Effects of campaigns that are as chosen."""

from models.brain import Brain
from models.features.goals import FEATURE_NAMES
from models.learners.uplift_scores import EffectPayload, Line, UpliftPayload, UpliftScores


def uplift_scores(
    brain: Brain, *, bias: float = 0.0, effect: float = 0.0, learned: bool = True, version: int = 5, **weights: float
) -> UpliftScores:
    """One effect on log-odds, `effect` plus `weights` of features, for every campaign whose uplift is learned."""
    nothing = Line([0.0] * len(FEATURE_NAMES), bias)
    line = Line([weights.get(name, 0.0) for name in FEATURE_NAMES], effect)
    payload = {
        subject.code: EffectPayload(
            campaign=subject.id,
            learned=learned,
            features=list(FEATURE_NAMES),
            main=nothing,
            effects=[line],
            on_odds=[True],
            spread=[0.25],
            groups=[nothing, nothing],
            shares=[1.0, 0.0],
            treated=0.5,
        )
        for subject in brain.uplift.subjects
    }
    return UpliftScores(UpliftPayload(campaigns=payload), version)
