"""The live keys, written and read over a real Redis."""

from collections.abc import Iterator

import pytest
import redis

from models.errors import IncompatibleSnapshotError
from services.state import keys
from services.state.live import (
    TAIL_LENGTH,
    LiveReader,
    RedisAwayError,
    clear_demo,
    publish_demo,
    publish_worker,
    push_tail,
    retire_worker,
    tail_key,
    worker_key,
)
from support.any_redis import AnyRedis
from support.live_shop import LANES, LiveShop
from support.ports import LOOPBACK, free_port

AT = 1_700_000_000_000


@pytest.fixture
def reader(redis_server: AnyRedis) -> Iterator[LiveReader]:
    reader = LiveReader(redis_server.url, LANES)
    yield reader
    reader.close()


def test_a_worker_is_alive_then_silent_and_gone_when_it_says_goodbye(client: redis.Redis, reader: LiveReader) -> None:
    publish_worker(client, "decide", "host:1", {"at": AT, "events_per_s": 5})
    assert 0 < client.ttl(worker_key("decide", "host:1")) <= 15
    raw = reader.read_now((), ())
    assert [(one["role"], one["worker"], one["events_per_s"]) for one in raw.workers] == [("decide", "host:1", 5)]
    client.delete(worker_key("decide", "host:1"))
    assert reader.read_now((), ()).silent == (("decide", "host:1", AT),)
    retire_worker(client, "decide", "host:1")
    raw = reader.read_now((), ())
    assert (raw.workers, raw.silent) == ((), ())


def test_a_worker_that_was_silent_for_an_hour_is_forgotten(client: redis.Redis, reader: LiveReader) -> None:
    publish_worker(client, "decide", "old", {"at": AT})
    client.delete(worker_key("decide", "old"))
    publish_worker(client, "decide", "new", {"at": AT + 3_600_001})
    raw = reader.read_now((), ())
    assert [one["worker"] for one in raw.workers] == ["new"]
    assert raw.silent == ()


def test_a_tail_is_newest_first_and_bounded(client: redis.Redis, reader: LiveReader) -> None:
    push_tail(client, "alerts", [{"text": str(number)} for number in range(TAIL_LENGTH + 30)])
    push_tail(client, "alerts", [{"text": "last"}])
    push_tail(client, "alerts", [])
    texts = [item["text"] for item in reader.read_now((), ()).tails["alerts"]]
    assert texts[:2] == ["last", str(TAIL_LENGTH + 29)]
    assert len(texts) == TAIL_LENGTH


def test_what_cannot_be_read_hides_nothing_else(client: redis.Redis, reader: LiveReader) -> None:
    push_tail(client, "offers", [{"text": "good"}])
    client.lpush(tail_key("offers"), b"{not json", b"[1]")
    assert [item["text"] for item in reader.read_now((), ()).tails["offers"]] == ["good"]


def test_counters_are_summed_over_lanes(client: redis.Redis, reader: LiveReader) -> None:
    LiveShop(client).fill()
    raw = reader.read_now(("aa-check", "unknown"), ("win-back",))
    assert raw.cards["aa-check"]["users"] == {"a": 2071, "b": 2094}
    assert "unknown" not in raw.cards
    assert raw.campaigns["win-back"]["decided"] == 912
    assert sorted(raw.lanes) == list(range(LANES))


def test_the_demo_has_a_clock_until_it_ends(client: redis.Redis, reader: LiveReader) -> None:
    publish_demo(client, {"clock": "2010-01-01T00:00:00+00:00", "label": "simulation"})
    demo = reader.read_now((), ()).demo
    assert demo is not None
    assert demo["label"] == "simulation"
    clear_demo(client)
    assert reader.read_now((), ()).demo is None


def test_only_a_new_version_of_a_model_is_fetched(client: redis.Redis, reader: LiveReader) -> None:
    shop = LiveShop(client)
    shop.churn_model(version=1, learned=False)
    assert reader.read_now((), ()).snapshots["churn"].meta["learned"] is False
    client.delete("snapshot:{churn}:1")
    assert reader.read_now((), ()).snapshots["churn"].version == 1
    shop.churn_model(version=2, learned=True)
    assert reader.read_now((), ()).snapshots["churn"].meta["learned"] is True
    client.delete("snapshot:{churn}:latest")
    assert reader.read_now((), ()).snapshots == {}


def test_state_of_another_version_is_named(client: redis.Redis, reader: LiveReader) -> None:
    client.set(keys.state(1), b"\xc1")
    with pytest.raises(IncompatibleSnapshotError):
        reader.read_now((), ())


async def test_a_redis_that_is_away_is_named_without_its_password() -> None:
    port = free_port()
    reader = LiveReader(f"redis://:secret@{LOOPBACK}:{port}/0", LANES)
    with pytest.raises(RedisAwayError) as away:
        await reader.read((), ())
    with pytest.raises(RedisAwayError):
        await reader.ping()
    assert f"{LOOPBACK}:{port}" in str(away.value)
    assert "secret" not in str(away.value)
    reader.close()
