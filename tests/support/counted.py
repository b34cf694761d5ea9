"""Hold a whole Kairos that has settled against a count of its log."""

from collections import Counter

from config.loader import load_definitions
from config.settings import PACKAGE_CONFIG_DIR
from config.topics import INPUT_NAMES
from models.experiments.fields import LATE, counter_key
from models.experiments.tally import tally
from models.experiments.trial import UNCOUNTED
from models.profile.codec import decode_profile
from models.profile.state import Profile
from models.wire import lane_of
from services.bus import end_offsets
from services.jobs.audit.report import AuditReport
from services.state.counters import read_counters
from services.state.keys import profile as profile_key
from services.state.ledger_index import ledger_states
from support import recount
from support.chaos import Chaos


def count_again(kairos: Chaos, report: AuditReport, mails: Counter[str]) -> None:
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
    profiles: dict[str, Profile] = {}
    assert sum(lane.profiles for lane in report.lanes) == len(users)
    for user in users:
        packed = kairos.redis.get(profile_key(lane_of(user, kairos.lanes), user))
        assert isinstance(packed, bytes)
        profile = profiles[user] = decode_profile(packed)
        assert (profile.orders, profile.money_minor) == (orders[user], money[user]), user

    # Counters.
    definitions = load_definitions(PACKAGE_CONFIG_DIR)
    counters = read_counters(kairos.redis, kairos.lanes)
    exposed = recount.exposures(kairos.bootstrap, counts)
    ordered = {one["user"] for one in log if one.get("event") == "Order Completed"}
    never, missed = exposed["aa-check"].keys() - ordered, ordered - exposed["aa-check"].keys()
    check = next(experiment for experiment in definitions.experiments if experiment.id == "aa-check")
    assert not never, f"exposed without an order: {sorted(never)}"
    late = {user for user in ordered if profiles[user].open_trials().exposures[check.code].flags & UNCOUNTED}
    assert missed == late, "who is not exposed came too late to be counted"
    assert len(late) <= counters.get(counter_key(check.key), {}).get(LATE, 0)
    for experiment in definitions.experiments:
        arms = tally(counters.get(counter_key(experiment.key), {}), experiment).arms
        for variant in experiment.variants:
            arm = [user for user, seen in exposed[experiment.id].items() if seen[0] == variant.id]
            assert arms[variant.id].exposed == len(arm)
    sent, suppressed, to_send = recount.decided(kairos.bootstrap, counts)
    for campaign in definitions.campaigns:
        fields = counters.get(f"camp:{campaign.id}", {})
        by_reason = {k.partition(":")[2]: n for k, n in suppressed.items() if k.startswith(f"{campaign.id}:")}
        assert {k.partition(":")[2]: n for k, n in fields.items() if k.startswith("suppressed:")} == by_reason
        unsent = fields.get("decided", 0) - sent[campaign.id] - sum(by_reason.values())
        assert 0 <= unsent <= fields.get("held", 0)

    # Messages: each has a fate, no provider saw one twice, and what is unknown says so.
    states = ledger_states(kairos.redis)
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
