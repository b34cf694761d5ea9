"""The real shop's year through one lane in a real Redis, without a broker: what its customers' profiles weigh.

The same steps as in the worker (:mod:`services.state.step`), the same events, mails and simulated reactions as in
`kairos demo`. Broker time is event time here, so that a year of it passes and messageIds rotate out of the profiles.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from config.topics import DAY_MS, FEEDBACK, INPUT_NAMES
from models.brain import Brain
from models.chunk import Batch, merge, read_chunk
from models.decisions import BasketExample, ChurnExample, GoalExample, MessageCommand
from models.delivery import State, feedback
from models.learners.streamed.churn import ChurnModel
from models.learners.streamed.goals import GoalsModel
from models.learners.streamed.recs import RecsModel
from models.offers.recs import Recs
from models.wire import Record
from services.demo.events import ShopEvent, ShopEvents
from services.demo.history import History
from services.demo.reactions import Reactions
from services.state.step import begin, open_lane, read_position, work
from support.lane_store import BlockingLaneStore

LANE = 0
TEACH_EVERY_DAYS = 7
_encode = msgspec.json.encode


@dataclass
class YearLane:
    """One lane that is fed by hand, one day after the other.

    Parameters
    ----------
    url : Redis of the lane.
    brain : what it decides with; replaced as the models learn.
    """

    url: str
    brain: Brain
    churn: ChurnModel = field(default_factory=ChurnModel)
    recs: RecsModel = field(default_factory=RecsModel)
    goals: GoalsModel = field(default_factory=GoalsModel)
    events: int = 0
    messages: int = 0
    _ends: list[int] = field(default_factory=lambda: [0] * len(INPUT_NAMES))
    _waiting: list[tuple[int, int, str, Callable[[int], bytes]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._store = BlockingLaneStore(self.url, LANE)
        self._store.load(None, 0, lambda due: due)
        self._store.commit(open_lane(self._store, LANE, 1, self.brain).change)
        self._position = read_position(self._store)
        self._published: list[int] = []
        self._reactions = Reactions(self.brain.definitions.experiments)
        self._number = itertools.count()

    def live(self, events: list[ShopEvent], end_ms: int) -> None:
        """Apply the events of a slice that ends at `end_ms`, and everything that time brings until then."""
        found: dict[str, list[tuple[int, bytes]]] = {name: [] for name in INPUT_NAMES}
        for event in events:
            found[event.topic].append((event.at_ms, event.value))
        while self._waiting and self._waiting[0][0] < end_ms:
            at_ms, _, topic, value = heapq.heappop(self._waiting)
            found[topic].append((at_ms, value(at_ms)))
        self.events += sum(len(one) for one in found.values())
        for name in INPUT_NAMES:
            found[name].sort(key=lambda pair: pair[0])
            found[name].append((end_ms, b'{"type":"tick","timestamp":%d}' % end_ms))
        self._apply(merge([self._chunk(index, name, found[name]) for index, name in enumerate(INPUT_NAMES)]))
        while (due := self._position.next_due) is not None and 0 < due <= self._position.state.watermark:
            self._apply(Batch(LANE, 1, broker_ms=end_ms))

    def teach(self) -> None:
        """Decide with what was learned up to now."""
        recs = Recs.from_payload(self.recs.payload(), 1)
        self.brain = self.brain.with_models(self.churn.linear_model(), recs, self.goals.scores())

    def _chunk(self, index: int, name: str, found: list[tuple[int, bytes]]) -> Batch:
        start = self._ends[index]
        self._ends[index] = end = start + len(found)
        records = [Record(start + i, at_ms, b"", value) for i, (at_ms, value) in enumerate(found)]
        return read_chunk(
            records, topic=name, topic_index=index, lane=LANE, lanes=1, start=start, end=end, future_limit_ms=0
        )

    def _apply(self, batch: Batch) -> None:
        position = self._position
        loaded, users = begin(self._store, position, batch)
        done = work(loaded, users, batch, self.brain, self._published)
        position.next_due = self._store.commit(done.change)
        position.fence, position.state = done.fence, done.state
        self._published = [done.fence.seq]
        for effect in done.outcome.effects:
            if isinstance(effect, ChurnExample):
                self.churn.learn_example(effect.x, effect.label, effect.at, effect.known_at)
            elif isinstance(effect, GoalExample):
                self.goals.learn_example(effect)
            elif isinstance(effect, BasketExample):
                self.recs.learn(_encode(effect))
            elif isinstance(effect, MessageCommand) and effect.suppressed is None:
                self._deliver(effect)

    def _deliver(self, command: MessageCommand) -> None:
        """Every mail arrives at once, and the simulated customer reacts."""
        self.messages += 1
        value = _encode(feedback(command, State.DELIVERED))
        self._later(command.decided_at, FEEDBACK.name, lambda _: value)
        for reaction in self._reactions.of(value):
            self._later(reaction.at_ms, reaction.topic, reaction.value)

    def _later(self, at_ms: int, topic: str, value: Callable[[int], bytes]) -> None:
        heapq.heappush(self._waiting, (at_ms, next(self._number), topic, value))


def days_of(history: History) -> Iterator[tuple[int, list[ShopEvent]]]:
    """Each day of the year as (its end, ms, its events)."""
    shop = ShopEvents(history)
    at_ms = history.start_ms // DAY_MS * DAY_MS
    while at_ms <= history.end_ms:
        at_ms += DAY_MS
        yield at_ms, shop.until(at_ms)
