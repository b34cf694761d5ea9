"""Dead letters without a broker: which are meant, what is published for them, what is refused again."""

import dataclasses

import msgspec
import pytest

from config.settings import Settings
from models.chunk import dead_letter
from models.wire import Record, header, lane_of
from services.jobs.letters import Choice, EditError, Letter, Planned, Refused, edited, plan
from services.state.redrives import Redrive
from support.lane import BROKER_MS, track

SETTINGS = Settings(lanes=3)
NOW = BROKER_MS + 3_600_000


def letter(
    value: bytes, reason: str = "failed", offset: int = 7, headers: list[tuple[str, bytes]] | None = None
) -> Letter:
    record = Record(offset, BROKER_MS, b"anna", value, headers or [])
    return Letter(dead_letter("purchases", 1, record, reason, "why"), BROKER_MS + 5)


def planned(found: Letter, *, again: bool = False, force: bool = False) -> Planned:
    (one,), refused = plan(SETTINGS, [found], NOW, again=again, force=force)
    assert not refused
    return one


def why(found: Letter) -> str:
    made, (one,) = plan(SETTINGS, [found], NOW)
    assert (made, isinstance(one, Refused)) == ([], True)
    return one.why


def test_a_record_goes_back_whole_with_the_id_of_its_first_position() -> None:
    nameless = track("Order Completed", "anna", BROKER_MS, "m", revenue=1.0).replace(b'"messageId":"m",', b"")
    made = planned(letter(nameless, headers=[("source", b"till-4"), ("kairos-seq", b"9")]))
    assert (made.topic, made.partition, made.key) == ("purchases", lane_of("anna", 3), b"anna")
    assert (made.value, made.edited) == (nameless, False)
    assert made.headers == [
        ("source", b"till-4"),
        ("kairos-origin", b"purchases-1-7"),
        ("kairos-redriven", b"purchases-1-7"),
    ]


def test_what_was_forwarded_or_redriven_before_keeps_its_first_origin() -> None:
    value = track("Order Completed", "anna", BROKER_MS)
    made = planned(letter(value, headers=[("kairos-origin", b"purchases-0-3"), ("kairos-lane", b"0")]))
    assert header(made.headers, "kairos-origin") == "purchases-0-3"
    assert header(made.headers, "kairos-redriven") == "purchases-1-7"
    assert header(made.headers, "kairos-lane") is None  # or it would pass for a forwarded one


def test_what_would_be_refused_again_is_not_sent_until_it_is_mended() -> None:
    bad = letter(track("Product Viewed", "anna", BROKER_MS, "m", price="cheap"), "wrong_type")
    assert "refused again: wrong_type" in why(bad)
    assert planned(bad, force=True).value == bad.letter.value
    (made,), _ = plan(SETTINGS, [bad], NOW, lambda value: edited(value, ["properties.price=2.5", "userId=bob"]))
    assert made.edited
    assert (made.partition, made.key) == (lane_of("bob", 3), b"bob")
    assert msgspec.json.decode(made.value)["properties"] == {"price": 2.5}


def test_a_fast_clock_is_forgiven_when_its_time_has_come() -> None:
    early = letter(track("Product Viewed", "anna", BROKER_MS + 600_000), "far_future")
    assert planned(early).value == early.letter.value
    much_too_early = letter(track("Product Viewed", "anna", NOW + 600_000), "far_future")
    assert "far_future" in why(much_too_early)


def test_a_letter_is_sent_once() -> None:
    before = dataclasses.replace(letter(track("X", "anna", BROKER_MS)), redrive=Redrive(NOW, "purchases-1", sent=True))
    assert "nothing is sent twice" in why(before)
    unsure = dataclasses.replace(before, redrive=Redrive(NOW, "purchases-1", sent=False))
    assert "did not say how it ended" in why(unsure)
    assert planned(unsure, again=True).topic == "purchases"


def test_letters_are_chosen_by_every_field() -> None:
    found = letter(b"x", "unreadable")
    assert Choice(reason="unreadable", topic="purchases", key="anna", since_ms=BROKER_MS, until_ms=NOW).holds(found)
    others = (
        Choice(reason="failed"),
        Choice(topic="profiles"),
        Choice(key="bob"),
        Choice(since_ms=NOW),
        Choice(until_ms=BROKER_MS),
        Choice(ids=frozenset(("purchases-1-8",))),
    )
    assert not any(other.holds(found) for other in others)


def test_fields_are_mended_by_their_path() -> None:
    value = b'{"properties": {"products": [{"price": "x"}, {"price": 2}], "coupon": "A"}}'
    done = edited(value, ["properties.products.0.price=1.5", "properties.coupon=", "context.page.path=/lamp"])
    assert msgspec.json.decode(done) == {
        "properties": {"products": [{"price": 1.5}, {"price": 2}]},
        "context": {"page": {"path": "/lamp"}},
    }
    for change in ("price", "properties.products.9.price=1", "properties.products.first=1"):
        with pytest.raises(EditError):
            edited(value, [change])
    with pytest.raises(EditError, match="--value"):
        edited(b"not json", ["a=1"])
