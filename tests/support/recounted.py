"""The recount of the chaos suite over a lane in memory."""

import json
from collections.abc import Mapping, Sequence

from chaos.check import Check, compare_customer
from chaos.log import Found
from chaos.recount.lane import Counted, LaneRecount, alerts_by_batch, timeline
from chaos.recount.rules import read_rules
from chaos.shop import START_MS, TOPICS
from chaos.state import plain, plain_counters

from config.settings import PACKAGE_CONFIG_DIR
from models.lane import decode_fence, decode_state
from models.profile.codec import decode_profile
from models.wire import Record
from services.state.step import OutboxEntry
from services.state.store import MemoryLaneStore

BROKER_MS = START_MS + 400 * 86_400_000
INPUTS = len(TOPICS)
FATES = ("received", "applied", "duplicate", "rejected", "forwarded", "ticks")


def as_found(entries: Sequence[OutboxEntry], topic: str) -> list[Found]:
    """Records of a topic as the outbox publishes them."""
    found: list[Found] = []
    for entry in entries:
        for n, output in enumerate(entry.outputs):
            if output.topic == topic:
                place = {"lane": entry.lane, "epoch": entry.epoch, "seq": entry.seq, "n": n}
                headers = {f"kairos-{name}": str(value).encode() for name, value in place.items()}
                found.append(Found(len(found), 0, output.key, output.value, headers))
    return found


def recounted(store: MemoryLaneStore, logs: Mapping[str, Sequence[Record]], entries: Sequence[OutboxEntry]) -> Counted:
    """What the recount says to a log and to everything that was ever published."""
    faults: list[str] = []
    batches = timeline(as_found(entries, "journal"), decode_fence(store.fence, INPUTS).seq, faults)
    alerts = alerts_by_batch(as_found(entries, "churn-alerts"), batches)
    records = {
        topic: [
            Found(one.offset, one.broker_ms, one.key, one.value, {name: value or b"" for name, value in one.headers})
            for one in logs[topic]
        ]
        for topic in TOPICS
    }
    counted = LaneRecount(0, 1, read_rules(PACKAGE_CONFIG_DIR), records, alerts).run(batches)
    counted.faults += faults
    return counted


def differences(store: MemoryLaneStore, entries: Sequence[OutboxEntry], counted: Counted) -> list[str]:
    """Where the store, and what was published by batches that count, differ from the recount."""
    check = Check("everything", differences=list(counted.faults))
    latest = max((who.last_seen for who in counted.customers.values()), default=0)
    check.sets("profile", store.profiles, counted.customers)
    for user, who in counted.customers.items():
        if user in store.profiles:
            compare_customer(check, plain(decode_profile(store.profiles[user])), who, latest)
    counts = {key: value for key, value in counted.tally.counts.items() if value}
    check.maps("counter", plain_counters(store.counters), counts)
    messages = published(entries, "messages")
    decided = {
        one["id"]: (one["user"], one["campaign"], one["decided_at"], one["suppressed"], one["variant"])
        for one in messages
    }
    check.maps("message", decided, counted.tally.messages)
    check.same("messages", len(messages), len(decided))
    for topic, wanted in (("offers", counted.tally.offers.keys()), ("exposures", counted.tally.exposures.keys())):
        effects = [one["id"] for one in published(entries, topic)]
        check.sets(topic, effects, wanted)
        check.same(topic, len(effects), len(wanted))
    letters = published(entries, "dead-letters")
    check.sets(
        "letter",
        {tuple(one[k] for k in ("topic", "partition", "offset", "reason")) for one in letters},
        counted.refused,
    )
    state = decode_state(store.state, INPUTS)
    for fate in FATES:
        check.same(fate, getattr(state, fate), counted.fates[fate])
    check.true(counted.overdue == 0, f"{counted.overdue} timers are overdue")
    return check.differences


def published(entries: Sequence[OutboxEntry], topic: str) -> list[dict[str, object]]:
    """Values on a topic."""
    return [json.loads(found.value or b"") for found in as_found(entries, topic)]
