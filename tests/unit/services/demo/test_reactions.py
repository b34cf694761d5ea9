from __future__ import annotations

import json

import msgspec
import pytest

from config.definitions import Experiment
from models.events import Envelope
from services.demo.reactions import Habits, Reactions


def experiment(effect: float = 0.1, variants: tuple[str, ...] = ("plain", "voucher")) -> Experiment:
    return Experiment.model_validate(
        {
            "id": "subject",
            "variants": [{"id": name, "weight": 1 / len(variants)} for name in variants],
            "expose_on": "message",
            "metrics": [{"id": "clicked", "event": "Email Link Clicked", "within": "7d"}],
            "simulated": True,
            "planted": {"clicked": effect},
        }
    )


def delivered(message: str, variant: str | None = None, name: str = "Email Delivered") -> bytes:
    properties = {"message_id": message, "campaign_id": "cart", "variant": variant}
    properties["experiment_id"] = "subject" if variant else None
    event = {
        "type": "track",
        "event": name,
        "userId": "u1",
        "messageId": f"out-{message}",
        "timestamp": 1_262_304_000_000,
    }
    return msgspec.json.encode({**event, "properties": properties})


def test_the_same_message_brings_the_same_reactions_whenever_it_is_seen() -> None:
    messages = [delivered(f"{number:032x}") for number in range(200)]
    one, other = Reactions(seed=7), Reactions(seed=7)
    forward = {found[0].message_id: found for message in messages if (found := one.of(message))}
    backward = {found[0].message_id: found for message in reversed(messages) if (found := other.of(message))}
    assert forward == backward
    assert one.counts["Email Opened"] > 50
    again = Reactions(seed=8)
    assert {m for message in messages for r in again.of(message) for m in (r.message_id,)} != set(forward)


def test_an_outcome_that_lies_twice_in_the_log_is_reacted_to_once() -> None:
    reactions = Reactions(habits=Habits(opened=1.0))
    assert reactions.of(delivered("a" * 32))[0].event == "Email Opened"
    assert reactions.of(delivered("a" * 32)) == []


@pytest.mark.parametrize("value", [None, b"", b'{"type":"tick"}', delivered("b" * 32, name="Message Failed")])
def test_only_delivered_mails_are_reacted_to(value: bytes | None) -> None:
    assert Reactions(habits=Habits(opened=1.0)).of(value) == []


def test_the_planted_effect_is_the_difference_of_the_click_rates() -> None:
    reactions = Reactions([experiment(0.1, ("a", "b", "c"))], habits=Habits(clicked=0.12))
    rates = [reactions.click_rate("subject", variant) for variant in "abc"]
    assert rates == pytest.approx([0.12, 0.17, 0.22])
    many = 20_000
    clicks = {
        variant: sum(
            any(
                one.event == "Email Link Clicked" for one in reactions.of(delivered(f"{variant}{number:031x}", variant))
            )
            for number in range(many)
        )
        for variant in ("a", "c")
    }
    # Binomial: the standard error of each share is below 0.003, of the difference below 0.0045.
    assert clicks["a"] / many == pytest.approx(0.12, abs=0.01)
    assert (clicks["c"] - clicks["a"]) / many == pytest.approx(0.1, abs=0.014)


def test_reactions_are_valid_events_marked_as_simulated_in_order_of_time() -> None:
    reactions = Reactions(habits=Habits(opened=1.0, clicked=0.9, ordered=1.0, unsubscribed=1.0))
    names = set()
    for number in range(50):
        found = reactions.of(delivered(f"{number:032x}"))
        assert [one.at_ms for one in found] == sorted(one.at_ms for one in found)
        for one in found:
            document = json.loads(one.value(one.at_ms))
            Envelope.model_validate(document)
            assert document["context"]["simulated"] is True
            assert document["userId"] == one.user == "u1"
            assert one.at_ms > 1_262_304_000_000
            names.add(document["event"])
            expected = "purchases" if document["event"] == "Simulated Order" else "feedback"
            assert one.topic == expected
    assert names == {"Email Opened", "Email Link Clicked", "Simulated Order", "Unsubscribed"}
    assert "Order Completed" not in names  # invented revenue never mixes with real
