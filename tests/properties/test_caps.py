"""No two messages within a cap window, in whatever order they are decided."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.definitions import Campaign, Policy
from models.campaigns.caps import allowed

HOUR_MS = 3_600_000


def campaign(name: str, purpose: str, cap: tuple[int, int] | None) -> Campaign:
    tree: dict[str, Any] = {
        "id": name,
        "trigger": {"on": "event", "event": "X"},
        "channel": "log",
        "template": "t",
        "purpose": purpose,
    }
    if cap is not None:
        tree["cap"] = {"max": cap[0], "per": f"{cap[1]}h"}
    return Campaign.model_validate(tree)


def policy(*caps: tuple[int, int]) -> Policy:
    return Policy.model_validate({"frequency_caps": [{"max": most, "per": f"{per}h"} for most, per in caps]})


def most_in_a_window(times: list[int], per_ms: int) -> int:
    return max((sum(start <= at < start + per_ms for at in times) for start in times), default=0)


CAPS = st.tuples(st.integers(1, 3), st.integers(1, 48))


@given(
    own=st.lists(st.none() | CAPS, min_size=3, max_size=3),
    over_all=st.lists(CAPS, max_size=2),
    wishes=st.lists(
        st.tuples(st.integers(0, 100 * 4).map(lambda quarter: quarter * HOUR_MS // 4), st.integers(0, 2)),
        max_size=40,
    ),
)
def test_no_window_ever_holds_more_than_its_cap(
    own: list[tuple[int, int] | None], over_all: list[tuple[int, int]], wishes: list[tuple[int, int]]
) -> None:
    purposes = ("marketing", "marketing", "transactional")
    campaigns = [campaign(f"c{i}", purposes[i], cap) for i, cap in enumerate(own)]
    rules = policy(*over_all)
    sends: list[tuple[int, str, bool]] = []
    for at, which in wishes:
        one = campaigns[which]
        if allowed(sends, at, one, rules) is None:
            sends.append((at, one.id, one.purpose == "marketing"))
    for one in campaigns:
        if one.cap is not None:
            times = [at for at, sender, _ in sends if sender == one.id]
            assert most_in_a_window(times, one.cap.per_ms) <= one.cap.max
    marketing = [at for at, _, counts in sends if counts]
    for cap in rules.frequency_caps:
        assert most_in_a_window(marketing, cap.per_ms) <= cap.max


@given(
    sends=st.lists(st.integers(0, 40), max_size=12),
    at=st.integers(0, 40),
    most=st.integers(1, 3),
    per=st.integers(1, 12),
)
def test_nothing_is_refused_that_would_have_kept_to_the_cap(sends: list[int], at: int, most: int, per: int) -> None:
    before: list[int] = []
    for when in sends:
        if most_in_a_window([*before, when], per) <= most:
            before.append(when)
    one = campaign("c", "marketing", (most, per))
    told = allowed([(when * HOUR_MS, "c", True) for when in before], at * HOUR_MS, one, Policy())
    too_many = most_in_a_window([*before, at], per) > most
    assert told == ("campaign_cap" if too_many else None)


@pytest.mark.parametrize(
    ("sends", "at", "expected"),
    [
        ([], 10, None),
        ([10], 33, "frequency_cap"),
        ([10], 34, None),  # exactly a day later: a new window
        ([34], 10, None),
        ([33], 10, "frequency_cap"),  # decided late, for an earlier time
        ([10], 10, "frequency_cap"),
        ([0, 24, 48], 72, "frequency_cap"),  # three in a week are enough
        ([0, 24, 48], 168, None),
        ([0, 48, 96, 168], 24, "frequency_cap"),
        ([0, 60, 168], 100, None),  # four messages, but the first and the last a week apart
    ],
)
def test_cases(sends: list[int], at: int, expected: str | None) -> None:
    rules = policy((1, 24), (3, 168))
    given_sends = [(hour * HOUR_MS, "other", True) for hour in sends]
    assert allowed(given_sends, at * HOUR_MS, campaign("c", "marketing", None), rules) == expected


def test_the_caps_over_all_leave_transactional_messages_alone() -> None:
    rules = policy((1, 24))
    receipt = campaign("receipt", "transactional", None)
    news = campaign("news", "marketing", None)
    assert allowed([(0, "news", True)], 1, receipt, rules) is None
    assert allowed([(0, "receipt", False)], 1, news, rules) is None


def test_its_own_cap_binds_a_transactional_message_too() -> None:
    receipt = campaign("receipt", "transactional", (1, 1))
    assert allowed([(0, "receipt", False)], HOUR_MS - 1, receipt, Policy()) == "campaign_cap"
    assert allowed([(0, "receipt", False)], HOUR_MS, receipt, Policy()) is None
