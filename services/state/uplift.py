"""What campaigns change, told to whoever asks: of each campaign on the whole, and of one user."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import redis

from config.definitions import Definitions
from models.features.goals import raw
from models.learners.envelope import Envelope
from models.learners.uplift_scores import NAME, UpliftScores
from models.uplift import Subject, Uplifts, subjects_of
from services.state.people import find_person
from services.state.snapshots import SnapshotReader

NOT_LEARNED = "not learned yet"


class Part(msgspec.Struct, frozen=True):
    """A fifth of the users, by the uplift that they were told: how many, its mean, and what came of it."""

    users: int
    told: float
    effect: float | None = None


class CampaignUplift(msgspec.Struct, frozen=True):
    """What is known of a campaign's message.

    Parameters
    ----------
    conversion, within_ms : what is counted. control : experiment whose control gets no message.
    treated, held_out : known outcomes; converted_treated, converted_held_out : conversions among them.
    effect : conversions of the treated minus those of the held out, per user, with a 95 % interval.
    judged : outcomes of which it is known what was told before; qini : how well that ranked them (0: by chance);
        groups : fifths of them, those told the largest uplift first.
    """

    campaign: str
    description: str
    conversion: str
    within_ms: int
    control: str
    learned: bool = False
    treated: int = 0
    held_out: int = 0
    converted_treated: int = 0
    converted_held_out: int = 0
    effect: float | None = None
    effect_low: float | None = None
    effect_high: float | None = None
    judged: int = 0
    qini: float | None = None
    groups: list[Part] = []
    drifts: int = 0
    first_label_ms: int | None = None
    last_label_ms: int = 0


class UserUplift(msgspec.Struct, frozen=True):
    """How much more likely a campaign's message makes a conversion of the user; None while there is none."""

    campaign: str
    description: str
    conversion: str
    within_ms: int
    uplift: float | None
    note: str = ""


class Told(msgspec.Struct, frozen=True):
    """Answer about a user (after a merge: by the id that is left) as of `at` (event time, ms)."""

    user: str
    at: int
    snapshot: int
    uplift: list[UserUplift]


class UpliftReader:
    """Answers; synchronous, from any thread.

    Parameters
    ----------
    client : of Redis. lanes : how many there are.
    """

    def __init__(self, client: redis.Redis, lanes: int) -> None:
        self._client, self._lanes = client, lanes
        self._snapshots = SnapshotReader(client)
        self._newest: Envelope | None = None
        self._scores = UpliftScores()
        self._lock = threading.Lock()

    def campaigns(self, definitions: Definitions) -> list[CampaignUplift]:
        """Every campaign whose uplift is learned, learned or not.

        Raises
        ------
        TransientError
            Redis is away.
        IncompatibleSnapshotError
            The newest snapshot is of another version of the code.
        """
        envelope, _ = self._take()
        meta = {} if envelope is None else envelope.meta["campaigns"]
        return [campaign_of(subject, meta.get(str(subject.code), {})) for subject in subjects_of(definitions)]

    def ask(self, user: str, definitions: Definitions) -> Told | None:
        """Uplift of every campaign for a user, as of now; None if nobody knows the user. Raises as `campaigns` does."""
        found = find_person(self._client, self._lanes, user)
        if found is None:
            return None
        _, scores = self._take()
        uplifts, x = Uplifts(subjects_of(definitions), scores), raw(found.profile, found.at_ms // 1000)
        each = []
        for subject in uplifts.subjects:
            uplift, conversion = uplifts.of(subject.id, x, found.profile.attributes), subject.campaign.conversion
            note = NOT_LEARNED if uplift is None else ""
            about = subject.id, subject.campaign.description, conversion.event, conversion.within_ms
            each.append(UserUplift(*about, uplift, note))
        return Told(found.user, found.at_ms, scores.version, each)

    def _take(self) -> tuple[Envelope | None, UpliftScores]:
        version = self._snapshots.latest((NAME,)).get(NAME, 0)
        with self._lock:
            if version != self._scores.version:
                self._newest = self._snapshots.load(NAME, version) if version else None
                self._scores = UpliftScores() if self._newest is None else UpliftScores.from_envelope(self._newest)
            return self._newest, self._scores


def campaign_of(subject: Subject, meta: dict[str, Any]) -> CampaignUplift:
    """What the learner noted of a campaign, in the words of its file."""
    campaign = subject.campaign
    about = {
        "campaign": campaign.id,
        "description": campaign.description,
        "conversion": campaign.conversion.event,
        "within_ms": campaign.conversion.within_ms,
        "control": subject.control,
    }
    return msgspec.convert(meta | about, CampaignUplift)
