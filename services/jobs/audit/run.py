"""The audit over all lanes: read Redis, replay the log, compare, count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

import msgspec

from config.settings import Settings
from config.topics import INPUT_NAMES, MESSAGES
from models import facts
from models.brain import Brain
from models.errors import IncompatibleSnapshotError
from models.facts import Facts
from models.lane import decode_fence, decode_state
from models.learners import linear
from models.learners.batch import BatchModel
from models.learners.goal_scores import GoalScores
from models.learners.linear import LinearModel
from models.learners.opinions import Opinions
from models.learners.task import CHURN, GOAL_BATCH, Task
from models.learners.uplift_scores import UpliftScores
from models.offers import bandit, stock
from models.offers.bandit import Bandit
from models.offers.pairs import Rules
from models.offers.recs import Recs
from models.offers.stock import Stock
from services.bus.reader import Record, end_offsets, read_topic
from services.jobs.audit.compare import compare
from services.jobs.audit.replay import (
    Inputs,
    LostHistoryError,
    Timeline,
    journal_entries,
    position_of,
    replay_lane,
)
from services.jobs.audit.report import AuditReport, LaneAudit
from services.lexicon import read_lexicon
from services.state.lane_dump import LaneDump, dump_lane
from services.state.ledger_index import ledger_states
from services.state.policies import read_policy
from services.state.redis_lane import Client, connect
from services.state.snapshots import SnapshotReader
from services.state.step import decode_entry
from services.state.store import MemoryLaneStore


def _unseen(*_: int) -> None:
    """Progress that nobody watches."""


class Brains:
    """Brains by the versions that the journal names; compiled once each."""

    def __init__(self, client: Client) -> None:
        self._redis = client
        self._reader = SnapshotReader(self._redis)
        self._policies: dict[str, Brain] = {}
        self._churn: dict[int, LinearModel] = {0: LinearModel.rule()}
        self._promoted: dict[Task, BatchModel] = {}
        self._recs: dict[int, Recs] = {0: Recs()}
        self._goals: dict[int, GoalScores] = {0: GoalScores()}
        self._bandits: dict[int, Bandit] = {0: Bandit()}
        self._rules: dict[int, Rules] = {0: Rules()}
        self._stocks: dict[int, Stock] = {0: Stock()}
        self._opinions: dict[int, Opinions] = {0: Opinions(read_lexicon)}
        self._facts = Facts()
        self._uplift: dict[int, UpliftScores] = {0: UpliftScores()}

    def __call__(self, policy: str, versions: Mapping[str, int]) -> Brain:
        """Brain of these versions.

        Raises
        ------
        IncompatibleSnapshotError
            A version is not in Redis any more.
        """
        base = self._policies.get(policy)
        if base is None:
            base = self._policies[policy] = Brain(read_policy(self._redis, policy), opinions=self._opinions[0])
        churn = self._batch(CHURN, versions.get(CHURN.batch, 0)) or self._online(versions.get(linear.NAME, 0))
        wanted = ("recs", "goals", bandit.NAME, "sentiment", "rules", "uplift")
        recs, goals, chooser, texts, rules, uplift = (versions.get(model, 0) for model in wanted)
        if recs not in self._recs:
            self._recs = {0: self._recs[0], recs: Recs.from_envelope(self._reader.load("recs", recs))}
        if goals not in self._goals:
            self._goals = {0: self._goals[0], goals: GoalScores.from_envelope(self._reader.load("goals", goals))}
        promoted = {name: version for name, version in versions.items() if name.startswith(GOAL_BATCH)}
        tasks = {name: Task.of_batch(name) for name in promoted}
        found = {task.code: self._batch(task, promoted[name]) for name, task in tasks.items()}
        self._goals[goals] = self._goals[goals].with_batch({code: one for code, one in found.items() if one})
        if chooser not in self._bandits:
            self._bandits = {
                0: self._bandits[0],
                chooser: Bandit.from_envelope(self._reader.load(bandit.NAME, chooser)),
            }
        if texts not in self._opinions:
            first = self._opinions[0]
            self._opinions = {0: first, texts: first.next(self._reader.load("sentiment", texts))}
        if rules not in self._rules:
            self._rules = {0: self._rules[0], rules: Rules.from_envelope(self._reader.load("rules", rules))}
        if uplift not in self._uplift:
            self._uplift = {
                0: self._uplift[0],
                uplift: UpliftScores.from_envelope(self._reader.load("uplift", uplift)),
            }
        learned = self._facts = self._of(self._facts, versions)
        shelf = versions.get(stock.NAME, 0)
        if shelf not in self._stocks:
            self._stocks = {0: self._stocks[0], shelf: Stock.from_envelope(self._reader.load(stock.NAME, shelf))}
        models = (
            churn,
            self._recs[recs],
            self._goals[goals],
            self._bandits[chooser],
            self._opinions[texts],
            self._rules[rules],
            learned,
            self._stocks[shelf],
            self._uplift[uplift],
        )
        if all(one is other for one, other in zip(models, base.models, strict=True)):
            return base
        brain = self._policies[policy] = base.with_models(*models)
        return brain

    def _of(self, known: Facts, versions: Mapping[str, int]) -> Facts:
        """Facts of these versions; a journal of before names none."""
        other: dict[str, Any] = {}
        for name, version in known.versions.items():
            wanted = versions.get(name, 0)
            if wanted != version:
                empty = getattr(Facts(), name)
                other[name] = facts.READERS[name](self._reader.load(name, wanted)) if wanted else empty
        return replace(known, **other) if other else known

    def _online(self, version: int) -> LinearModel:
        if version not in self._churn:
            made = LinearModel.from_envelope(self._reader.load(linear.NAME, version))
            self._churn = {0: self._churn[0], version: made}
        return self._churn[version]

    def _batch(self, task: Task, version: int) -> BatchModel | None:
        """Batch model of a score, None for version 0."""
        if not version:
            return None
        known = self._promoted.get(task)
        if known is None or known.version != version:
            known = self._promoted[task] = BatchModel.from_envelope(self._reader.load(task.batch, version))
        return known


def run_audit(settings: Settings, progress: Callable[[int, int], None] = _unseen) -> AuditReport:
    """Recompute every lane from the topics and compare it with Redis.

    Parameters
    ----------
    settings : where Kafka and Redis are.
    progress : called with (records replayed, records to replay).

    Raises
    ------
    TransientError
        Kafka or Redis is away, or a lane moved while it was read.
    """
    client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
    dumps = {lane: dump_lane(client, lane) for lane in range(settings.lanes)}
    inputs = len(INPUT_NAMES)
    total = sum(decode_state(dump.state, inputs).received for dump in dumps.values())
    ends = {name: end_offsets(settings.kafka.bootstrap, name) for name in INPUT_NAMES}
    brains = Brains(client)
    report = AuditReport([])
    commands: set[str] = set()
    timelines: dict[int, Timeline] = {}
    siblings: dict[int, MemoryLaneStore] = {}  # a lane is divided off a lower one: it was replayed before
    replayed = 0

    def advance(records: int) -> None:
        nonlocal replayed
        replayed += records
        progress(replayed, total)

    for lane, dump in dumps.items():
        timelines[lane] = _timeline(lane, dump, settings)
        found, decided = _lane(lane, dump, settings, brains, timelines[lane], advance, siblings)
        fence = decode_fence(dump.fence, inputs)
        for name, offset in zip(INPUT_NAMES, fence.offsets, strict=True):
            found.in_flight += max(0, ends[name].get(lane, 0) - max(offset, 0))
        report.lanes.append(found)
        commands |= decided
    _ledger(client, commands, report, timelines, settings)
    client.close()
    return report


def _timeline(lane: int, dump: LaneDump, settings: Settings) -> Timeline:
    pending = [decode_entry(packed) for _, packed in dump.outbox]
    published = (position_of(record) for record in read_topic(settings.kafka.bootstrap, "journal", lane))
    waiting = ((entry.epoch, entry.seq) for entry in pending)
    return Timeline(chain(published, waiting), decode_fence(dump.fence, len(INPUT_NAMES)).seq)


def _lane(
    lane: int,
    dump: LaneDump,
    settings: Settings,
    brains: Brains,
    timeline: Timeline,
    advance: Callable[[int], None],
    siblings: dict[int, MemoryLaneStore],
) -> tuple[LaneAudit, set[str]]:
    inputs = len(INPUT_NAMES)
    fence = decode_fence(dump.fence, inputs)
    held = LaneAudit(lane, decode_state(dump.state, inputs))
    if fence.seq == 0:
        return held, set()
    bootstrap = settings.kafka.bootstrap

    def reader(topic: str) -> Iterator[Record]:
        end = fence.offsets[INPUT_NAMES.index(topic)]
        return read_topic(bootstrap, topic, lane, end=end) if end > 0 else iter(())

    entries = journal_entries(
        read_topic(bootstrap, "journal", lane), [decode_entry(packed) for _, packed in dump.outbox], timeline
    )
    try:
        done = replay_lane(lane, entries, Inputs(reader), brains, settings, advance, siblings.pop(lane, None))
    except (LostHistoryError, IncompatibleSnapshotError) as error:
        held.differences.append(f"lane {lane}: cannot be recomputed: {error}")
        return held, set()
    siblings.update(done.siblings)
    state = decode_state(done.store.state, inputs)
    differences = done.differences + compare(lane, dump, done.store)
    return LaneAudit(lane, state, done.batches, len(done.store.profiles), 0, differences), done.commands


def _ledger(
    client: Client, commands: set[str], report: AuditReport, timelines: Mapping[int, Timeline], settings: Settings
) -> None:
    """Every message decided is in the send ledger or still waits; nothing is there that nobody decided."""
    states = ledger_states(client)
    report.commands = len(commands)
    report.ledger = len(commands & states.keys())
    report.waiting = len(commands - states.keys())
    strange = states.keys() - commands
    lost = _lost_commands(timelines, settings) & strange if strange else set()
    for message in sorted(strange - lost):
        report.elsewhere.append(f"ledger: message {message} ({states[message]}) was decided by nobody")
    if lost:
        report.notes.append(
            f"{len(lost):,} messages were decided by batches that Redis does not hold (it went back in time, or they "
            "are newer than this audit)"
        )
    unknown = sum(1 for message in commands | lost if states.get(message) == "unknown")
    if unknown:
        report.notes.append(f"{unknown:,} messages have an unknown outcome (the worker died while handing over)")


def _lost_commands(timelines: Mapping[int, Timeline], settings: Settings) -> set[str]:
    """Messages that were published, by batches that do not count."""
    found: set[str] = set()
    for record in read_topic(settings.kafka.bootstrap, MESSAGES.name):
        if not timelines[record.partition].holds(*position_of(record)):
            found.add(msgspec.json.decode(record.value or b"", type=_Command).id)
    return found


class _Command(msgspec.Struct):
    id: str
