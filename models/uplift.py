"""Uplift in the stream: whom a campaign's message changes, learned from those who get none.

A campaign with a control group begins an example whenever it writes, and whenever it would have written but for the
control group; with a holdout alone, whenever a user of the holdout is left out. What was known of the user then is
kept with the examples of goals, and told to training when the time for the campaign's conversion is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from config.codes import code32
from config.definitions import Campaign, Definitions
from models.decisions import UpliftExample, effect_id
from models.features.attributes import Told, kept, named
from models.features.goals import RAW_NAMES, as_matrix, raw
from models.learners.uplift_scores import UpliftScores
from models.profile.awaited import GoalSample
from models.profile.state import E4, Profile

if TYPE_CHECKING:
    from models.decide import Turn

# Codes of goals lie below, so that both can stand in one list of a profile.
FIRST_CODE: Final = 1 << 16
RAW: Final = len(RAW_NAMES)
# Of 256 decisions against which `min_uplift` speaks so many are made all the same: people change.
EXPLORED: Final = 13


@dataclass(frozen=True)
class Subject:
    """A campaign whose uplift is learned.

    Parameters
    ----------
    control : experiment whose control gets no message. reason : why it gets none, as messages tell it.
    """

    campaign: Campaign
    control: str
    reason: str

    @property
    def id(self) -> str:
        """Name of the campaign."""
        return self.campaign.id

    @cached_property
    def code(self) -> int:
        """Number of what is asked, even: a campaign that asks something else is learned anew."""
        wanted = self.campaign.conversion
        text = f"{self.id}\n{self.control}\n{wanted.event}\n{wanted.within_ms}"
        return FIRST_CODE + 2 * (code32("\n".join([text, *wanted.attributes])) >> 2)

    @cached_property
    def waits(self) -> tuple[Wait, Wait]:
        """What is waited for of those held out and of the treated."""
        return Wait(self, 0), Wait(self, 1)


@dataclass(frozen=True)
class Wait:
    """What an open example waits for, as :mod:`models.goals` asks it of a goal."""

    subject: Subject
    treated: int

    @cached_property
    def code(self) -> int:
        """Number in the profile."""
        return self.subject.code + self.treated

    @property
    def event(self) -> str:
        """Event that is the conversion."""
        return self.subject.campaign.conversion.event

    @property
    def horizon_ms(self) -> int:
        """Time within which it has to come."""
        return self.subject.campaign.conversion.within_ms

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of those that the uplift is learned from besides behaviour."""
        return self.subject.campaign.conversion.attributes

    def example(self, user: str, sample: GoalSample, due: int, at: int) -> UpliftExample:
        """The example for training, when it is told at second `at`."""
        return UpliftExample(
            id=effect_id(f"uplift:{self.subject.id}", "example", user, str(sample.at)),
            user=user,
            campaign=self.subject.id,
            code=self.subject.code,
            at=sample.at * 1000,
            due=due * 1000,
            known_at=at * 1000,
            treated=self.treated,
            label=int(sample.reached),
            x=sample.x[:RAW] if self.attributes else sample.x,
            uplift_e4=None if sample.p_e4 < 0 else sample.p_e4 - E4,
            attributes=named(self.attributes, sample.x[RAW:]) if self.attributes else msgspec.UNSET,
        )


@dataclass(frozen=True)
class Uplifts:
    """Uplift as the core asks for it.

    Parameters
    ----------
    subjects : campaigns whose uplift is learned. scores : what was learned of any campaign.
    asked : ids of campaigns that a condition asks about.
    """

    subjects: tuple[Subject, ...] = ()
    scores: UpliftScores = field(default_factory=UpliftScores)
    asked: frozenset[str] = frozenset()

    @cached_property
    def by_campaign(self) -> Mapping[str, Subject]:
        """Subjects by the campaign's id."""
        return {subject.id: subject for subject in self.subjects}

    @cached_property
    def waits(self) -> tuple[Wait, ...]:
        """Everything that an open example may wait for."""
        return tuple(wait for subject in self.subjects for wait in subject.waits)

    def of(self, campaign: str, x: list[int], about: Mapping[str, Told]) -> float | None:
        """Uplift of a campaign's message for a raw vector and attributes; None while it is not learned."""
        subject = self.by_campaign.get(campaign)
        if subject is None or subject.code not in self.scores.learned:
            return None
        # Rounded: what is decided by it must not hang on the last bits of a matrix product.
        return int(np.rint(self.scores.score(subject.code, as_matrix([x]), [about])[0] * E4)) / E4

    def told(self, profile: Profile, at: int) -> dict[str, float]:
        """Uplift of each campaign that conditions ask about, for a user at second `at`."""
        learned = [one.id for one in self.subjects if one.id in self.asked and one.code in self.scores.learned]
        if not learned:
            return {}
        x = raw(profile, at)
        found = {name: self.of(name, x, profile.attributes) for name in learned}
        return {name: uplift for name, uplift in found.items() if uplift is not None}

    def with_scores(self, scores: UpliftScores) -> Uplifts:
        """The same campaigns with other models."""
        return replace(self, scores=scores)


def subjects_of(definitions: Definitions) -> tuple[Subject, ...]:
    """Enabled campaigns with a control group, or with the holdout for one."""
    found = []
    for campaign in definitions.campaigns:
        holdout = definitions.policy.holdout if campaign.purpose == "marketing" else None
        control = campaign.control or holdout
        if campaign.enabled and control is not None:
            found.append(Subject(campaign, control, "holdout" if control == holdout else "control_group"))
    return tuple(found)


def uplifts_of(definitions: Definitions, conditions: Iterable[str]) -> Uplifts:
    """Uplift for these definitions, before anything is learned; `conditions` : their texts."""
    subjects = subjects_of(definitions)
    texts = [text for text in conditions if "uplift" in text]
    # A condition may name a campaign in more ways than one; whoever names none may mean any.
    named = {one.id for one in subjects if any(one.id in text for text in texts)}
    silent = any(not any(one.id in text for one in subjects) for text in texts)
    return Uplifts(subjects, asked=frozenset(one.id for one in subjects) if silent else frozenset(named))


def too_small(turn: Turn, profile: Profile, campaign: Campaign, at: int, digest: bytes) -> bool:
    """Whether the campaign's `min_uplift` speaks against writing to this user. `digest` : of the message's id."""
    if campaign.min_uplift is None or digest[-1] < EXPLORED:
        return False
    uplift = turn.brain.uplift.of(campaign.id, raw(profile, at // 1000), profile.attributes)
    return uplift is not None and uplift < campaign.min_uplift


def decided(turn: Turn, user: str, profile: Profile, campaign: Campaign, at: int, reason: str | None) -> None:
    """A message was decided at `at` (ms), or held back for `reason`: the beginning of an example, if it is chance's."""
    uplift = turn.brain.uplift
    subject = uplift.by_campaign.get(campaign.id)
    trial = turn.brain.trials.get(subject.control) if subject is not None else None
    if subject is None or trial is None or not trial.running(at) or not trial.counts(user):
        return
    given = trial.given(profile)
    if given is None or reason != (subject.reason if given == trial.experiment.control.id else None):
        return  # the user takes no part, or something else decided
    waiting = {sample.code for sample in profile.goal_samples} if profile.awaited else set()
    if any(wait.code in waiting for wait in subject.waits):
        return
    # What was applied before this was decided is known: it cannot be the message's doing.
    second = max(at, profile.last_seen_ms) // 1000
    x = raw(profile, second)
    told = uplift.of(campaign.id, x, profile.attributes)
    p_e4 = -1 if told is None else round(told * E4) + E4
    names = campaign.conversion.attributes
    known = x + kept(profile.attributes, names) if names else x
    profile.goal_samples.append(GoalSample(subject.code + (reason is None), second, False, p_e4, known))
    due = second + campaign.conversion.within_ms // 1000
    if profile.tick_due == 0:
        profile.tick_due = due
