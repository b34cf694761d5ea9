"""What was learned about users beside scores: expected value, next order, segment, portrait. Told when somebody asks.

Nothing of this is stored with a user or computed on an event: it follows from the profile and the newest snapshots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from models.features.churn import raw_churn
from models.learners.envelope import Envelope
from models.learners.portraits import Portraits
from models.learners.segment_centres import PROSPECT, SegmentCentres
from models.learners.value_scores import Expected, ValueScores
from models.profile.state import Profile

NEVER_ORDERED = Expected(0.0, -1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Facts:
    """The snapshots that answer; each knows its version. The names of the fields are those of the models.

    Parameters
    ----------
    value : money and date of the next order. segments : by behaviour. portraits : by attributes.
    """

    value: ValueScores = field(default_factory=ValueScores)
    segments: SegmentCentres = field(default_factory=SegmentCentres)
    portraits: Portraits = field(default_factory=Portraits)

    @property
    def versions(self) -> dict[str, int]:
        """Version of each snapshot."""
        return {name: getattr(self, name).version for name in NAMES}

    def tell(self, name: str, profile: Profile, at: int) -> Any:
        """One of :data:`models.campaigns.view.LEARNED` as of `at` (ms), as conditions see it."""
        return _TOLD[name](self, profile, at)

    def expected(self, profile: Profile, at: int) -> Expected:
        """Money and date of the next order, as of `at` (ms)."""
        return self.value.expected(raw_of(profile, at)) if profile.orders else NEVER_ORDERED

    def segment(self, profile: Profile, at: int) -> str:
        """Segment by behaviour, as of `at` (ms)."""
        return self.segments.segment_of(raw_of(profile, at)) if profile.orders else PROSPECT


NAMES = tuple(one.name for one in fields(Facts))
READERS: Mapping[str, Callable[[Envelope], Any]] = MappingProxyType(
    {"value": ValueScores.from_envelope, "segments": SegmentCentres.from_envelope, "portraits": Portraits.from_envelope}
)
_TOLD: Mapping[str, Callable[[Facts, Profile, int], Any]] = MappingProxyType(
    {
        "expected_value": lambda facts, profile, at: facts.expected(profile, at).money,
        "expected_next_order_days": lambda facts, profile, at: facts.expected(profile, at).days,
        "segment": lambda facts, profile, at: facts.segment(profile, at),
        "portrait": lambda facts, profile, _: facts.portraits.portrait_of(profile.attributes),
    }
)


def raw_of(profile: Profile, at: int) -> list[int]:
    """Raw vector of churn, of a user with orders."""
    last, days = profile.last_order_ms, profile.purchase_days
    return raw_churn(profile.first_order * 1000, last, days, profile.money_minor, profile.recent_purchases, at)
