"""Models of value, segments and portraits with chosen answers."""

import math

from models.features import churn
from models.learners.portraits import Column, Portraits, PortraitsPayload
from models.learners.segment_centres import SegmentCentres, SegmentsPayload
from models.learners.value_scores import Part, ValuePayload, ValueScores

_WIDTH = len(churn.FEATURE_NAMES)
_NAUGHT = [0.0] * _WIDTH


def value_of(money: float, days: float = 9.0, version: int = 5) -> ValueScores:
    """Everybody orders with even odds: this much is expected, and the order in so many days."""
    payload = ValuePayload(
        features=list(churn.FEATURE_NAMES),
        horizon_days=90,
        returns=Part(_NAUGHT, 0.0),
        amount=Part(_NAUGHT, math.log(2 * money)),
        gap=Part(_NAUGHT, days),
        level=1.0,
        own_share=0.0,
        learned=True,
        examples=900,
        buyers=450,
        first_label_ms=0,
    )
    return ValueScores(payload, version)


def segments_of(version: int = 3) -> SegmentCentres:
    """Two segments: silent for a day, and for a hundred."""
    payload = SegmentsPayload(
        names=["new", "lapsed"],
        centres=[[0.7, 0.7, 3.0], [4.6, 0.7, 3.0]],
        scale=[1.0, 1.0, 1.0],
        shares=[0.5, 0.5],
        customers=100,
        at_ms=0,
    )
    return SegmentCentres(payload, version)


def portraits(version: int = 2) -> Portraits:
    """Two portraits by age."""
    payload = PortraitsPayload(
        columns=[Column("age", mean=40.0, scale=10.0)],
        names=["age about 28", "age about 61"],
        centres=[[-1.2], [2.1]],
        shares=[0.5, 0.5],
        users=100,
        silhouette=0.7,
    )
    return Portraits(payload, version)
