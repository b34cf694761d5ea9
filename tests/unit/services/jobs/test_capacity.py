"""The capacity table is what its costs say, and docs/scale.md shows it."""

from dataclasses import replace

import pytest

from services.jobs.capacity import DOCUMENT, RATES, USERS, Assumptions, Costs, need, written

COSTS, ASSUMED = Costs(), Assumptions()


def test_the_document_is_current() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert written(text) == text, "python -m services.jobs.capacity"


def test_by_hand() -> None:
    found = need(100_000_000, 100_000, COSTS, ASSUMED)
    assert found.workers == 7  # 100,000 x 36.2 us = 3.62 cores, at 60 %: 6.03
    assert found.lanes == 64  # four for each of 14 nodes
    # 0.88 x 312 + 0.12 x 952 + 94 + 2,104 = 2,586.8 bytes; x 1.3 x 100 M = 336.3 GB a copy
    assert found.redis_gb == pytest.approx(672.6, abs=0.1)
    assert found.redis_nodes == 14
    # 100,000 x 254 x 0.4 bytes x 2,592,000 s x 3 copies
    assert found.log_gb == pytest.approx(79_004, abs=1)
    assert found.bottleneck == "memory of Redis"


def test_more_never_needs_less() -> None:
    for users in USERS:
        costs = [need(users, rate, COSTS, ASSUMED) for rate in RATES]
        assert [one.usd for one in costs] == sorted(one.usd for one in costs)
        assert [one.lanes for one in costs] == sorted(one.lanes for one in costs)
    for rate in RATES:
        gigabytes = [need(users, rate, COSTS, ASSUMED).redis_gb for users in USERS]
        assert gigabytes == sorted(gigabytes)


def test_lanes_are_enough_for_the_workers() -> None:
    for rate in RATES:
        found = need(1, rate, COSTS, ASSUMED)
        assert found.workers <= found.lanes <= 4 * found.workers or found.lanes == 4
        assert found.lanes & (found.lanes - 1) == 0, "reached by doubling"


def test_a_dearer_event_needs_more_workers() -> None:
    assert need(1, 100_000, replace(COSTS, worker_us=72.4), ASSUMED).workers == 13
