"""Users of an experiment through the core itself, and what they left where the judge looks for it."""

from typing import Any, cast

import redis

from config.experiment import Experiment
from models.lane import encode
from services.state import keys
from services.state.store import MemoryLaneStore
from support.lane import DAY_MS, HOUR_MS, LaneRig, definitions, ms, tick, track

START = ms("2010-03-01 00:00")
INPUTS = ("clickstream", "purchases", "profiles", "feedback")


def experiment(**changed: Any) -> dict[str, Any]:
    """An experiment whose users are exposed by a view and convert by an order within a day."""
    made: dict[str, Any] = {
        "id": "test",
        "description": "A test",
        "variants": [{"id": "a", "weight": 0.5}, {"id": "b", "weight": 0.5}],
        "expose_on": {"event": "Product Viewed"},
        "metrics": [
            {"id": "ordered", "event": "Order Completed", "within": "1d"},
            {"id": "spam", "event": "Complained", "within": "1d", "role": "guardrail", "less_is_better": True},
        ],
        "plan": {"users": 4000},
        "lateness": "1h",
    }
    return made | changed


class ExperimentShop:
    """One lane that many users come to, day by day.

    Parameters
    ----------
    *made : experiments, as in YAML.
    """

    def __init__(self, *made: dict[str, Any]) -> None:
        self.definitions = definitions(experiments=list(made))
        self.store = MemoryLaneStore()
        self.rig = LaneRig(self.definitions, self.store)
        self.users = self.days = 0

    @property
    def experiments(self) -> tuple[Experiment, ...]:
        """Their definitions."""
        return self.definitions.experiments

    def day(self, users: int, **shares: dict[str, float]) -> None:
        """A day with so many new users; `Order_Completed={"a": 0.1, "b": 0.2}`: these shares have the event."""
        at = START + self.days * DAY_MS
        self.days += 1
        came: dict[str, int] = {}
        views, events = [], []
        for _ in range(users):
            user = f"u{self.users}"
            self.users += 1
            views.append(track("Product Viewed", user, at + HOUR_MS))
            variant = self.rig.brain.assign(self.experiments[0], user) or ""
            number = came[variant] = came.get(variant, 0) + 1
            for name, of in shares.items():
                share = of.get(variant, 0.0)
                if int(number * share) > int((number - 1) * share):
                    events.append(track(name.replace("_", " "), user, at + 2 * HOUR_MS))
        self.rig.feed("clickstream", *views)
        self.rig.feed("purchases", *events)

    def pass_time(self, days: float) -> None:
        """Nobody comes; time passes in all inputs."""
        self.days += int(days)
        for name in INPUTS:
            self.rig.feed(name, tick(START + self.days * DAY_MS))

    @property
    def watermark(self) -> int:
        """Event time up to which all is counted."""
        return self.rig.position.state.watermark

    def counts(self, key: str = "test") -> dict[str, int]:
        """Counters of an experiment."""
        return dict(self.store.counters.get(f"exp:{key}", {}))

    def put(self, client: redis.Redis, lane: int = 0) -> None:
        """Lay counters and watermark where a lane lays them."""
        client.set(keys.state(lane), encode(self.rig.position.state))
        for name, counts in self.store.counters.items():
            client.sadd(keys.counter_names(lane), name)
            client.hset(keys.counters(lane, name), mapping=cast(Any, counts))
