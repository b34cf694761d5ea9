"""The topics of Kairos: every one is declared here and exists before a worker joins."""

from __future__ import annotations

from dataclasses import dataclass

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    Parameters
    ----------
    name : topic name on the wire.
    doc : what lies in it.
    partitions : number of partitions; None = one per lane (``Settings.lanes``), keyed by user id.
    retention_ms : how long the broker keeps records; -1 for ever.
    broker_time : records are stamped by the broker (LogAppendTime). Inputs need it: with CreateTime a
        replayed year 2010 is deleted at once by retention. Event time stands in the value.
    """

    name: str
    doc: str
    partitions: int | None = None
    retention_ms: int = 30 * DAY_MS
    broker_time: bool = True


CLICKSTREAM = Topic("clickstream", "browsing and cart events of users")
PURCHASES = Topic("purchases", "orders, refunds, cancellations")
PROFILES = Topic("profiles", "identify, alias and group calls: attributes and consent")
FEEDBACK = Topic("feedback", "what became of messages: delivered, opened, clicked, bounced, unsubscribed")

CHURN_ALERTS = Topic("churn-alerts", "users whose churn score crossed the threshold, with reasons")
OFFERS = Topic("offers", "ranked next-best-offers with reason and propensity")
MESSAGES = Topic("messages", "commands to send a message, and messages that were suppressed, with why")
EXPOSURES = Topic("exposures", "first exposure of a user to a variant of an experiment")
JOURNAL = Topic("journal", "one entry per committed batch: what was applied, in which order, with which versions")
DEAD_LETTERS = Topic("dead-letters", "records that were refused: where they lay, why, and the record itself")
VERDICTS = Topic("verdicts", "each change of an experiment's verdict or status", partitions=1, retention_ms=-1)
TRAINING = Topic(
    "training", "labelled examples; partition 0 churn, 1 baskets, offers, reviews and stock, 2 goals", partitions=3
)

INPUTS: tuple[Topic, ...] = (CLICKSTREAM, PURCHASES, PROFILES, FEEDBACK)
OUTPUTS: tuple[Topic, ...] = (CHURN_ALERTS, OFFERS, MESSAGES, EXPOSURES, JOURNAL, DEAD_LETTERS, TRAINING, VERDICTS)
TOPICS: tuple[Topic, ...] = INPUTS + OUTPUTS
INPUT_NAMES: tuple[str, ...] = tuple(topic.name for topic in INPUTS)

# Partition of `training` that each model reads (one model, one partition, one active learner).
TRAINING_PARTITION = {"churn": 0, "recs": 1, "goals": 2}
# Models that read along in another model's partition, each with a checkpoint of its own: a new model needs no new
# partition, whose number is fixed where Kairos is installed.
TRAINING_ALONG = {
    "bandit": "recs",
    "demand": "recs",
    "rules": "recs",
    "segments": "churn",
    "sentiment": "recs",
    "stock": "recs",
    "uplift": "goals",
    "value": "churn",
}
# Partition by model, of all of them; each is one file in models/learners/streamed.
LEARNED_FROM = TRAINING_PARTITION | {along: TRAINING_PARTITION[owner] for along, owner in TRAINING_ALONG.items()}


def partitions_of(topic: Topic, lanes: int) -> int:
    """Partitions that `topic` has when there are `lanes` lanes."""
    return lanes if topic.partitions is None else topic.partitions
