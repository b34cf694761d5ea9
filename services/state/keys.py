"""The layout of the keys, explained in docs/redis.md and nowhere else.

All keys of a lane share a hash tag, and so do those of a model, so that they lie on one node of a Redis Cluster and one
transaction can hold them.
"""

from __future__ import annotations

COUNTERS_PREFIX = "count:"
# Hash: dead letter -> when and where it was sent again.
REDRIVEN = "dead-letters:redriven"
# Hash: experiment -> what was decided about it, JSON.
OVERRIDES = "experiments:overrides"
# Hash: experiment and version -> what of its definition is frozen, JSON.
FROZEN = "experiments:frozen"


def lane(lane: int, name: str) -> str:
    """Key `name` of a lane.

    Examples
    --------
    >>> lane(7, "fence")
    '{p7}:fence'
    """
    return f"{{p{lane}}}:{name}"


def fence(number: int) -> str:
    """Position of the lane: sequence number and the next offset of every input."""
    return lane(number, "fence")


def state(number: int) -> str:
    """Counts, watermarks and epoch of the lane."""
    return lane(number, "lane")


def profile(number: int, user: str) -> str:
    """Packed profile of a user."""
    return lane(number, f"u:{user}")


def offers(number: int, user: str) -> str:
    """Latest ranked offers of a user, JSON."""
    return lane(number, f"o:{user}")


def timers(number: int) -> str:
    """Sorted set: user by the earliest due time, ms."""
    return lane(number, "timers")


def outbox(number: int, seq: int) -> str:
    """What the lane's transaction `seq` decided and is still to be published."""
    return lane(number, f"outbox:{seq:016d}")


def outbox_index(number: int) -> str:
    """Sorted set of the sequence numbers that have an outbox entry."""
    return lane(number, "outbox")


def counters(number: int, key: str) -> str:
    """Running counters of an experiment (`exp:<id>`) or a campaign (`camp:<id>`), a hash of integers."""
    return lane(number, COUNTERS_PREFIX + key)


def counter_names(number: int) -> str:
    """Set of the counter hashes of the lane, so that readers need no SCAN."""
    return lane(number, "counts")


def policy(version: str) -> str:
    """Definitions (canonical JSON) by version; kept for the audit."""
    return f"snapshot:policy:{version}"


def snapshot_latest(name: str) -> str:
    """Newest version of a model."""
    return f"snapshot:{{{name}}}:latest"


def snapshot(name: str, version: int) -> str:
    """One version of a model, a packed envelope; kept for the audit."""
    return f"snapshot:{{{name}}}:{version}"


def learn_checkpoint(model: str) -> str:
    """Hash of the learner's state (`data`) and the next offset of `training` (`offset`)."""
    return f"learn:{{{model}}}:checkpoint"


def experiment(name: str) -> str:
    """Hash: the judge's `record` of an experiment, the `result` of its last look (JSON), and its final results."""
    return f"experiment:{name}"


def registry(model: str) -> str:
    """Which version of a model serves, which is tried beside it, and who did before, JSON."""
    return f"registry:{{{model}}}"


def model_health(model: str) -> str:
    """Hash: score -> what its learner knows of it, JSON; written with the learner's checkpoint."""
    return f"health:{{{model}}}"


def comparison(model: str, part: str = "") -> str:
    """Champion and shadow of a score on the labels so far, JSON; written with the checkpoint of its learner, `model`.

    `part` : which of its scores, where there are many.
    """
    return f"comparison:{{{model}}}:{part}" if part else f"comparison:{{{model}}}"


def alert(number: int, name: str) -> str:
    """Hash of an alert of a lane: what it says, who acknowledged it, and what became of its webhooks."""
    return f"alert:{{p{number}}}:{name}"


def newest_alerts(number: int) -> str:
    """Sorted set: the lane's newest alerts by when they reached the log, ms."""
    return f"alerts:{{p{number}}}:newest"


def alert_fence(number: int) -> str:
    """Hash: topic -> next offset of that partition whose alerts are not taken yet."""
    return f"alerts:{{p{number}}}:fence"


def webhook_due(number: int, webhook: str) -> str:
    """Sorted set: alerts of the lane that a webhook is still to be told of, by when it is tried next, ms."""
    return f"alerts:{{p{number}}}:due:{webhook}"
