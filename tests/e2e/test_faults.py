"""A core that breaks on some records and on some users' timers, each time: they alone are put aside.

Everything else that can go wrong is the business of `make chaos`.
"""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import Settings
from services.embedded.mailbox import count_by_message_id
from services.jobs.audit import run_audit
from services.jobs.audit.report import AuditReport
from support import recount
from support.any_redis import any_redis
from support.chaos import FAULTY, Chaos
from support.counted import count_again
from support.faulty_decide import MARKED, UNLUCKY
from support.kafka import KafkaServer

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
        any_redis() as redis,
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
    count_again(kairos, report, count_by_message_id(kairos.stack.mail_dir))  # all that happened so far
