"""Definitions and templates that change while all of it runs: taken without a restart, or refused; the audit agrees."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from config.settings import PACKAGE_CONFIG_DIR, Settings
from services.bus import Publisher, create_topics
from services.bus.reader import read_topic
from services.cli.main import app
from services.embedded.mailbox import count_by_message_id
from services.embedded.stack import EmbeddedStack
from services.jobs.audit import run_audit
from services.state.live import worker_figures
from services.state.redis_lane import connect
from support.any_redis import any_redis
from support.kafka import KafkaServer
from support.ports import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ROLES = ("decide", "deliver", "judge")
GIFT = """
id: gift
description: A gift for a large order
trigger: {on: event, event: Order Completed}
when: properties.revenue > 100.0
channel: email
purpose: transactional
quiet_hours: ignore
template: order-thanks
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped definitions, to change."""
    made = tmp_path / "config"
    made.mkdir()
    for name in ("campaigns", "offers", "experiments", "templates"):
        shutil.copytree(PACKAGE_CONFIG_DIR / name, made / name)
    for name in ("churn.yaml", "policy.yaml"):
        shutil.copy(PACKAGE_CONFIG_DIR / name, made / name)
    return made


@pytest.fixture
def stack(jars: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedStack]:
    """Decide and deliver on Apache Kafka and the system's Redis, with these definitions."""
    with (
        KafkaServer(jars) as kafka,
        any_redis() as redis,
        EmbeddedStack(
            tmp_path / "data",
            create_topics,
            roles=ROLES,
            lanes=2,
            kafka=kafka.bootstrap,
            redis_url=redis.url,
            config_dir=folder,
            settings={"KAIROS_RELOAD_S": "0.2"},
        ) as made,
    ):
        for name, value in made.env().items():
            monkeypatch.setenv(name, value)
        yield made


def figures(stack: EmbeddedStack, role: str) -> dict[str, object]:
    with closing(connect(stack.env()["KAIROS_REDIS__URL"])) as client:
        return next((one for one in worker_figures(client) if one["role"] == role), {})


def faults(stack: EmbeddedStack) -> list[str]:
    return [str(figures(stack, role)["config_error"]) for role in ("decide", "judge")]


def buy(stack: EmbeddedStack, user: str) -> None:
    with Publisher(stack.bootstrap) as bus:
        traits = {"email": f"{user}@example.test", "name": user, "consent": {"email": True}}
        bus.publish_event({"type": "identify", "userId": user, "traits": traits})
        bus.flush()
        lamp = {"product_id": "p1", "name": "Lamp", "price": 250.0, "quantity": 1}
        properties = {"order_id": user, "revenue": 250.0, "currency": "GBP", "products": [lamp]}
        bus.publish_event({"type": "track", "event": "Order Completed", "userId": user, "properties": properties})


def commands(stack: EmbeddedStack, user: str) -> set[str]:
    values = (msgspec.json.decode(record.value or b"{}") for record in read_topic(stack.bootstrap, "messages"))
    return {value["campaign"] for value in values if value["user"] == user}


def check(folder: Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["check", str(folder), "--running"])
    return done.exit_code, done.output


def mails(stack: EmbeddedStack) -> str:
    return "".join(path.read_text(errors="replace") for path in stack.mail_dir.rglob("*") if path.is_file())


def test_a_good_file_is_taken_and_a_bad_one_is_refused(stack: EmbeddedStack, folder: Path) -> None:
    wait_until(lambda: bool(figures(stack, "decide")) and bool(figures(stack, "deliver")), "both run", 60, 0.2)
    before = figures(stack, "decide")["policy"]
    buy(stack, "ann")
    wait_until(lambda: commands(stack, "ann") == {"order-thanks"}, "ann is thanked", 30, 0.3)
    assert check(folder)[0] == 0

    # A new campaign, with workers that go on.
    pids = stack.supervisor.pids()
    (folder / "campaigns" / "gift.yaml").write_text(GIFT)
    wait_until(lambda: figures(stack, "decide")["policy"] != before, "the change is taken", 20, 0.1)
    taken = figures(stack, "decide")["policy"]
    buy(stack, "ben")
    wait_until(lambda: commands(stack, "ben") == {"order-thanks", "gift"}, "ben gets both", 30, 0.3)
    assert check(folder)[0] == 0

    # A mistake: the old rules stay, and everybody can see it.
    (folder / "campaigns" / "gift.yaml").write_text(GIFT.replace("revenue >", "revenue >>"))
    wait_until(lambda: bool(figures(stack, "decide")["config_error"]), "the mistake is told", 20, 0.1)
    assert "gift.yaml" in str(figures(stack, "decide")["config_error"])
    assert '"config_refused"' in (stack.log_dir / "decide.log").read_text()
    buy(stack, "cem")
    wait_until(lambda: commands(stack, "cem") == {"order-thanks", "gift"}, "cem gets both", 30, 0.3)
    assert figures(stack, "decide")["policy"] == taken
    (folder / "campaigns" / "gift.yaml").unlink()
    wait_until(lambda: figures(stack, "decide")["policy"] == before, "the old rules", 20, 0.1)
    assert figures(stack, "decide")["config_error"] == ""

    # An experiment that runs keeps its definition.
    test = folder / "experiments" / "aa-check.yaml"
    good = test.read_text()
    test.write_text(good.replace("refund_window: 30d", "refund_window: 31d"))
    wait_until(lambda: all("changed_running" in fault for fault in faults(stack)), "both tell it", 20, 0.1)
    assert figures(stack, "decide")["policy"] == before
    test.write_text(good)
    wait_until(lambda: not any(faults(stack)), "both are content", 20, 0.1)

    # Templates: the same in deliver.
    subject = folder / "templates" / "order-thanks" / "subject.txt"
    subject.write_text("{{ broken")
    wait_until(lambda: bool(figures(stack, "deliver")["config_error"]), "the mistake is told", 20, 0.1)
    code, said = check(folder)
    assert (code, "Traceback" in said) == (1, False)
    buy(stack, "dora")
    wait_until(lambda: "dora@example.test" in mails(stack), "dora is thanked in the old words", 30, 0.2)
    subject.write_text("A lamp and a half")
    wait_until(lambda: not figures(stack, "deliver")["config_error"], "the new words", 20, 0.1)
    buy(stack, "eve")
    wait_until(lambda: "A lamp and a half" in mails(stack), "eve is thanked in the new words", 30, 0.2)

    assert stack.supervisor.pids() == pids
    assert max(count_by_message_id(stack.mail_dir).values()) == 1
    report = run_audit(Settings())
    assert report.ok, report.sentences()
    entries = (msgspec.json.decode(record.value or b"{}") for record in read_topic(stack.bootstrap, "journal"))
    assert {entry["policy"] for entry in entries} == {before, taken}
