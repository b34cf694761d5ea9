"""What offers bring, learned when their windows end; served as :class:`models.offers.bandit.Bandit`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from models.decisions import OfferExample
from models.errors import IncompatibleSnapshotError
from models.experiments.fixed import wilson_interval
from models.experiments.sums import Proportion
from models.learners.model import Model
from models.offers import bandit
from models.offers.bandit import Bandit, BanditPayload, features, key_of
from models.offers.thompson import Thompson

MOST: Final = 500  # sets of offers; beyond that the one that was chosen from longest ago goes


class BanditModel(Model):
    """The bandits behind a session, one for each set of offers, reward and window."""

    schema = bandit.SCHEMA
    learns = "offer"

    def __init__(self) -> None:
        self.bandits: dict[str, Thompson] = {}
        self._decode = msgspec.json.Decoder(OfferExample).decode

    def learn(self, value: bytes) -> None:
        """Learn one :class:`models.decisions.OfferExample`."""
        example = self._decode(value)
        fits = example.offer in example.among and len(example.x) == len(bandit.RAW_NAMES)
        if example.type != "offer" or not fits or example.reward not in (0, 1) or not 0.0 < example.propensity <= 1.0:
            raise msgspec.ValidationError("not an example of an offer of this schema")
        key = key_of(example.reward_by, example.within_ms, example.among)
        found = self.bandits.pop(key, None) or Thompson(bandit.WIDTH)
        self.bandits[key] = found  # the newest one last
        arms = sorted(example.among)
        found.learn(example.offer, float(example.reward), arms, example.propensity, features(example.x))
        if len(self.bandits) > MOST:
            del self.bandits[next(iter(self.bandits))]

    def served(self) -> Bandit:
        """Return what is served now."""
        return Bandit(bandit.bandits_of(self.payload()))

    def payload(self) -> bytes:
        return msgspec.msgpack.encode(BanditPayload({key: one.snapshot() for key, one in self.bandits.items()}))

    def meta(self) -> dict[str, Any]:
        """Every set of offers with its arms: number, rewards, rate, 95 % interval, share; newest first."""
        found = []
        for key, one in reversed(self.bandits.items()):
            reward, within_s, *arms = key.split(" ")
            shares = bandit.millionths(one.propensities(arms))
            found.append(
                {
                    "reward": reward,
                    "within_ms": int(within_s) * 1000,
                    "contextual": one.contextual,
                    "arms": [
                        {"offer": arm, "share_e6": share, **_figures(one, arm)}
                        for arm, share in zip(arms, shares, strict=True)
                    ],
                }
            )
        return {"sets": found}

    def snapshot(self) -> dict[str, Any]:
        return {"bandits": {key: one.snapshot() for key, one in self.bandits.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        try:
            bandits = state["bandits"].items()
        except (KeyError, AttributeError) as error:
            raise IncompatibleSnapshotError(f"not a state of the bandit over offers: {error}") from error
        self.bandits = {}
        for key, held in bandits:
            self.bandits[key] = Thompson()
            self.bandits[key].restore(held)


def _figures(one: Thompson, arm: str) -> dict[str, Any]:
    """Number, rewards, rate and Wilson's interval of an arm."""
    held = one.arms.get(arm)
    sample = Proportion(0, 0) if held is None else Proportion(int(held.n), int(held.total))
    interval = wilson_interval(sample)
    low, high = (0.0, 1.0) if interval is None else interval
    rate = sample.rate if sample.n else None
    return {"n": sample.n, "rewards": sample.successes, "rate": rate, "low": low, "high": high}


MODEL = BanditModel
