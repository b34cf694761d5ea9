"""The verdict: everything that Kairos holds, published and sent, beside what a count by hand says it must be.

Three comparisons, each against a source that owes nothing to Kairos's core:

1. The file beside Kafka's log: every line is there, once, in its partition and order.
2. The file beside the profiles, by sums that need no order: events, orders, refunds, money of each user.
3. The recount (:mod:`chaos.recount`) beside everything: profiles, counters, messages, exposures, offers, timers, dead
   letters; and the mail provider beside the send ledger.

What it takes for granted stands in :mod:`chaos.recount.lane`.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos import log
from chaos.log import Found
from chaos.recount.customer import Customer, pence
from chaos.recount.lane import Counted, LaneRecount, Refused, alerts_by_batch, place, timeline
from chaos.recount.rules import read_rules
from chaos.shop import TOPICS, read_input, value_of
from chaos.sink import DROPPED, read_mails
from chaos.state import Held

SHOWN = 5
FATES = ("received", "applied", "duplicate", "rejected", "forwarded", "ticks")
COMPARED = (
    *("events", "first_seen", "last_seen", "sessions", "session_start", "session_events", "orders", "refunds", "money"),
    *("first_order", "last_order", "cart", "attributes", "consent", "sends", "timers", "exposures"),
)
ENDS = {"delivered", "unknown"}
DAY_MS = 86_400_000


@dataclass(slots=True)
class Check:
    """One comparison: what, how many things were compared, and where they differ."""

    what: str
    compared: int = 0
    differences: list[str] = field(default_factory=list)

    def same(self, what: str, is_: object, must_be: object) -> None:
        """Compare two values."""
        self.compared += 1
        if is_ != must_be:
            self.differences.append(f"{what}: is {is_}, must be {must_be}")

    def true(self, holds: object, otherwise: str) -> None:
        """Demand something."""
        self.compared += 1
        if not holds:
            self.differences.append(otherwise)

    def sets(self, what: str, are: Iterable[Any], must_be: Iterable[Any]) -> None:
        """Compare two sets."""
        left, right = set(are), set(must_be)
        self.compared += len(right)
        self.differences += [f"{what}: {one} is missing" for one in sorted(right - left, key=str)]
        self.differences += [f"{what}: {one} must not be there" for one in sorted(left - right, key=str)]

    def maps(self, what: str, are: Mapping[Any, Any], must_be: Mapping[Any, Any]) -> None:
        """Compare two mappings, key by key."""
        for key in sorted(are.keys() | must_be.keys(), key=str):
            self.same(f"{what} {key}", are.get(key), must_be.get(key))


@dataclass(slots=True)
class Figures:
    """What the report tells of a run beside the verdict."""

    records: int = 0
    forgotten: int = 0
    messages: int = 0
    mails: int = 0
    dropped: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    unknown_arrived: int = 0
    alerts: int = 0
    timers: int = 0
    offers: int = 0
    exposures: int = 0
    customers: int = 0


class Checker:
    """Goes through everything once.

    Parameters
    ----------
    bootstrap, lanes : the log. path : the input file. mails : the sink's file. config : folder with the YAML.
    held : what Redis holds. tell : called with what it looks at.
    """

    def __init__(
        self, bootstrap: str, lanes: int, path: Path, mails: Path, config: Path, held: Held, tell: Callable[[str], None]
    ) -> None:
        self._bootstrap, self._lanes, self._path, self._mails = bootstrap, lanes, path, mails
        self._rules, self._held, self._tell = read_rules(config), held, tell
        self.figures = Figures()
        self._lane_of: dict[str, int] = {}
        self._epochs: dict[tuple[int, int], int] = {}

    def run(self) -> list[Check]:
        """All comparisons."""
        logs = Check("the log holds every line of the file once, in order")
        sums = Check("orders, refunds, money and events of each user, by the file alone")
        journal = Check("the journal is one unbroken chain; watermarks; alerts")
        fates = Check("what became of each record")
        profiles = Check("profiles")
        letters = Check("dead letters")
        timers = Check("timers: each fired once, none early, none overdue")
        expected = self._expected_log()
        outcomes: dict[str, dict[str, Any]] = {}
        parts: dict[int, Counted] = {}
        for lane in range(self._lanes):
            self._tell(f"recount of lane {lane}")
            records = {topic: log.read(self._bootstrap, topic, lane) for topic in TOPICS}
            self._compare_log(logs, lane, records, expected, outcomes)
            counted = parts[lane] = self._recount(lane, records, journal)
            state = self._held.lanes[lane]
            for fate in FATES:
                fates.same(f"lane {lane} {fate}", getattr(state, fate), counted.fates[fate])
            self._profiles(profiles, timers, counted)
        self._tell("sums by the file")
        self._sums(sums, outcomes)
        known = {user for counted in parts.values() for user in counted.customers}
        profiles.sets("profile", self._held.profiles, known)
        self._tell("dead letters")
        self._letters(letters, [one for counted in parts.values() for one in counted.refused])
        self.figures.customers = len(known)
        self.figures.timers = sum(counted.tally.timers_fired for counted in parts.values())
        rest = [self._counters(parts), *self._effects(parts), self._provider(parts, outcomes)]
        return [logs, sums, journal, fates, profiles, timers, letters, *rest]

    # -- the log

    def _expected_log(self) -> dict[tuple[str, int], list[int]]:
        """Hashes of the values of every input partition, in order."""
        expected: dict[tuple[str, int], list[int]] = defaultdict(list)
        for line in read_input(self._path):
            expected[line[0], line[1]].append(hash(value_of(line)))
        return expected

    def _compare_log(
        self,
        check: Check,
        lane: int,
        records: Mapping[str, Sequence[Found]],
        expected: Mapping[tuple[str, int], list[int]],
        outcomes: dict[str, dict[str, Any]],
    ) -> None:
        for topic, found in records.items():
            self.figures.records += len(found)
            ours: list[int] = []
            for one in found:
                if "kairos-origin" in one.headers:
                    continue
                if topic == "feedback" and b'"template":' in (one.value or b""):  # told by deliver
                    event = json.loads(one.value or b"")
                    outcomes[event["messageId"]] = event
                    continue
                ours.append(hash(one.value))
            wanted = expected.get((topic, lane), [])
            check.compared += len(wanted)
            if ours != wanted:
                differs = next((i for i, (a, b) in enumerate(zip(ours, wanted, strict=False)) if a != b), "the end")
                check.differences.append(
                    f"{topic}-{lane}: {len(ours)} records, not {len(wanted)}; differs at {differs}"
                )

    # -- the recount

    def _recount(self, lane: int, records: Mapping[str, Sequence[Found]], check: Check) -> Counted:
        faults: list[str] = []
        journal = log.read(self._bootstrap, "journal", lane)
        batches = timeline(journal, self._held.fences[lane].seq, faults)
        self._epochs |= {(lane, seq): entry["epoch"] for seq, entry in batches.items()}
        places = {(epoch, seq) for _, epoch, seq, _ in map(place, journal)}
        self.figures.forgotten += len(places) - len(batches)
        alerts = alerts_by_batch(log.read(self._bootstrap, "churn-alerts", lane), batches)
        counted = LaneRecount(lane, self._lanes, self._rules, records, alerts).run(batches)
        check.compared += len(batches) + len(counted.alerts)
        check.differences += faults + counted.faults
        check.differences += [
            f"alert {ident} was raised twice" for ident, n in Counter(counted.alerts).items() if n > 1
        ]
        self.figures.alerts += len(counted.alerts)
        return counted

    def _profiles(self, check: Check, timers: Check, counted: Counted) -> None:
        latest = max((who.last_seen for who in counted.customers.values()), default=0)
        timers.compared += counted.tally.timers_fired
        timers.true(counted.overdue == 0, f"{counted.overdue} timers are overdue")
        for user, who in counted.customers.items():
            compare_customer(check, self._held.profiles.get(user, {}), who, latest)
            if who.timers:
                due = min(timer.due for timer in who.timers)
                indexed = self._held.timers.get(user)
                timers.true(indexed is not None and indexed <= due, f"{user}: due {due}, the index says {indexed}")

    def _sums(self, check: Check, outcomes: Mapping[str, dict[str, Any]]) -> None:
        events: dict[tuple[str, str], dict[str, Any]] = {}
        for number, line in enumerate(read_input(self._path)):
            if line[4] in {"event", "again", "stray", "nameless"}:
                event = json.loads(line[3])
                events[event["userId"], event.get("messageId", f"line {number}")] = event
        sums: dict[str, Counter[str]] = defaultdict(Counter)
        for (user, _), event in events.items():
            sums[user]["events"] += 1
            if event.get("event") == "Order Completed":
                sums[user]["orders"] += 1
                sums[user]["money"] += pence(event["properties"]["revenue"])
            elif event.get("event") in {"Order Refunded", "Order Cancelled"}:
                sums[user]["refunds"] += 1
                sums[user]["money"] -= pence(event["properties"]["revenue"])
        for event in outcomes.values():
            sums[event["userId"]]["events"] += 1
        for user, wanted in sums.items():
            held = self._held.profiles.get(user, {})
            for name in ("events", "orders", "refunds", "money"):
                check.same(f"{user}: {name}", held.get(name), wanted[name])

    def _letters(self, check: Check, refused: Iterable[Refused]) -> None:
        found = Counter[tuple[Any, ...]]()
        for lane in range(self._lanes):
            for one in log.read(self._bootstrap, "dead-letters", lane):
                if self._counts(one):
                    letter = json.loads(one.value or b"")
                    where = tuple(letter[name] for name in ("topic", "partition", "offset", "reason"))
                    found[where] = found[where]  # a place in a batch, however often it was published
        check.sets("dead letter", found, refused)

    # -- counters and effects

    def _counts(self, found: Found) -> bool:
        """Whether the batch that published this is part of the history that Redis holds."""
        lane, epoch, seq, _ = place(found)
        return self._epochs.get((lane, seq)) == epoch

    def _counters(self, parts: Mapping[int, Counted]) -> Check:
        check = Check("counters of experiments and campaigns")
        counts = Counter[tuple[str, str]]()
        for counted in parts.values():
            for key, value in counted.tally.counts.items():
                counts[key] += value
        check.maps("counter", self._held.counters, {key: value for key, value in counts.items() if value})
        return check

    def _published(
        self, topic: str, twice: list[str], numbers: Iterable[int] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Effects that count, by id. One record published twice is one; one id in two places is a double effect."""
        found: dict[str, dict[str, Any]] = {}
        places: dict[str, tuple[int, ...]] = {}
        for lane in range(self._lanes) if numbers is None else numbers:
            for one in log.read(self._bootstrap, topic, lane):
                if self._counts(one):
                    effect = json.loads(one.value or b"")
                    ident = effect["id"]
                    if places.setdefault(ident, place(one)) != place(one):
                        twice.append(f"{topic}: {ident} was decided twice")
                    found[ident] = effect
        return found

    def _effects(self, parts: Mapping[int, Counted]) -> list[Check]:
        self._tell("messages, exposures, offers")
        messages, exposures, offers = Check("messages decided and suppressed"), Check("exposures"), Check("offers")
        tallies = [counted.tally for counted in parts.values()]
        for tally in tallies:
            messages.differences += tally.repeated
        commands = self._published("messages", messages.differences)
        messages.maps(
            "message",
            {
                ident: (one["user"], one["campaign"], one["decided_at"], one["suppressed"], one["variant"])
                for ident, one in commands.items()
            },
            {ident: one for tally in tallies for ident, one in tally.messages.items()},
        )
        found = self._published("exposures", exposures.differences)
        exposures.maps(
            "exposure",
            {ident: (one["user"], one["experiment"], one["variant"], one["at"]) for ident, one in found.items()},
            {ident: one for tally in tallies for ident, one in tally.exposures.items()},
        )
        made = self._published("offers", offers.differences)
        wanted = {ident: one for tally in tallies for ident, one in tally.offers.items()}
        offers.maps("offer", {ident: (one["user"], one["at"]) for ident, one in made.items()}, wanted)
        baskets = self._published("training", offers.differences, numbers=(1,))
        offers.sets("basket to learn from", baskets, {ident for tally in tallies for ident in tally.baskets})
        self.figures.messages, self.figures.exposures = len(commands), len(found)
        self.figures.offers = len(made)
        return [messages, exposures, offers]

    # -- the provider

    def _provider(self, parts: Mapping[int, Counted], outcomes: Mapping[str, dict[str, Any]]) -> Check:
        self._tell("the mail provider")
        check = Check("the mail provider and the send ledger")
        ledger = self._held.ledger
        mails = read_mails(self._mails)
        arrived = Counter(ident for ident, _ in mails)
        dropped = {ident for ident, end in mails if end == DROPPED}
        ever = self._ever_decided()
        decided = {ident: one for counted in parts.values() for ident, one in counted.tally.messages.items()}
        emails = {campaign.id for campaign in self._rules.campaigns if campaign.channel == "email"}
        told = defaultdict(set)
        for event in outcomes.values():
            told[event["properties"]["message_id"]].add(event["event"])
        for ident, count in arrived.items():
            end = ledger.get(ident)
            check.true(count == 1, f"{ident} reached the provider {count} times")
            check.true(None in ever[ident], f"{ident} reached the provider and was never decided")
            check.true(ident not in dropped or end == "unknown", f"{ident}: nobody can know, and it is {end}")
        for ident, (_, campaign, _, reason, _) in decided.items():
            if reason is not None:
                continue
            end = ledger.get(ident)
            # Where Redis forgot that a message was held back, it may have been recorded so before.
            if end == "suppressed" and len(ever[ident]) > 1:
                continue
            mail = campaign in emails
            check.true(end in ENDS, f"{ident} of {campaign} ended as {end}")
            check.true(end != "delivered" or not mail or arrived[ident], f"{ident} of {campaign}: delivered to nobody")
            name = "Message Unknown" if end == "unknown" else "Email Delivered" if mail else "Message Delivered"
            check.true(name in told[ident], f"{ident} ended as {end}, and feedback tells {told[ident]}")
        figures = self.figures
        figures.mails, figures.dropped = len(mails), len(dropped)
        unknown = {ident for ident, end in ledger.items() if end == "unknown"}
        figures.unknown = Counter(self._held.reasons[ident] for ident in unknown)
        figures.unknown_arrived = sum(1 for ident in unknown if arrived[ident])
        return check

    def _ever_decided(self) -> dict[str, set[str | None]]:
        """Message -> why it was suppressed (None: it was not), each time that it was decided, forgotten times too."""
        ever: dict[str, set[str | None]] = defaultdict(set)
        for lane in range(self._lanes):
            for one in log.read(self._bootstrap, "messages", lane):
                command = json.loads(one.value or b"")
                ever[command["id"]].add(command["suppressed"])
        return ever


def compare_customer(check: Check, held: Mapping[str, Any], who: Customer, latest: int) -> None:
    """Compare a profile; `latest` is the newest event time of the lane.

    Of customers who were silent for a month Kairos forgets the cart, the visit and answered sends older than 60 days,
    at a moment that is its own; whoever comes near that is compared without them.
    """
    must = plain_customer(who)
    silent = max(who.silence, latest - who.last_seen) > 29 * DAY_MS
    for name in COMPARED:
        is_, wanted = held.get(name), must[name]
        if silent and name in {"cart", "session_start", "session_events"}:
            continue
        if silent and name == "sends" and is_ is not None:
            is_, wanted = ([send for send in one if send[0] > latest - 59 * DAY_MS] for one in (is_, wanted))
        check.same(f"{who.name}: {name}", is_, wanted)


def plain_customer(who: Customer) -> dict[str, Any]:
    """A customer of the recount in the form of :func:`chaos.state.plain`."""
    found: dict[str, Any] = {name: getattr(who, name) for name in COMPARED if name != "exposures"}
    found["sends"] = sorted((one.at, one.campaign, one.message[:16], sorted(one.stages)) for one in who.sends)
    found["timers"] = sorted((one.due, one.campaign, one.held, one.set_at) for one in who.timers)
    exposed = who.diary.exposed.items()
    found["exposures"] = {test: (seen.variant, seen.at, seen.counted, seen.twice) for test, seen in exposed}
    return found
