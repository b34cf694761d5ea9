"""A roll-out by rule: 1 % to 100 %, within the steps, stopped by what harms."""

from config.overrides import overlaid
from models.brain import Brain
from models.experiments.watch import Look, look
from support.experiment_shop import ExperimentShop, experiment

CHANGE = experiment(
    variants=[{"id": "a", "weight": 0.5}, {"id": "b", "weight": 0.5}],
    rollout=[0.2, 0.5, 1.0],
)


def judged(shop: ExperimentShop, before: Look | None) -> Look:
    """Look, and let decide go by what followed."""
    seen = look(before.record if before else None, shop.experiments[0], shop.counts(), shop.watermark)
    decided = seen.record.decided
    if decided is not None:
        shop.rig.brain = Brain(overlaid(shop.definitions, {"test": decided}))
    return seen


def test_it_goes_on_step_by_step_and_ends_with_everybody() -> None:
    shop = ExperimentShop(CHANGE)
    seen, told = None, []
    for _ in range(12):
        shop.day(300, Order_Completed={"a": 0.2, "b": 0.2}, Complained={"a": 0.05, "b": 0.05})
        shop.pass_time(2)
        seen = judged(shop, seen)
        decided = seen.record.decided
        told.append((decided.step, decided.status) if decided is not None else (0, "running"))
    steps = list(dict.fromkeys(told))
    assert steps == [(0, "running"), (1, "running"), (2, "rolled_out")]
    # 100 users with the change in each step: 60 a day at first, then 150.
    assert told.count((0, "running")) == 1
    assert told.count((1, "running")) == 1
    assert seen is not None
    assert seen.record.decided is not None
    assert seen.record.decided.winner == "b"
    events = [event for event in seen.record.outbox if event.status == "rolled_out"]
    assert events


def test_harm_stops_it_before_windows_close() -> None:
    shop = ExperimentShop(CHANGE)
    shop.day(900, Complained={"a": 0.02, "b": 0.4})
    seen = judged(shop, None)
    decided = seen.record.decided
    assert decided is not None
    assert (decided.status, decided.step) == ("stopped", 0)
    assert "spam changed by" in decided.reason
    assert seen.document is not None
    assert (seen.document["verdict"], seen.document["status"]) == ("harm", "stopped")
    assert seen.document["matured"] == 0


def test_users_inside_their_window_do_not_let_it_go_on() -> None:
    shop = ExperimentShop(CHANGE)
    shop.day(900, Complained={"a": 0.05, "b": 0.05})
    seen = judged(shop, None)
    assert seen.record.decided is None
    assert seen.document is not None
    assert seen.document["sentence"] == "Step 1 of 3, 20 % of the users: 0 of 100 users with the change in this step."
    shop.pass_time(2)
    seen = judged(shop, seen)
    assert seen.record.decided is not None
    assert seen.record.decided.step == 1


def test_a_step_is_compared_within_itself() -> None:
    """Busy days in the second step: thrown together, the change would seem to harm (Simpson)."""
    shop = ExperimentShop(CHANGE)
    shop.day(900, Complained={"a": 0.02, "b": 0.02})
    shop.pass_time(2)
    seen = judged(shop, None)
    assert seen.record.decided is not None
    assert seen.record.decided.step == 1
    shop.day(900, Complained={"a": 0.3, "b": 0.3})
    seen = judged(shop, seen)
    assert seen.record.decided is not None
    assert seen.record.decided.status == "running"
