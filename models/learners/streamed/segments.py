"""Segments by behaviour in the stream: where every customer stands, grouped anew once a fortnight of event time."""

from __future__ import annotations

import heapq
from typing import Any, Final

import msgspec
import numpy as np
import xxhash

from models.decisions import ChurnExample
from models.errors import IncompatibleSnapshotError
from models.features import churn
from models.learners.churn_examples import read
from models.learners.health import ScoreHealth
from models.learners.model import Model
from models.learners.segment_centres import (
    FEATURES,
    SCHEMA,
    SegmentCentres,
    SegmentsPayload,
    names_of,
    places_of,
    silhouette,
    typical,
)
from models.learners.segments import NAME, Segments

SEGMENTS: Final = 4
REFIT_MS: Final = 14 * churn.DAY_MS
# Customers who are remembered, those with the lowest hashes: a fair sample.
MOST_CUSTOMERS: Final = 2048


class SegmentsModel(Model):
    """Learns the examples of churn; served as :class:`models.learners.segment_centres.SegmentCentres`.

    Notes
    -----
    Each remembered customer counts once: the raw vector of the newest example, grown to the time of the newest example
    of all. Who has not ordered since is silent for longer; who has, tells it with the next example, two weeks later. A
    full fit (k-means with ten starts, standardised logarithms) is made when that time is a fortnight ahead of the last;
    segments keep their places by an optimal matching of centres. Examples are told when their label is due, so the
    centres are as old as the horizon of churn; customers are assigned by where they stand when it is asked. Memory:
    `MOST_CUSTOMERS` vectors of five numbers.
    """

    schema = SCHEMA
    learns = "churn"

    def __init__(self) -> None:
        self.segments = Segments(SEGMENTS, len(FEATURES))
        self.at_ms = 0
        self.fitted_ms = 0
        self.fits = 0
        self._renewed = False
        self._silhouette: float | None = None
        self._served = SegmentsPayload(names=[], centres=[], scale=[], shares=[], customers=0, at_ms=0)
        # By the hash of the user: when, and the raw vector then.
        self._known: dict[int, tuple[int, list[int]]] = {}
        self._largest: list[int] = []  # hashes below zero, a heap: the largest hash first

    def learn(self, value: bytes) -> None:
        """Learn one :class:`models.decisions.ChurnExample`."""
        self.learn_example(read(value))

    def learn_example(self, example: ChurnExample) -> None:
        """Learn one example that was checked."""
        self._remember(xxhash.xxh3_64_intdigest(example.user.encode()) >> 1, example)
        self.at_ms = max(self.at_ms, example.at)
        if not self.fits:
            self.fitted_ms = self.fitted_ms or example.at
        if self.at_ms - self.fitted_ms >= REFIT_MS and len(self._known) >= SEGMENTS * 25:
            self._fit()

    def centres(self) -> SegmentCentres:
        """Return what is served now."""
        return SegmentCentres(self._served)

    def worth_publishing(self) -> bool:
        """Whether the segments were fitted anew."""
        renewed, self._renewed = self._renewed, False
        return renewed

    def payload(self) -> bytes:
        return msgspec.msgpack.encode(self._served)

    def meta(self) -> dict[str, Any]:
        served = self._served
        each = zip(served.names, served.shares, served.centres, strict=True)
        return {
            "learned": bool(served.names),
            "customers": served.customers,
            "fits": self.fits,
            "at_ms": served.at_ms,
            "segments": [
                {"name": name, "share": round(share, 4)} | dict(zip(FEATURES, typical(centre), strict=True))
                for name, share, centre in each
            ],
        }

    def health(self) -> dict[str, ScoreHealth]:
        figures = {} if self._silhouette is None else {"silhouette": round(self._silhouette, 3)}
        found = len(self._known)
        return {"": ScoreHealth(learned=self.fits > 0, examples=found, newest_ms=self.at_ms or None, figures=figures)}

    def snapshot(self) -> dict[str, Any]:
        known = sorted(self._known.items())
        return {
            "segments": self.segments.snapshot(),
            "at": [self.at_ms, self.fitted_ms, self.fits],
            "users": [code for code, _ in known],
            "known": [[at, *x] for _, (at, x) in known],
            "served": msgspec.to_builtins(self._served),
            "silhouette": self._silhouette,
        }

    def restore(self, state: dict[str, Any]) -> None:
        try:
            self.segments.restore(state["segments"])
            self.at_ms, self.fitted_ms, self.fits = state["at"]
            rows = zip(state["users"], state["known"], strict=True)
            self._known = {int(code): (int(row[0]), [int(value) for value in row[1:]]) for code, row in rows}
            self._largest = [-code for code in self._known]
            heapq.heapify(self._largest)
            self._served = msgspec.convert(state["served"], SegmentsPayload)
            self._silhouette = state.get("silhouette")
        except (KeyError, msgspec.ValidationError) as error:
            raise IncompatibleSnapshotError(f"state of {NAME}: {error}") from error

    def _remember(self, code: int, example: ChurnExample) -> None:
        held = self._known.get(code)
        if held is not None:
            if held[0] <= example.at:
                self._known[code] = (example.at, list(example.x))
            return
        if len(self._known) >= MOST_CUSTOMERS:
            if code > -self._largest[0]:
                return
            del self._known[-heapq.heappop(self._largest)]
        heapq.heappush(self._largest, -code)
        self._known[code] = (example.at, list(example.x))

    def _fit(self) -> None:
        """Group all who are remembered, as of the newest example."""
        rows = [churn.grown(x, (self.at_ms - at) // churn.DAY_MS) for _, (at, x) in sorted(self._known.items())]
        places = places_of(rows)
        self.fitted_ms = self.at_ms
        if len(np.unique(places, axis=0)) < SEGMENTS:
            return  # so many customers and not even so many places: there is nothing to tell apart
        labels = self.segments.refit(places)
        centres = self.segments.centres()
        self._silhouette = silhouette(places, centres, self.segments.scale())
        shares = np.bincount(labels, minlength=SEGMENTS) / len(labels)
        self._served = SegmentsPayload(
            names=names_of(centres, places.mean(axis=0)),
            centres=centres.tolist(),
            scale=self.segments.scale().tolist(),
            shares=shares.tolist(),
            customers=len(labels),
            at_ms=self.at_ms,
        )
        self.fits += 1
        self._renewed = True


MODEL: Final = SegmentsModel
