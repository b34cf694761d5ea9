"""A core that breaks on some records and on some users' timers, each time: they alone are put aside.

Everything else that can go wrong is the business of `make chaos`.
"""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR, Settings
from config.topics import INPUT_NAMES
from models.profile.codec import decode_profile
from models.wire import lane_of
from services.bus import end_offsets
from services.embedded.mailbox import count_by_message_id
from services.jobs.audit import run_audit
from services.jobs.audit.report import AuditReport
from services.state.counters import read_counters
from services.state.keys import profile as profile_key
from services.state.ledger_index import ledger_states
from support import recount
from support.chaos import FAULTY, LANES, Chaos
from support.faulty_decide import MARKED, UNLUCKY
from support.kafka import KafkaServer
from support.redis import RedisServer, redis_binary

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.chaos,
    pytest.mark.slow,
    # kafka-python leaves sockets open to a broker that was killed.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def kairos(jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    """On Apache Kafka and the system's Redis."""
    with (
        KafkaServer(jars) as kafka,
        RedisServer(redis_binary()) as redis,
        Chaos(tmp_path_factory.mktemp("faults"), kafka, redis).running() as found,
    ):
        with found.traffic():
            found.moves()
        yield found


@pytest.fixture
def settings(kairos: Chaos, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that lead to it."""
    return settings_of(kairos, monkeypatch)


def settings_of(kairos: Chaos, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in kairos.stack.env().items():
        monkeypatch.setenv(name, value)
    return Settings()


def check(kairos: Chaos, settings: Settings) -> AuditReport:
    """Everything published is applied and delivered, and the audit finds no difference."""
    kairos.settle()
    report = run_audit(settings)
    assert report.ok, report.sentences()
    assert (report.waiting, sum(lane.in_flight for lane in report.lanes)) == (0, 0)
    assert max(count_by_message_id(kairos.stack.mail_dir).values()) == 1, "a provider saw a message twice"
    return report


def count_again(kairos: Chaos, report: AuditReport) -> None:
    """Nothing lost, nothing twice, by a count of the whole log that shares no code with the core."""
    letters = recount.refused(kairos.bootstrap)
    refused = {letter[:3] for letter in letters}
    log = recount.events(kairos.bootstrap, refused)
    counts = recount.surviving(kairos.bootstrap, kairos.owners())
    received = sum(sum(end_offsets(kairos.bootstrap, name).values()) for name in INPUT_NAMES)
    assert report.total("received") == received
    assert report.total("applied") - report.total("ticks") == len(log)
    assert report.total("rejected") == len(refused)

    # Profiles: everybody in the log and nobody else, with the right orders and money.
    orders, money = recount.orders_and_money(log)
    users = sorted({event["user"] for event in log})
    assert sum(lane.profiles for lane in report.lanes) == len(users)
    for user in users:
        packed = kairos.redis.get(profile_key(lane_of(user, LANES), user))
        assert isinstance(packed, bytes)
        profile = decode_profile(packed)
        assert (profile.orders, profile.money_minor) == (orders[user], money[user]), user

    # Counters.
    definitions = load_definitions(PACKAGE_CONFIG_DIR)
    counters = read_counters(kairos.redis, LANES)
    exposed = recount.exposures(kairos.bootstrap, counts)
    assert exposed["aa-check"].keys() == {one["user"] for one in log if one.get("event") == "Order Completed"}
    for experiment in definitions.experiments:
        for variant in experiment.variants:
            arm = [user for user, seen in exposed[experiment.id].items() if seen[0] == variant.id]
            assert counters.get(f"exp:{experiment.id}", {}).get(f"{variant.id}:exposed", 0) == len(arm)
    sent, suppressed, to_send = recount.decided(kairos.bootstrap, counts)
    for campaign in definitions.campaigns:
        fields = counters.get(f"camp:{campaign.id}", {})
        by_reason = {k.partition(":")[2]: n for k, n in suppressed.items() if k.startswith(f"{campaign.id}:")}
        assert {k.partition(":")[2]: n for k, n in fields.items() if k.startswith("suppressed:")} == by_reason
        unsent = fields.get("decided", 0) - sent[campaign.id] - sum(by_reason.values())
        assert 0 <= unsent <= fields.get("held", 0)

    # Messages: each has a fate, no provider saw one twice, and what is unknown says so.
    states = ledger_states(kairos.redis)
    mails = count_by_message_id(kairos.stack.mail_dir)
    ever, held_back = recount.decided(kairos.bootstrap)[2], recount.held_back(kairos.bootstrap)
    assert max(mails.values()) == 1
    assert mails.keys() <= ever
    assert to_send <= states.keys()
    # What was held back in a stretch that Redis forgot stays so, also where it was decided otherwise the second time.
    assert {states[message] for message in to_send - held_back} <= {"delivered", "unknown"}
    email = {message for message in to_send if states[message] == "delivered"}
    assert len(email & mails.keys()) > 100
    unknown = [message for message in to_send if states[message] == "unknown"]
    assert bool(unknown) <= any("unknown outcome" in note for note in report.notes)


def test_the_core_breaks_on_one_record(kairos: Chaos, settings: Settings) -> None:
    before = recount.refused(kairos.bootstrap)
    kairos.stop_decide(kairos.workers()[0])
    faulty = kairos.start_decide(FAULTY)
    with kairos.traffic():
        kairos.moves()
        for _ in range(3):
            marked = kairos.shop.event("Order Completed", order_id=MARKED)
            kairos.publish(*kairos.shop.take(100), marked, *kairos.shop.take(100))
            time.sleep(0.5)
        kairos.moves()
    kairos.settle()
    kairos.stop_decide(faulty)
    kairos.start_decide()
    report = check(kairos, settings)  # with a core that does not break
    letters = recount.refused(kairos.bootstrap) - before
    assert Counter(letter[3] for letter in letters) == {"failed": 3}
    assert {letter[0] for letter in letters} == {"purchases"}
    unlucky = recount.unlucky(kairos.bootstrap)
    assert unlucky, "no timer fell due: the test tested nothing"
    assert unlucky <= UNLUCKY
    count_again(kairos, report)  # all that happened so far
