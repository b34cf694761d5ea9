"""The frozen effects that decide tells uplift with: the published form of what the learner of uplift knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.features import goals
from models.features.attributes import Attributes, AttributesPayload, Told
from models.learners.base import Weights, sigmoid
from models.learners.effect_pool import EffectPool
from models.learners.envelope import Envelope, payload_in

FloatArray = npt.NDArray[np.float64]

NAME: Final = "uplift"
SCHEMA: Final = 1
# Effects are held tight by themselves: an attribute weighs in full.
INDICATOR: Final = 1.0


class Line(msgspec.Struct, frozen=True):
    """Weights and bias over expanded features."""

    weights: list[float]
    bias: float


class EffectPayload(msgspec.Struct, frozen=True, kw_only=True):
    """What is served for one campaign; nothing of it is used before it is `learned`.

    Parameters
    ----------
    main : log-odds of the conversion. effects : each effect, on log-odds or (`on_odds` false) on the rate, in units of
        `spread`. groups : log-odds of those held out and of the treated. shares : weight of each effect and, last, of
        the difference of the groups. treated : share of the treated.
    attributes : how those are encoded that the campaign names, whose columns stand behind those of behaviour.
    """

    campaign: str
    learned: bool
    features: list[str]
    main: Line
    effects: list[Line]
    on_odds: list[bool]
    spread: list[float]
    groups: list[Line]
    shares: list[float]
    treated: float
    attributes: AttributesPayload | msgspec.UnsetType = msgspec.UNSET


class UpliftPayload(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of an ``uplift`` snapshot: by the code of what is learned (:attr:`config.definitions.Campaign`)."""

    campaigns: dict[int, EffectPayload]


def payload_of(
    pool: EffectPool, campaign: str, *, learned: bool, attributes: Attributes | None = None
) -> EffectPayload:
    """What a pool over the features of goals has learned."""
    return EffectPayload(
        campaign=campaign,
        learned=learned,
        features=[*goals.FEATURE_NAMES, *([] if attributes is None else attributes.names_of_columns())],
        main=_line(pool.main.linear()),
        effects=[_line(effect.linear()) for effect in pool.effects],
        on_odds=[effect.on_odds for effect in pool.effects],
        spread=[effect.spread for effect in pool.effects],
        groups=[_line(group.linear()) for group in pool.groups],
        shares=pool.weights().tolist(),
        treated=pool.share,
        attributes=msgspec.UNSET if attributes is None else attributes.payload(),
    )


def _line(linear: Weights) -> Line:
    return Line(linear.weights.tolist(), linear.bias)


class UpliftScores:
    """Effects of campaigns on whoever is asked about, immutable.

    Parameters
    ----------
    payload : as it was published. version : of the snapshot, 0 for none.

    Attributes
    ----------
    learned : codes of what there is a score for.

    Raises
    ------
    IncompatibleSnapshotError
        It was made for other features than this code computes.
    """

    __slots__ = ("_effects", "learned", "payload", "version")

    def __init__(self, payload: UpliftPayload | None = None, version: int = 0) -> None:
        self.payload, self.version = payload or UpliftPayload(campaigns={}), version
        known: Mapping[int, EffectPayload] = self.payload.campaigns
        if any(tuple(one.features[: len(goals.FEATURE_NAMES)]) != goals.FEATURE_NAMES for one in known.values()):
            raise IncompatibleSnapshotError("the uplift snapshot was made for other features than this code computes")
        self._effects = {code: _Effect(one) for code, one in known.items() if one.learned}
        self.learned = frozenset(self._effects)

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> UpliftScores:
        """Effects of an ``uplift`` snapshot.

        Raises
        ------
        IncompatibleSnapshotError
            Another model, schema or feature list.
        """
        return cls(payload_in(envelope, NAME, SCHEMA, UpliftPayload), envelope.version)

    def score(self, code: int, matrix: FloatArray, told: Sequence[Mapping[str, Told]] = ()) -> FloatArray:
        """P(conversion | message) - P(conversion | none) per raw vector, for one of :attr:`learned`.

        Parameters
        ----------
        told : attributes of the user of each row; none: nothing was told of anybody.
        """
        return self._effects[code].score(goals.expand(matrix), told)


class _Effect:
    """One campaign's effect as arrays."""

    __slots__ = ("_attributes", "_bias", "_on_odds", "_payload", "_shares", "_spread", "_weights")

    def __init__(self, payload: EffectPayload) -> None:
        # Columns: the main effect, the groups (held out, treated), then the effects.
        lines: Sequence[Line] = (payload.main, *payload.groups, *payload.effects)
        known = payload.attributes
        self._attributes = Attributes.of(known, INDICATOR) if isinstance(known, AttributesPayload) else None
        width = len(goals.FEATURE_NAMES) + (0 if self._attributes is None else self._attributes.width)
        if any(len(line.weights) != width for line in lines) or len(payload.groups) != 2:
            raise IncompatibleSnapshotError("the uplift snapshot's arrays do not fit together")
        if not len(payload.effects) == len(payload.on_odds) == len(payload.spread) == len(payload.shares) - 1:
            raise IncompatibleSnapshotError("the uplift snapshot's arrays do not fit together")
        self._payload = payload
        self._weights = np.array([line.weights for line in lines]).T
        self._bias = np.array([line.bias for line in lines])
        self._on_odds, self._spread = np.array(payload.on_odds, dtype=bool), np.array(payload.spread)
        self._shares = np.array(payload.shares)

    def score(self, x: FloatArray, known: Sequence[Mapping[str, Told]]) -> FloatArray:
        if self._attributes is not None:
            x = np.hstack((x, np.array([self._attributes.look(one) for one in known or [{}] * len(x)])))
        told = x @ self._weights + self._bias
        base, share = sigmoid(told[:, 0]), self._payload.treated
        odds = np.log(np.clip(base, 1e-9, 1.0 - 1e-9) / np.clip(1.0 - base, 1e-9, 1.0))[:, None]
        effects = told[:, 3:]
        on_odds = sigmoid(odds + (1.0 - share) * effects) - sigmoid(odds - share * effects)
        members = np.where(self._on_odds, on_odds, np.clip(self._spread * effects, -1.0, 1.0))
        apart = sigmoid(told[:, 2]) - sigmoid(told[:, 1])
        return np.asarray(members @ self._shares[:-1] + apart * self._shares[-1])
