"""What was found, in sentences for whoever is on call."""

from __future__ import annotations

from datetime import UTC, datetime

from services.jobs.restore.found import Found, Gap

DAY_MS = 86_400_000


def when(ms: int) -> str:
    """Broker time for a person."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%d %b %Y %H:%M:%S UTC") if ms else "an unknown time"


def losses(found: Found) -> list[str]:
    """What the log cannot bring back, one sentence each; empty when it reaches back far enough."""
    return [_loss(found, gap) for gap in found.holes]


def _loss(found: Found, gap: Gap) -> str:
    place = f"{gap.topic}-{gap.partition}"
    if gap.beyond:
        return (
            f"{place}: Redis stands at {gap.position:,}, but the log ends at {gap.end:,}. Kafka lost its end, or the "
            f"topic was made anew; Redis knows {gap.beyond:,} records that the log does not, and they stay applied"
        )
    what = f"{place}: Redis stands at {max(gap.position, 0):,}, but the log begins at {gap.first:,}. "
    if gap in found.models:
        return what + f"{gap.lost:,} examples are gone; the model never learns them"
    if gap in found.messages:
        return what + (
            f"{gap.lost:,} messages are gone. What became of them is not known any more, and one that is decided once "
            "more before its time is over is sent once more"
        )
    return what + f"{gap.lost:,} records are gone: events that never happened, for Kairos"


def sentences(found: Found) -> list[str]:
    """What a restore means here."""
    lanes = found.lanes
    again = sum(one.again for lane in lanes for one in lane.inputs)
    waiting = sum(one.waiting for lane in lanes for one in lane.inputs)
    forgotten = sum(lane.forgotten for lane in lanes)
    said: list[str] = []
    if not any(lane.seq for lane in lanes) and forgotten:
        said.append("Redis is EMPTY, and the journal is not. Was the backup loaded? Otherwise all is worked out anew.")
    if not found.went_back:
        said.append("Redis knows everything that the journal tells: it has not gone back in time.")
    else:
        since = max((lane.since_ms for lane in lanes), default=0)
        until = max((lane.until_ms for lane in lanes), default=0)
        said.append(
            f"The backup ends at {when(since)}; Redis had come to {when(until)}. It forgot {forgotten:,} batches."
        )
        if since and until - since > DAY_MS:
            said.append(
                "That is more than a day, and ids of events are remembered for one to two days: what deliver tells "
                "again, and records that were forwarded or redriven in the gap, may count as visits a second time."
            )
    said.append(f"{waiting:,} records wait in the log; {again:,} of them were applied before and will be once more.")
    outbox = sum(lane.outbox for lane in lanes)
    if outbox:
        said.append(
            f"{outbox:,} outbox entries of the backup are published once more; consumers know them by position."
        )
    known = sum(sum(one.told.values()) for one in found.messages)
    doubtful = sum(one.doubtful for one in found.messages)
    said.append(
        f"Send ledger: of {known + doubtful:,} messages that may have been handed over since, the log tells what "
        f"became of {known:,}; that is written down. {doubtful:,} become `unknown`. None of them is sent again."
    )
    if not all(one.committed for one in found.messages):
        said.append("Kafka has forgotten how far deliver was: all published messages are taken as handed over.")
    said += [
        f"Model {model.model}: goes on from version {model.version} and learns {model.waiting:,} examples; newer "
        "versions are gone, and their numbers are given again."
        for model in found.models
    ]
    return said
