from __future__ import annotations

import msgspec

from services.bus import Record
from services.demo.live import Responses
from services.demo.reactions import Habits, Reactions


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
