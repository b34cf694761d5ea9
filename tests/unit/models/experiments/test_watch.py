"""One look after the other at an experiment: what is remembered, told and decided."""

from typing import Any

import pytest
from msgspec.structs import replace

from config.overrides import Override
from models.experiments.record import Record, decode_record, encode_record
from models.experiments.watch import adopted, look
from support.experiment_shop import ExperimentShop, experiment


class Watcher:
    """Looks, as the judge does."""

    def __init__(self, shop: ExperimentShop) -> None:
        self.shop = shop
        self.record: Record | None = None
        self.card: dict[str, Any] = {}

    def look(self, override: Override | None = None) -> list[str]:
        """Look, and give what was told."""
        seen = look(self.record, self.shop.experiments[0], self.shop.counts(), self.shop.watermark, override)
        told = [f"{event.number} {event.verdict} {event.status} {event.final}" for event in seen.record.outbox]
        self.record = decode_record(encode_record(replace(seen.record, outbox=[])))
        self.card = seen.document or self.card
        return told


@pytest.fixture
def shop() -> ExperimentShop:
    return ExperimentShop(experiment())


def busy(shop: ExperimentShop, days: int, **shares: dict[str, float]) -> None:
    for _ in range(days):
        shop.day(300, **shares)
    shop.pass_time(3)


def test_nobody_exposed_is_nothing_to_tell(shop: ExperimentShop) -> None:
    watcher = Watcher(shop)
    shop.pass_time(1)
    assert watcher.look() == []
    assert watcher.card["verdict"] == "not_enough_data"
    assert watcher.card["since"] is None


def test_a_change_is_told_once(shop: ExperimentShop) -> None:
    watcher = Watcher(shop)
    busy(shop, 2, Order_Completed={"a": 0.2, "b": 0.2})
    assert watcher.look() == ["1 undecided running 0"]
    assert watcher.look() == []
    busy(shop, 4, Order_Completed={"a": 0.2, "b": 0.5})
    assert watcher.look() == ["2 better running 0"]
    assert watcher.card["sentence"].startswith("b is better on ordered: +")
    assert watcher.card["variant"] == "b"
    assert watcher.look() == []


def test_users_inside_their_window_never_decide(shop: ExperimentShop) -> None:
    """One arm merely converts sooner: as long as the window is open, that says nothing."""
    watcher = Watcher(shop)
    shop.day(1000, Order_Completed={"a": 0.1, "b": 0.6})
    assert watcher.look() == ["1 not_enough_data running 0"]
    assert (watcher.card["matured"], watcher.card["preliminary"]) == (0, 1000)
    assert any("preliminary" in caution for caution in watcher.card["cautions"])
    shop.pass_time(3)
    assert watcher.look() == ["2 better running 0"]
    assert (watcher.card["matured"], watcher.card["preliminary"]) == (1000, 0)


def test_a_verdict_is_remembered_when_the_effect_fades(shop: ExperimentShop) -> None:
    watcher = Watcher(shop)
    busy(shop, 4, Order_Completed={"a": 0.2, "b": 0.5})
    watcher.look()
    p = watcher.card["comparisons"][0]["p"]
    assert p < 0.001
    busy(shop, 4, Order_Completed={"a": 0.6, "b": 0.3})
    watcher.look()
    assert watcher.card["comparisons"][0]["p"] <= p


def test_a_lost_look_costs_evidence_and_never_makes_any(shop: ExperimentShop) -> None:
    """Another judge was quicker, Redis went back in time: what is left is a subset of the looks."""
    often, seldom = Watcher(shop), Watcher(shop)
    for _ in range(6):
        busy(shop, 1, Order_Completed={"a": 0.2, "b": 0.4})
        often.look()
    seldom.look()
    most, least = (one.card["comparisons"][0] for one in (often, seldom))
    assert most["p"] <= least["p"]
    assert least["interval"][0] <= most["interval"][0] <= most["interval"][1] <= least["interval"][1]


def test_a_guardrail_stops_it_where_the_file_says_so() -> None:
    shop = ExperimentShop(experiment(on_verdict="stop"))
    watcher = Watcher(shop)
    busy(shop, 4, Complained={"a": 0.02, "b": 0.3}, Order_Completed={"a": 0.2, "b": 0.2})
    assert watcher.look() == ["1 harm stopped 0"]
    assert watcher.record is not None
    decided = watcher.record.decided
    assert decided is not None
    assert (decided.status, decided.by, decided.winner) == ("stopped", "judge", None)
    assert "b harms spam" in decided.reason
    assert watcher.card["status"] == "stopped"
    assert watcher.card["reason"] == decided.reason


def test_without_a_word_in_the_file_nothing_is_done(shop: ExperimentShop) -> None:
    watcher = Watcher(shop)
    busy(shop, 4, Complained={"a": 0.02, "b": 0.3})
    assert watcher.look() == ["1 harm running 0"]
    assert watcher.record is not None
    assert watcher.record.decided is None


def test_the_winner_is_rolled_out_and_the_result_becomes_final() -> None:
    shop = ExperimentShop(experiment(on_verdict="roll_out"))
    watcher = Watcher(shop)
    busy(shop, 5, Order_Completed={"a": 0.2, "b": 0.5})
    assert watcher.look() == ["1 better rolled_out 0"]
    assert watcher.record is not None
    assert watcher.record.decided is not None
    assert watcher.record.decided.winner == "b"
    # Nobody is inside a window any more: the next look is the last.
    assert watcher.look() == ["2 better rolled_out 1"]
    assert watcher.card["sample_ratio"]["p"] is not None
    final = dict(watcher.card)
    shop.pass_time(2)
    assert watcher.look() == []
    assert watcher.card == final


def test_a_final_result_changes_only_as_a_new_version() -> None:
    shop = ExperimentShop(experiment(enabled=True))
    watcher = Watcher(shop)
    busy(shop, 2, Order_Completed={"a": 0.2, "b": 0.2})
    watcher.look()
    stopped = Override(experiment="test", status="stopped", by="person", reason="enough")
    assert watcher.look(stopped) == ["2 no_difference stopped 1"]
    first = dict(watcher.card)
    watermark = shop.watermark
    # Redis goes back in time: fewer users than were published say nothing.
    older = ExperimentShop(experiment())
    busy(older, 1, Order_Completed={"a": 0.2, "b": 0.2})
    assert older.watermark < watermark
    kept, watcher.shop = watcher.shop, older
    assert watcher.look(stopped) == []
    assert watcher.card == first
    # Other sums at a later time: told, and numbered.
    watcher.shop = kept
    busy(shop, 1, Order_Completed={"a": 0.2, "b": 0.3})
    assert watcher.look(stopped) == ["3 no_difference stopped 2"]
    assert watcher.card["final"] == 2
    assert watcher.look(stopped) == []


def test_the_plan_is_frozen_with_the_first_user() -> None:
    shop = ExperimentShop(experiment())
    watcher = Watcher(shop)
    watcher.look()
    changed = ExperimentShop(experiment(plan={"users": 9000}))
    watcher.shop = changed
    watcher.look()
    assert watcher.record is not None
    assert watcher.record.plan.planned == 9000
    busy(changed, 1)
    watcher.look()
    again = ExperimentShop(experiment(plan={"users": 100}))
    busy(again, 2)
    watcher.shop = again
    watcher.look()
    assert watcher.record.plan.planned == 9000
    assert any("frozen" in caution for caution in watcher.card["cautions"])


def test_another_version_begins_anew(shop: ExperimentShop) -> None:
    watcher = Watcher(shop)
    busy(shop, 4, Order_Completed={"a": 0.2, "b": 0.5})
    watcher.look(Override(experiment="test", status="stopped"))
    second = ExperimentShop(experiment(version=2))
    watcher.shop = second
    second.pass_time(1)
    assert watcher.look(Override(experiment="test", status="stopped")) == []
    assert watcher.record is not None
    assert (watcher.record.version, watcher.record.number, watcher.record.decided) == (2, 0, None)


def test_what_was_published_stands() -> None:
    """Redis lost everything: number, decision and final result come back from the topic."""
    shop = ExperimentShop(experiment(on_verdict="roll_out"))
    watcher = Watcher(shop)
    busy(shop, 5, Order_Completed={"a": 0.2, "b": 0.5})
    events = []
    for _ in range(2):
        seen = look(watcher.record, shop.experiments[0], shop.counts(), shop.watermark)
        events += seen.record.outbox
        watcher.record = replace(seen.record, outbox=[])
    assert [event.number for event in events] == [1, 2]
    assert len({event.id for event in events}) == 2
    found = adopted(None, shop.experiments[0], events[-1])
    assert found is not None
    assert watcher.record is not None
    assert (found.number, found.told, found.decided) == (2, watcher.record.told, watcher.record.decided)
    after = look(found, shop.experiments[0], shop.counts(), shop.watermark)
    assert (after.record.outbox, after.record.final) == ([], 1)
    # Nothing to adopt where Redis knows as much, or the file has another version.
    assert adopted(watcher.record, shop.experiments[0], events[-1]) is None
    assert adopted(None, ExperimentShop(experiment(version=2)).experiments[0], events[-1]) is None


def test_the_same_change_has_the_same_id(shop: ExperimentShop) -> None:
    busy(shop, 4, Order_Completed={"a": 0.2, "b": 0.5})
    ids = {
        look(None, shop.experiments[0], shop.counts(), watermark).record.outbox[0].id
        for watermark in (shop.watermark, shop.watermark + 1)
    }
    assert len(ids) == 1


def test_a_metric_that_nobody_sends_is_told(shop: ExperimentShop) -> None:
    watcher = Watcher(shop)
    busy(shop, 4, Order_Completed={"a": 0.2, "b": 0.2})
    watcher.look()
    told = [caution for caution in watcher.card["cautions"] if "does anybody send" in caution]
    assert told == [
        "None of 1,200 users has anything of spam: does anybody send the event 'Complained', spelled like this?"
    ]
    busy(shop, 1, Complained={"a": 0.1})
    watcher.look()
    assert not any("does anybody send" in caution for caution in watcher.card["cautions"])
