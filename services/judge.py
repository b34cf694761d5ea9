"""The judge: looks at every experiment about once a second and writes down, publishes and decides what follows.

Each look is one conditional transaction: what was remembered, the card and the event that tells a change are written
together, if nobody else has written since. The event is published from there and then taken out. So two judges at once,
one that dies between any two lines, or a Redis that goes back in time cost a look at most: see docs/experiments.md.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from msgspec.structs import replace

from config.experiment import Experiment
from config.overrides import Override
from models.errors import IncompatibleSnapshotError, TransientError
from models.experiments.document import Document
from models.experiments.fields import counter_key
from models.experiments.record import Record, VerdictChanged
from models.experiments.watch import adopted, look
from services.state.counters import read_some_counters
from services.state.experiments import ExperimentStore
from services.state.lanes import read_watermarks
from services.state.redis_lane import Client, run_id

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Kept:
    """What this judge knows to lie in Redis."""

    packed: bytes | None
    record: Record | None
    document: Document | None = None


@dataclass(slots=True)
class Turn:
    """What one turn did.

    Parameters
    ----------
    watermark : event time up to which everything was judged, ms. judged : experiments looked at.
    events : changes published. faults : experiments that could not be judged, with the reason.
    """

    watermark: int = 0
    judged: int = 0
    events: int = 0
    faults: dict[str, str] = field(default_factory=dict)


class Judge:
    """Looks at experiments; synchronous, for one caller at a time.

    Parameters
    ----------
    client : synchronous client with retries off. lanes : how many there are.
    publish : writes events to the topic `verdicts` and returns when the brokers have them.
    published : reads what lies in that topic.
    """

    def __init__(
        self,
        client: Client,
        lanes: int,
        publish: Callable[[Sequence[VerdictChanged]], None],
        published: Callable[[], Iterable[VerdictChanged]],
    ) -> None:
        self._client, self._lanes = client, lanes
        self._publish, self._published = publish, published
        self._store = ExperimentStore(client)
        self._kept: dict[str, _Kept] = {}
        self._run = ""

    def turn(self, experiments: Sequence[Experiment]) -> Turn:
        """Look at each experiment once.

        Raises
        ------
        TransientError
            Redis or Kafka is away; the next turn goes on where this one stopped.
        """
        try:
            return self._turn(experiments)
        except TransientError:
            # Whether the last transaction was written is not known.
            self._kept.clear()
            raise

    def _turn(self, experiments: Sequence[Experiment]) -> Turn:
        run = run_id(self._client)
        if run != self._run:
            # A new start, here or of Redis: it may have gone back in time. What was published stands.
            self._kept.clear()
            self._adopt(experiments)
            self._run = run
        overrides = self._store.overrides()
        # Before the counters: they hold at least what happened until then.
        watermark = min(read_watermarks(self._client, self._lanes).values(), default=0)
        counters = read_some_counters(self._client, self._lanes, [counter_key(one.key) for one in experiments])
        done = Turn(watermark)
        for experiment in experiments:
            try:
                self._judge(experiment, counters[counter_key(experiment.key)], watermark, overrides, done)
            except TransientError:
                raise
            except Exception as fault:  # noqa: BLE001 - one experiment must not keep the others from being judged
                done.faults[experiment.id] = repr(fault)
                self._kept.pop(experiment.id, None)
                log.error("not_judged", experiment=experiment.id, exception=traceback.format_exc())  # noqa: TRY400
        return done

    def _judge(
        self,
        experiment: Experiment,
        counts: Mapping[str, int],
        watermark: int,
        overrides: Mapping[str, Override],
        done: Turn,
    ) -> None:
        kept = self._kept.get(experiment.id)
        if kept is None:
            kept = self._kept[experiment.id] = _Kept(*self._store.load(experiment.id))
        if kept.record is not None and kept.record.version > experiment.version:
            done.faults[experiment.id] = f"version {experiment.version} was judged before {kept.record.version}"
            return
        override = overrides.get(experiment.id)
        seen = look(kept.record, experiment, counts, watermark, override)
        done.judged += 1
        if not self._write(kept, seen.record, seen.document):
            return
        record = seen.record
        if record.outbox:
            self._publish(record.outbox)
            done.events += len(record.outbox)
            log.info("verdict", experiment=experiment.id, number=record.number, verdict=record.told.verdict)
            if not self._write(kept, replace(record, outbox=[]), None):
                return
        decided = record.decided
        if decided is not None and decided.follows(override):
            self._store.decide(decided)
            log.info("decided", experiment=experiment.id, status=decided.status, step=decided.step)

    def _write(self, kept: _Kept, record: Record, document: Document | None) -> bool:
        """Write what is new; False where another judge was quicker."""
        if record == kept.record and (document is None or _same(document, kept.document)):
            return True
        packed = self._store.commit(kept.packed, record, document)
        if packed is None:
            self._kept.pop(record.experiment, None)
            return False
        kept.packed, kept.record = packed, record
        kept.document = document or kept.document
        return True

    def _adopt(self, experiments: Sequence[Experiment]) -> None:
        """Take over what was published and Redis does not know."""
        newest: dict[str, VerdictChanged] = {}
        for event in self._published():
            known = newest.get(event.experiment)
            if known is None or (event.version, event.number) >= (known.version, known.number):
                newest[event.experiment] = event
        for experiment in experiments:
            if experiment.id not in newest:
                continue
            last = newest[experiment.id]
            try:
                packed, record = self._store.load(experiment.id)
            except IncompatibleSnapshotError:
                continue  # told by the turn itself
            found = adopted(record, experiment, last)
            if found is not None:
                log.warning("adopted", experiment=experiment.id, number=last.number, verdict=last.verdict)
                self._store.commit(packed, found, last.result)


def _same(one: Document, other: Document | None) -> bool:
    """Whether two cards say the same, but for the time of the look."""
    return other is not None and {**one, "at": 0} == {**other, "at": 0}
