"""The frozen form of the segments by behaviour: centres, and names that say what their customers are like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.learners.envelope import Envelope, payload_in

FloatArray = npt.NDArray[np.float64]

NAME: Final = "segments"
SCHEMA: Final = 1
FEATURES: Final = ("recency_days", "purchase_days", "money")
PROSPECT: Final = "prospect"  # whoever has not ordered yet
# Customers who ordered on hardly more than one day are new, if they did so lately.
FEW_DAYS: Final = 1.5


class SegmentsPayload(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a ``segments`` snapshot; empty before the first fit.

    Parameters
    ----------
    names : of each segment. centres : per segment, in the logarithms of :func:`place_of`. scale : deviations.
    shares : of the customers at the last fit. customers : how many were seen by it. at_ms : event time of the fit.
    """

    names: list[str]
    centres: list[list[float]]
    scale: list[float]
    shares: list[float]
    customers: int
    at_ms: int


class SegmentCentres:
    """Which segment a customer belongs to, immutable.

    Parameters
    ----------
    payload : as it was published; None: nothing was learned. version : of the snapshot, 0 for none.
    """

    name = NAME
    __slots__ = ("_centres", "_scale", "payload", "version")

    def __init__(self, payload: SegmentsPayload | None = None, version: int = 0) -> None:
        self.payload, self.version = payload, version
        names = [] if payload is None else payload.names
        self._centres = np.array([] if payload is None else payload.centres).reshape(len(names), len(FEATURES))
        self._scale = np.array([1.0] * len(FEATURES) if payload is None or not names else payload.scale)

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> SegmentCentres:
        """Segments of a ``segments`` snapshot.

        Raises
        ------
        IncompatibleSnapshotError
            Another model or schema, or centres of another kind.
        """
        payload = payload_in(envelope, NAME, SCHEMA, SegmentsPayload)
        try:
            return cls(payload, envelope.version)
        except ValueError as error:
            raise IncompatibleSnapshotError(f"{NAME} payload: {error}") from error

    @property
    def learned(self) -> bool:
        """Whether there are segments yet."""
        return self.payload is not None and bool(self.payload.names)

    def segment_of(self, raw: Sequence[int]) -> str:
        """Segment of a customer, by the raw vector of churn; empty while nothing was learned."""
        if self.payload is None or not self.payload.names:
            return ""
        gaps = (np.array(place_of(raw)) - self._centres) / self._scale
        return self.payload.names[int((gaps * gaps).sum(axis=1).argmin())]


def place_of(raw: Sequence[int]) -> list[float]:
    """Where a customer stands: logarithms of days since the last order, purchase days and money (major units).

    Examples
    --------
    >>> [round(x, 2) for x in place_of([10, 3, 9000, 70, 200])]
    [2.4, 1.39, 4.51]
    """
    found: list[float] = places_of([raw])[0].tolist()
    return found


def places_of(rows: Sequence[Sequence[int]]) -> FloatArray:
    """:func:`place_of` for many raw vectors at once, shape (n, len(FEATURES))."""
    facts = np.array(rows, dtype=np.float64)[:, :3]
    facts[:, 2] /= 100.0
    return np.asarray(np.log1p(np.maximum(facts, 0.0)))


def silhouette(places: FloatArray, centres: FloatArray, scale: FloatArray) -> float:
    """How well customers fit their segment and no other, -1 to 1: mean simplified silhouette.

    Parameters
    ----------
    places : shape (n, len(FEATURES)). centres : shape (k, len(FEATURES)), k at least 2. scale : deviations.

    References
    ----------
    E. Hruschka et al., "Evolving clusters in gene-expression data", Information Sciences 2006: distances to centres in
    place of distances to all.

    Examples
    --------
    >>> silhouette(np.array([[0.0], [1.0], [10.0]]), np.array([[0.0], [10.0]]), np.ones(1))
    0.9629629629629629
    """
    gaps = (places[:, None, :] - centres[None, :, :]) / scale
    two = np.partition(np.sqrt((gaps * gaps).sum(axis=2)), 1, axis=1)[:, :2]
    return float((1.0 - two[:, 0] / np.maximum(two[:, 1], 1e-12)).mean())


def typical(centre: Sequence[float]) -> list[float]:
    """Days since the last order, purchase days and money that a centre stands for: what :func:`place_of` was made of.

    Examples
    --------
    >>> typical(place_of([10, 3, 9000, 70, 200]))
    [10.0, 3.0, 90.0]
    """
    return [round(float(np.expm1(value)), 2) for value in centre]


def names_of(centres: FloatArray, mean: FloatArray) -> list[str]:
    """A name for each centre, by whether its customers are more silent, and worth more, than the mean of all.

    Notes
    -----
    Silent and worth much: "at-risk"; silent and worth little: "lapsed"; lately here and worth much: "high-value";
    lately here and worth little: "new" if they ordered on hardly more than one day, else "regular". Of two that would
    have the same name, the one with less money gets a number.

    Examples
    --------
    >>> centres = np.log1p([[10.0, 12, 3000], [120, 2, 200], [20, 1, 150], [15, 8, 1500]])
    >>> names_of(centres, centres.mean(axis=0))
    ['high-value', 'lapsed', 'new', 'high-value-2']
    """
    names = [""] * len(centres)
    for place in np.argsort(-centres[:, 2], kind="stable").tolist():
        recency, days, money = centres[place]
        silent, worth = recency > mean[0], money > mean[2]
        if silent:
            name = "at-risk" if worth else "lapsed"
        elif worth:
            name = "high-value"
        else:
            name = "new" if np.expm1(days) <= FEW_DAYS else "regular"
        number = sum(re.fullmatch(rf"{name}(-\d+)?", known) is not None for known in names)
        names[place] = f"{name}-{number + 1}" if number else name
    return names
