from __future__ import annotations

import json
from collections import Counter

import msgspec
import pytest

from models.events import Envelope
from services.bus import Record
from services.demo.live import Responses
from services.demo.reactions import Habits, Reactions
from services.demo.visits import Browsing, Visits


class Log:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def add(self, topic: str, document: object) -> None:
        self.records.append(Record(topic, 0, 0, 0, None, msgspec.json.encode(document), ()))

    def poll(self, timeout_s: float = 0.0) -> list[Record]:
        found, self.records = self.records, []
        return found


def outcome(name: str, message: str) -> dict[str, object]:
    properties = {"message_id": message, "campaign_id": "c"}
    return {"type": "track", "event": name, "userId": "u", "timestamp": 0, "properties": properties}


def test_all_is_done_when_every_command_has_an_outcome_and_nothing_came_for_a_while() -> None:
    log, now = Log(), [0.0]
    responses = Responses(log, Reactions(habits=Habits(opened=1.0)), clock_s=lambda: now[0])
    for number in range(3):
        log.add("messages", {"type": "SendEmail", "id": f"m{number}"})
    log.add("messages", {"type": "MessageSuppressed", "id": "s"})
    now[0] = 10.0
    assert responses.unfinished() == 3
    log.add("feedback", outcome("Email Delivered", "m0"))
    log.add("feedback", outcome("Message Failed", "m1"))
    log.add("feedback", outcome("Email Opened", "m2"))  # no outcome of m2: only deliver can say that
    log.add("feedback", {"type": "tick", "timestamp": 5})
    assert responses.unfinished() == 1
    log.add("feedback", outcome("Message Unknown", "m2"))
    assert responses.unfinished() == 1  # all have one, but it may go on
    now[0] = 13.0
    assert responses.unfinished() == 0
    assert {one.message_id for one in responses.poll()} == {"m0"}
    assert responses.poll() == []


def test_lists_are_seen_days_later_under_a_name_of_their_own() -> None:
    log = Log()
    responses = Responses(log, Reactions(), visits=Visits(browsing=Browsing(shown=1.0, clicked=1.0)))
    offers = [{"item": "p1"}, {"item": "p2"}, {"item": None}]
    decided = {"id": 32 * "a", "user": "u", "at": 1_262_304_000_000, "offers": offers}
    log.add("offers", decided)
    log.add("offers", decided)
    found = responses.poll()
    assert sorted(found)[0].event == "Product List Viewed"
    assert [one.at_ms for one in found] == sorted(one.at_ms for one in found)
    assert all(one.at_ms >= decided["at"] + 3 * 86_400_000 for one in found)  # type: ignore[operator]
    view, *clicks = (json.loads(one.value(one.at_ms)) for one in found)
    assert view["properties"]["list_id"] == f"simulated:{32 * 'a'}"
    assert [one["position"] for one in view["properties"]["products"]] == [1, 2]
    assert clicks[0]["properties"]["product_id"] == "p1"
    for one in (view, *clicks):
        Envelope.model_validate(one)
        assert one["context"]["simulated"] is True


def test_the_further_down_the_fewer_click() -> None:
    visits = Visits(browsing=Browsing(shown=0.5, clicked=0.3))
    places: Counter[int] = Counter()
    for number in range(4_000):
        decided = {"id": f"{number:032x}", "user": "u", "at": 0, "offers": [{"item": f"p{one}"} for one in range(5)]}
        for one in visits.of(msgspec.json.encode(decided)):
            if one.event == "Product Clicked":
                places[json.loads(one.value(0))["properties"]["position"]] += 1
    shown = visits.counts["Product List Viewed"]
    assert shown / 4_000 == pytest.approx(0.5, abs=0.04)
    assert places[1] / shown == pytest.approx(0.3, abs=0.05)
    assert places[1] > places[2] > places[5]
