"""Which offer comes first: Thompson sampling in the stream. Shares are frozen by a snapshot, so they can be recorded.

Customers who may get a voucher are others than those who may not, so each set of offers among which a choice was made
has a bandit of its own: within it the offers were dealt out among the same customers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from config.rules import OfferPolicy
from models.errors import IncompatibleSnapshotError
from models.learners.envelope import Envelope, require
from models.offers.thompson import Thompson
from models.profile.state import MILLION, Profile

FloatArray = npt.NDArray[np.float64]

NAME: Final = "bandit"
SCHEMA: Final = 1
DAY_MS: Final = 86_400_000

RAW_NAMES: Final = ("orders", "days_since_order", "order_value_minor", "churn_e4", "visits")
WIDTH: Final = len(RAW_NAMES) + 1


def context_of(profile: Profile, at: int) -> list[int]:
    """What a choice may hang on, as whole numbers (:data:`RAW_NAMES`); -1: there is none yet."""
    orders = profile.orders
    return [
        orders,
        max(at - profile.last_order_ms, 0) // DAY_MS if orders else -1,
        profile.money_minor // orders if orders else -1,
        profile.score_e6 // 100 if profile.score_e6 >= 0 else -1,
        profile.sessions,
    ]


def features(raw: Sequence[int]) -> FloatArray:
    """The context as the bandit sees it: about as wide as 1, with a leading 1.

    Examples
    --------
    >>> features([0, -1, -1, -1, 0]).tolist()
    [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    orders, days, value, churn, visits = raw
    return np.array(
        [
            1.0,
            np.log1p(max(orders, 0)) / 2.0,
            np.log1p(max(days, 0)) / 4.0,
            np.log1p(max(value, 0)) / 8.0,
            churn / 5_000.0 - 1.0 if churn >= 0 else 0.0,
            np.log1p(max(visits, 0)) / 3.0,
        ]
    )


def key_of(reward: str, within_ms: int, arms: Sequence[str]) -> str:
    """Name of the bandit over these offers; another reward or another window is another question.

    Examples
    --------
    >>> key_of("order", 7 * DAY_MS, ["b", "a"])
    'order 604800 a b'
    """
    return " ".join((reward, str(within_ms // 1000), *sorted(arms)))


def millionths(chances: FloatArray) -> list[int]:
    """Probabilities as millionths that add up to one: what is recorded must not hang on last bits.

    Examples
    --------
    >>> millionths(np.array([1.0, 1.0, 1.0]) / 3.0)
    [333334, 333333, 333333]
    """
    found = np.rint(chances * MILLION).astype(np.int64)
    found[np.argmax(found)] += MILLION - found.sum()
    shares: list[int] = found.tolist()
    return shares


def taken(shares: Sequence[int], number: float) -> int:
    """Place of the arm that a number in [0, 1) falls on.

    Examples
    --------
    >>> taken([500_000, 500_000], 0.499999), taken([500_000, 500_000], 0.5)
    (0, 1)
    """
    left = int(number * MILLION)
    for place, share in enumerate(shares):
        left -= share
        if left < 0:
            return place
    return len(shares) - 1


class BanditPayload(msgspec.Struct, frozen=True):
    """Payload of a ``bandit`` snapshot: states of :class:`models.offers.thompson.Thompson` by :func:`key_of`."""

    bandits: dict[str, dict[str, Any]]


class Bandit:
    """What was learned about offers, frozen: the shares of every set of offers.

    Parameters
    ----------
    bandits : by :func:`key_of`. version : of the snapshot, 0 before anything was learned.

    Examples
    --------
    >>> Bandit().shares(OfferPolicy(choose="bandit"), ["a", "b"], [0, -1, -1, -1, 0])
    [500000, 500000]
    """

    __slots__ = ("_bandits", "_shares", "version")

    def __init__(self, bandits: Mapping[str, Thompson] | None = None, version: int = 0) -> None:
        self._bandits = dict(bandits or {})
        self._shares: dict[tuple[str, tuple[str, ...]], list[int]] = {}
        self.version = version

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> Bandit:
        """Bandit of a snapshot.

        Raises
        ------
        IncompatibleSnapshotError
            Another model or layout.
        """
        require(envelope, NAME, SCHEMA)
        return cls(bandits_of(envelope.payload), envelope.version)

    def shares(self, policy: OfferPolicy, arms: Sequence[str], raw: Sequence[int]) -> list[int]:
        """Probability of each of `arms` to come first, in millionths that add up to one."""
        key = key_of(policy.reward, policy.reward_within_ms, arms)
        bandit = self._bandits.get(key)
        if bandit is not None and bandit.contextual:
            return millionths(bandit.propensities(arms, features(raw)))
        place = (key, tuple(arms))
        found = self._shares.get(place)
        if found is None:
            equal = np.full(len(arms), 1.0 / len(arms))
            found = self._shares[place] = millionths(equal if bandit is None else bandit.propensities(arms))
        return found


def bandits_of(payload: bytes) -> dict[str, Thompson]:
    """Bandits of the payload of a snapshot."""
    found: dict[str, Thompson] = {}
    try:
        states = msgspec.msgpack.decode(payload, type=BanditPayload).bandits
    except msgspec.DecodeError as error:
        raise IncompatibleSnapshotError(f"bandit payload: {error}") from error
    for key, state in states.items():
        found[key] = Thompson()
        found[key].restore(state)
    return found
