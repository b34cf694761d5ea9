"""`kill -9` of the workers in the middle of a replay: nothing lost, nothing twice, every counter exact.

A third of the customers have two ids, which an alias makes one along the way.

Once on the embedded servers; once on Apache Kafka and a Redis Cluster of three nodes, one of which is killed as well.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR, Settings
from config.topics import DAY_MS
from models.errors import TransientError
from models.experiments.fields import counter_key
from models.experiments.tally import tally
from models.profile.codec import decode_profile
from models.profile.moved import decode_moved
from models.wire import lane_of
from services.bus import Follower, Publisher, create_topics
from services.demo.events import SEED, ShopEvents
from services.demo.history import load_history
from services.demo.live import Responses
from services.demo.reactions import Reactions
from services.demo.replay import Progress, Replay
from services.embedded.mailbox import count_by_message_id
from services.embedded.stack import EmbeddedStack
from services.embedded.supervisor import RestartPolicy
from services.jobs.audit import run_audit
from services.state.counters import read_counters
from services.state.keys import fence
from services.state.keys import profile as profile_key
from services.state.lanes import read_watermarks
from services.state.ledger_index import ledger_field, ledger_states
from services.state.redis_lane import Client, connect
from support import recount
from support.kafka import KafkaServer
from support.redis_cluster import RedisClusterServer
from support.two_ids import Persons, TwoIds

pytestmark = [pytest.mark.e2e, pytest.mark.chaos, pytest.mark.slow]
LANES = 4


@dataclass(frozen=True)
class Shop:
    """What is killed, and for how many days of the shop's clock it works."""

    stack: EmbeddedStack
    days: int
    cluster: RedisClusterServer | None = None

    def kill(self, role: str) -> bool:
        """`kill -9`; False where it does not run at this moment."""
        if role == "redis":
            assert self.cluster is not None
            node = self.cluster.owner(fence(0))
            node.kill()
            time.sleep(1.5)  # the workers meet what is not there
            node.start()
            self.cluster.wait()
            return True
        pid = self.stack.supervisor.pids().get(role)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        return pid is not None


@pytest.fixture(params=["embedded", "cluster"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """All roles; `make chaos` does worse things."""
    settings = {"KAIROS_STRICT_ORDER": "true"}
    with ExitStack() as servers:
        kafka, cluster, days = None, None, 15
        if request.param == "cluster":
            kafka = servers.enter_context(KafkaServer(request.getfixturevalue("jars"))).bootstrap
            cluster, days = servers.enter_context(RedisClusterServer()), 8
            settings["KAIROS_KAFKA__SESSION_TIMEOUT_MS"] = "3000"
        stack = EmbeddedStack(
            tmp_path,
            create_topics,
            roles=("decide", "learn", "deliver"),
            lanes=LANES,
            kafka=kafka,
            redis_url=cluster.url if cluster else None,
            ticker=False,
            policy=RestartPolicy(quick_deaths_max=20),
            settings=settings,
        )
        yield Shop(servers.enter_context(stack), days, cluster)


def watermarks(redis: Client) -> dict[int, int]:
    """Of every lane, also when the connection of this client died with its node."""
    for _ in range(20):
        try:
            return read_watermarks(redis, LANES)
        except TransientError:
            time.sleep(0.2)
    return read_watermarks(redis, LANES)


def test_kill_9_in_the_middle(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decide is killed three times, deliver twice, learn once; then everything is counted again."""
    stack = shop.stack
    env = stack.env()
    definitions = load_definitions(PACKAGE_CONFIG_DIR)
    history = load_history()
    start_ms = history.start_ms // DAY_MS * DAY_MS
    kills = {0.1: "decide", 0.25: "deliver", 0.35: "decide", 0.5: "learn", 0.6: "deliver", 0.75: "decide"}
    nodes = [] if shop.cluster is None else ["redis"]
    kills |= dict.fromkeys([0.45] * len(nodes), "redis")
    killed: list[str] = []

    def kill(progress: Progress) -> None:
        for share in [share for share in kills if progress.share >= share]:
            role = kills.pop(share)
            if shop.kill(role):
                killed.append(role)

    redis = connect(env["KAIROS_REDIS__URL"])
    follower = Follower(stack.bootstrap, ("messages", "feedback"))
    responses = Responses(follower, Reactions(definitions.experiments, SEED))
    with closing(redis), closing(follower), Publisher(stack.bootstrap) as bus:
        shop_of_two_ids = TwoIds(ShopEvents(history, SEED), start_ms, start_ms + shop.days * DAY_MS, SEED)
        replay = Replay(
            shop_of_two_ids,
            bus,
            lambda: watermarks(redis),
            LANES,
            outcomes=responses.poll,
            waiting=responses.waiting,
            on_progress=kill,
        )
        progress = replay.run(start_ms, start_ms + shop.days * DAY_MS)
        assert replay.settle(progress, responses.unfinished, 60.0) == 0
        assert sorted(killed) == ["decide", "decide", "decide", "deliver", "deliver", "learn", *nodes]

        for name, value in env.items():
            monkeypatch.setenv(name, value)
        report = run_audit(Settings())
        assert report.ok, report.sentences()
        assert report.waiting == 0
        # An alias comes in the partition of the id that remains and goes where the other one is, as late records do.
        assert report.total("rejected") == 0
        assert shop_of_two_ids.aliases > 5 * shop.days
        # Most late records of a slice of three days are there before the alias is.
        assert report.total("forwarded") > 3 * shop_of_two_ids.aliases

        persons = Persons(recount.events(stack.bootstrap))
        log = persons.log
        counters = read_counters(redis, LANES)
        states = ledger_states(redis)

        # Messages: each decided one has one fate, and none was handed to SMTP twice.
        sent, suppressed, to_send = recount.decided(stack.bootstrap)
        mails = count_by_message_id(stack.mail_dir)
        assert to_send <= states.keys()
        assert max(mails.values(), default=0) == 1
        assert {message for message, state in states.items() if state == "delivered"} <= mails.keys()
        assert mails.keys() <= to_send
        assert sum(mails.values()) > 30 * shop.days
        unknown = [message for message in to_send if states[message] == "unknown"]
        # At most what was in deliver's hands at its two deaths; all that was open when a node of Redis had been away,
        # which is most of what had been decided by then where the machine is busy and deliver behind.
        assert len(unknown) <= 2 * 8 + len(nodes) * 3 * len(to_send) // 4
        reasons = ledger_field(redis, "reason")
        doubt = ("the worker ended", "no answer", *(["the ledger went back"] if nodes else []))
        assert all(reasons[message].startswith(doubt) for message in unknown)
        assert {states[message] for message in to_send} <= {"delivered", "unknown"}

        # Campaign counters.
        delivered = recount.stages(log, "Email Delivered")
        opened, clicked = recount.stages(log, "Email Opened"), recount.stages(log, "Email Link Clicked")
        for campaign in definitions.campaigns:
            fields = counters.get(f"camp:{campaign.id}", {})
            assert fields.get("sent", 0) == delivered[campaign.id]
            assert fields.get("opened", 0) == opened[campaign.id]
            assert fields.get("clicked", 0) == clicked[campaign.id]
            held = fields.get("held", 0)
            refused = {k.partition(":")[2]: n for k, n in suppressed.items() if k.startswith(f"{campaign.id}:")}
            assert {k.partition(":")[2]: n for k, n in fields.items() if k.startswith("suppressed:")} == refused
            assert 0 <= fields.get("decided", 0) - sent[campaign.id] - sum(refused.values()) <= held

        # Experiment counters.
        exposed = {name: persons.exposed(seen) for name, seen in recount.exposures(stack.bootstrap).items()}
        assert exposed.keys() >= {"aa-check", "cart-subject"}
        for experiment in definitions.experiments:
            arms = tally(counters.get(counter_key(experiment.key), {}), experiment).arms
            for variant in experiment.variants:
                users = [user for user, (arm, _, _) in exposed[experiment.id].items() if arm == variant.id]
                assert arms[variant.id].exposed == len(users)
            for metric in experiment.metrics:
                if metric.kind == "proportion" and metric.campaign is None:
                    users_by = recount.converted(log, exposed[experiment.id], metric.event, metric.within_ms)
                    for variant in experiment.variants:
                        assert arms[variant.id].metrics[metric.id].sums[0] == users_by[variant.id]

        # Profiles.
        orders, money = recount.orders_and_money(log)
        users_of_log = sorted({event["user"] for event in log})
        assert sum(lane.profiles for lane in report.lanes) == len(persons.ids)
        for user, remains in persons.aliases.items():
            packed = redis.get(profile_key(lane_of(user, LANES), user))
            assert isinstance(packed, bytes)
            assert decode_moved(packed).to == remains
        for user in users_of_log:
            packed = redis.get(profile_key(lane_of(user, LANES), user))
            assert isinstance(packed, bytes)
            profile = decode_profile(packed)
            assert (profile.orders, profile.money_minor) == (orders[user], money[user]), user
