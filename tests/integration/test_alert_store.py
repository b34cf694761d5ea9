"""Alerts in Redis: written once, bounded, acknowledged once, and due until somebody says what became of them."""

import pytest
import redis

from models.errors import FenceError
from models.profile.codec import encode_profile
from models.profile.state import Profile
from models.wire import lane_of
from services.state import alerts, keys
from services.state.alerts import AlertStore, Attempt
from support.alerts import AT, taken

LANES, TOPIC = 2, "churn-alerts"
ANNA = lane_of("anna", LANES)


@pytest.fixture
def store(client: redis.Redis) -> AlertStore:
    return AlertStore(client, LANES, ttl_s=3_600)


def test_an_alert_is_taken_once_and_only_from_where_its_taker_stands(store: AlertStore, client: redis.Redis) -> None:
    assert store.fence(ANNA, TOPIC) is None
    store.take(ANNA, TOPIC, (None, 4), [taken("anna", 3)], ["crm", "ops"])
    assert store.fence(ANNA, TOPIC) == 4
    with pytest.raises(FenceError):
        store.take(ANNA, TOPIC, (None, 9), [taken("anna", 8, at=AT + 1)], ["crm"])
    (one,) = store.newest()
    assert (one.user, one.score, one.reasons, one.action) == ("anna", 0.8, ["silent for 80 days"], "campaign win-back")
    assert (one.open, one.over, one.acknowledged, one.webhooks) == (True, False, None, {})
    assert 0 < int(client.ttl(keys.alert(ANNA, one.id))) <= 3_600

    # Published again, and the log read again: what was said since stands, and nobody is told again.
    store.acknowledge(one.id, "bo", "called her", 5)
    for webhook in ("crm", "ops"):
        (job,) = store.claim(ANNA, webhook, 10, 20, 5)
        store.settle(job, Attempt("delivered", 1, 11, "200 OK"), None)
    store.take(ANNA, TOPIC, (4, 5), [taken("anna", 4)], ["crm", "ops"])
    (again,) = store.newest("anna")
    assert again.acknowledged == alerts.Acknowledged("bo", 5, "called her")
    assert not again.open
    assert {name: told.state for name, told in again.webhooks.items()} == {"crm": "delivered", "ops": "delivered"}
    assert store.claim(ANNA, "crm", 10**15, 10**15, 5) == []


def test_whoever_acknowledges_first_stands(store: AlertStore) -> None:
    store.take(ANNA, TOPIC, (None, 1), [taken("anna")], [])
    (one,) = store.newest()
    assert store.acknowledge(one.id, "bo", "", 5) == store.acknowledge(one.id, "cy", "mine", 6)
    assert store.acknowledge("nothing", "bo", "", 5) is None
    assert store.find("nothing") is None
    found = store.find(one.id)
    assert found is not None
    assert found.acknowledged == alerts.Acknowledged("bo", 5, "")


def test_a_lease_keeps_others_away_and_ends(store: AlertStore) -> None:
    store.take(ANNA, TOPIC, (None, 2), [taken("anna"), taken("anna", 1, at=AT + 1)], ["crm"])
    first, second = store.claim(ANNA, "crm", 100, 130, 5)
    assert first.taken == taken("anna") or second.taken == taken("anna")
    assert store.claim(ANNA, "crm", 129, 200, 5) == []
    store.settle(second, Attempt("waiting", 1, 101, "503"), 5_000)
    (later,) = store.claim(ANNA, "crm", 130, 160, 5)  # the first one's taker died
    assert (later.id, later.attempts) == (first.id, 0)
    # It comes back from the dead: its failure is not the word that counts any more, a success would be.
    store.settle(first, Attempt("waiting", 1, 140, "503"), 999_999)
    assert store.claim(ANNA, "crm", 159, 300, 5) == []
    (again,) = store.claim(ANNA, "crm", 160, 190, 5)
    assert again.id == first.id
    store.settle(first, Attempt("delivered", 1, 170, "200"), None)
    assert [(job.id, job.attempts) for job in store.claim(ANNA, "crm", 10**15, 10**15, 5)] == [(second.id, 1)]


def test_what_gave_up_is_told_again(store: AlertStore) -> None:
    store.take(ANNA, TOPIC, (None, 1), [taken("anna")], ["crm"])
    (job,) = store.claim(ANNA, "crm", 1, 2, 5)
    store.settle(job, Attempt("dead", 10, 3, "503"), None)
    assert store.claim(ANNA, "crm", 10**15, 10**15, 5) == []
    found = store.find(job.id)
    assert found is not None
    store.resend(found, ["crm"])
    (again,) = store.claim(ANNA, "crm", 4, 5, 5)
    assert (again.id, again.attempts) == (job.id, 0)


def test_a_forgotten_alert_is_nothing_to_post(store: AlertStore, client: redis.Redis) -> None:
    store.take(ANNA, TOPIC, (None, 1), [taken("anna")], ["crm"])
    (one,) = store.newest()
    client.delete(keys.alert(ANNA, one.id))
    (job,) = store.claim(ANNA, "crm", 1, 2, 5)
    assert job.taken is None
    store.settle(job, Attempt("dead", 1, 3, "forgotten"), None)
    assert client.exists(keys.alert(ANNA, one.id)) == 0  # nothing without an end is left behind
    assert store.newest() == []


def test_the_list_is_bounded(store: AlertStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "KEEP", 3)
    many = [taken("anna", n, broker_ms=n, at=AT + n) for n in range(5)]
    store.take(ANNA, TOPIC, (None, 5), many, [])
    assert [one.at - AT for one in store.newest()] == [4, 3, 2]
    assert store.find(many[0].alert.id) is not None  # known by its id for as long as it is remembered


@pytest.mark.parametrize(
    ("alerted", "last_alert", "over"),
    [(True, AT // 1000, False), (False, AT // 1000, True), (True, AT // 1000 + 9, True)],
)
def test_the_profile_says_whether_it_is_over(
    store: AlertStore, client: redis.Redis, alerted: bool, last_alert: int, over: bool
) -> None:
    profile = Profile(alerted=alerted, last_alert=last_alert)
    client.set(keys.profile(ANNA, "anna"), encode_profile(profile))
    store.take(ANNA, TOPIC, (None, 1), [taken("anna")], [])
    (one,) = store.newest("anna")
    assert (one.over, one.open) == (over, not over)
