"""What the core decides: effects as data. The lane writes them into the outbox; nothing here does anything.

Each effect knows the topic it goes to and carries a deterministic id: a hash of (rule, step, user, occurrence).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
import xxhash


def effect_id(rule: str, step: str, user: str, occurrence: str) -> str:
    """Deterministic id of an effect, 32 hex digits.

    `occurrence` is the messageId of the causing event, or for a timer the messageId that set it and its due time:
    never an offset, which changes when a record is forwarded or redriven.

    Examples
    --------
    >>> effect_id("win-back", "1", "u1", "m1") == effect_id("win-back", "1", "u1", "m1")
    True
    """
    return xxhash.xxh3_128_hexdigest(f"{rule}\x1f{step}\x1f{user}\x1f{occurrence}".encode())


class Cause(msgspec.Struct, frozen=True, gc=False):
    """Why something was decided. kind: event, alert or timer."""

    kind: str
    message_id: str
    event: str
    at: int


class Reason(msgspec.Struct, frozen=True, gc=False):
    """One contribution to a score: `share` in log-odds (positive = towards churn), `text` for a person."""

    name: str
    text: str
    share: float


class ChurnAlert(msgspec.Struct, frozen=True):
    """A user's churn score crossed the alert threshold; `snapshot` is the version of `model` that scored."""

    topic: ClassVar[str] = "churn-alerts"

    id: str
    user: str
    at: int
    score: float
    learned: bool
    horizon_ms: int
    reasons: list[Reason]
    action: dict[str, str]
    cause: Cause
    snapshot: int
    model: str = "churn"
    type: str = "ChurnAlert"


class RankedOffer(msgspec.Struct, frozen=True, gc=False):
    """One answer: `propensity` is the probability with which this policy puts it where it stands."""

    offer: str
    item: str | None
    name: str
    score: float
    reason: str
    propensity: float
    price_minor: int | None = None


class Choice(msgspec.Struct, frozen=True):
    """Which offer was put first, out of which, with which probabilities; `snapshot`: version of the bandit."""

    offer: str
    propensity: float
    among: dict[str, float]
    snapshot: int


class OfferDecision(msgspec.Struct, frozen=True):
    """Ranked next-best-offers of a user; `choice`: of a bandit, where there was more than one offer to choose from."""

    topic: ClassVar[str] = "offers"

    id: str
    user: str
    at: int
    offers: list[RankedOffer]
    cause: Cause
    snapshot: int
    type: str = "OffersRanked"
    choice: Choice | msgspec.UnsetType = msgspec.UNSET


class MessageCommand(msgspec.Struct, frozen=True):
    """Command to send one message, or the record that one was suppressed (`type` = MessageSuppressed)."""

    topic: ClassVar[str] = "messages"

    type: str
    id: str
    user: str
    campaign: str
    step: str
    channel: str
    template: str
    variant: str | None
    to: str | None
    purpose: str
    decided_at: int
    expires_at: int
    locale: str | None
    timezone: str | None
    data: dict[str, Any]
    reason: str
    cause: Cause
    suppressed: str | None = None
    experiment: str | None = None

    @property
    def at(self) -> int:
        """Event time of the decision, ms."""
        return self.decided_at


class Exposure(msgspec.Struct, frozen=True):
    """First exposure of a user to a variant.

    Parameters
    ----------
    propensity : probability with which a user who takes part got this variant when it was given: its share.
    """

    topic: ClassVar[str] = "exposures"

    id: str
    user: str
    at: int
    experiment: str
    variant: str
    cause: Cause
    propensity: float | None = None
    type: str = "ExperimentExposed"


class ChurnExample(msgspec.Struct, frozen=True):
    """A matured label: features as they were at `at`, known at `due` (label 1: did not return in the horizon).

    Parameters
    ----------
    spent_minor : spent in the horizon, minor units, refunds taken off; None: not told (examples of before).
    next_order_days : days from `at` to the first order in the horizon; None: there was none, or not told.
    """

    topic: ClassVar[str] = "training"

    id: str
    user: str
    at: int
    due: int
    known_at: int
    label: int
    x: list[int]
    spent_minor: int | None = None
    next_order_days: int | None = None
    type: str = "churn"


class GoalExample(msgspec.Struct, frozen=True):
    """A matured label of a goal: what was known of the user at `at`, and whether the goal was reached by `due`.

    Parameters
    ----------
    goal, code : the goal, and what it asked for (:attr:`config.goal.Goal.code`). x : raw vector. p_e4 : propensity as
        it was served then, in ten-thousandths; -1: none yet. attributes : those that the goal names, as of `at`.
    """

    topic: ClassVar[str] = "training"

    id: str
    user: str
    goal: str
    code: int
    at: int
    due: int
    known_at: int
    label: int
    x: list[int]
    p_e4: int = -1
    attributes: dict[str, str | int | float | bool | None] | msgspec.UnsetType = msgspec.UNSET
    type: str = "goal"


class OfferExample(msgspec.Struct, frozen=True):
    """What came of an offer that was put first, known at the end of its window.

    Parameters
    ----------
    offer, among, propensity : what was chosen, out of which, and how likely that was. x : context
        (:data:`models.offers.bandit.RAW_NAMES`). reward_by, within_ms : what counts as a reward, and for how long.
    reward : 1 if it came. viewed, clicked, ordered : what the customer did until then.
    """

    topic: ClassVar[str] = "training"

    id: str
    user: str
    at: int
    known_at: int
    offer: str
    among: list[str]
    propensity: float
    x: list[int]
    reward_by: str
    within_ms: int
    reward: int
    viewed: bool = False
    clicked: bool = False
    ordered: bool = False
    type: str = "offer"


class UpliftExample(msgspec.Struct, frozen=True):
    """What became of a user to whom a campaign wrote, or would have written but for its control group.

    Parameters
    ----------
    campaign, code : the campaign, and what is asked of it. treated : whether the message was sent. label : whether its
        conversion came by `due`. uplift_e4 : as known then; None: not yet. x, attributes : as in :class:`GoalExample`.
    """

    topic: ClassVar[str] = "training"

    id: str
    user: str
    campaign: str
    code: int
    at: int
    due: int
    known_at: int
    treated: int
    label: int
    x: list[int]
    uplift_e4: int | None = None
    attributes: dict[str, str | int | float | bool | None] | msgspec.UnsetType = msgspec.UNSET
    type: str = "uplift"


class BasketExample(msgspec.Struct, frozen=True):
    """An order as the recommender learns it.

    Parameters
    ----------
    items : [id, name, price_minor, quantity]. categories : of the items, "" where not known.
    history : earlier item ids, oldest first; times, days : how often and on which day last each was bought.
    recent : items looked at before, the last one last. orders, first_day : of the user before this order.
    """

    topic: ClassVar[str] = "training"

    id: str
    user: str
    at: int
    order_id: str
    items: list[tuple[str, str, int, int]]
    history: list[str]
    categories: list[str] = []
    times: list[int] = []
    days: list[int] = []
    recent: list[str] = []
    orders: int = 0
    first_day: int = 0
    type: str = "basket"


class ReviewExample(msgspec.Struct, frozen=True):
    """A review as the sentiment of texts and of products is learned from it.

    Parameters
    ----------
    item : product, "" where the review names none. sentiment_e4 : as it was counted, in ten-thousandths.
    label : what the rating says of the text: 1 praise, 0 complaint, -1 neither or no rating.
    words, pairs, positive_e4, negative_e4 : what was read of the text (:class:`models.learners.sentiment.Reading`);
        empty unless the policy allows it.
    """

    topic: ClassVar[str] = "training"

    id: str
    user: str
    at: int
    item: str
    sentiment_e4: int
    label: int
    words: list[str] = []
    pairs: list[str] = []
    positive_e4: int = 0
    negative_e4: int = 0
    type: str = "review"


class StockExample(msgspec.Struct, frozen=True):
    """The shop tells whether a product is out of stock; `user`: who told it."""

    topic: ClassVar[str] = "training"

    id: str
    user: str
    at: int
    item: str
    out: bool
    type: str = "stock"


# Whose partition of `training` an example goes to (config.topics); a model that reads along learns from it, too.
EXAMPLES: Mapping[type, str] = {
    ChurnExample: "churn",
    GoalExample: "goals",
    UpliftExample: "goals",
    BasketExample: "recs",
    OfferExample: "recs",
    ReviewExample: "recs",
    StockExample: "recs",
}

Effect = (
    ChurnAlert
    | OfferDecision
    | MessageCommand
    | Exposure
    | ChurnExample
    | GoalExample
    | UpliftExample
    | BasketExample
    | OfferExample
    | ReviewExample
    | StockExample
)
TIMERS = "timers"


class DeadLetter(msgspec.Struct, frozen=True):
    """A refused record: where it lies, why, and what it was (`value` in base64; cut when too large to carry).

    Timers that were put aside: `topic` is "timers", `partition` the lane, `offset` when the first was due (ms), `key`
    the user, `value` the timers as JSON. Of a webhook that gave up: `topic` is "webhook:<id>", the place the alert's.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    broker_ms: int
    key: str | None
    value: bytes
    truncated: bool
    headers: list[tuple[str, str]]

    @property
    def id(self) -> str:
        """``topic-partition-offset`` of the record; of timers also the user."""
        place = f"{self.topic}-{self.partition}-{self.offset}"
        return f"{place}-{self.key}" if self.topic == TIMERS else place


class JournalEntry(msgspec.Struct, frozen=True):
    """How one batch was applied; fixes how topics, timers and versions interleaved, so that it can be replayed exactly.

    Parameters
    ----------
    kind : "batch", "open" when a worker took the lane over, "split" when the lane was divided in two, "skip" when an
        operator moved it on over records that the log does not hold any more.
    sources : (input topic, from, to) of each chunk in it; none for a batch of timers only.
    watermark : the lane's watermark after the batch, ms. broker_ms : newest broker time seen in it.
    fired : users whose timers were looked at, in order. versions : snapshot name -> version; policy : definitions.
    failed : the core could not apply the records of the batch; they lie in dead-letters.
    parked : users of `fired` whose timers the core could not fire; they were taken out and lie in dead-letters.
    lanes : how many lanes there are from here on; 0: as before.
    """

    lane: int
    seq: int
    epoch: int
    kind: str
    sources: list[tuple[str, int, int]]
    watermark: int
    broker_ms: int
    fired: list[str]
    versions: dict[str, int]
    policy: str
    failed: bool = False
    parked: list[str] = []
    lanes: int = 0
