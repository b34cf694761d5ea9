"""A bandit in the stream: shares follow matured users, each user is counted by the shares that were in force."""

import json
from collections import defaultdict
from typing import Any

import pytest
from msgspec.structs import replace

from config.overrides import Override, overlaid
from models.brain import Brain
from models.experiments.allocation import by_batches, ledger
from models.experiments.bandit import Batch, compare_arms
from models.experiments.reading import counted
from models.experiments.record import Record, VerdictChanged, decode_record, encode_record
from models.experiments.segments import breakdown
from models.experiments.sums import Mean
from models.experiments.tally import expected_shares
from models.experiments.watch import adopted, look
from support.experiment_shop import START, ExperimentShop, experiment
from support.identities import Lanes, alias
from support.lane import DAY_MS, HOUR_MS, definitions, order, track

ARMS = [{"id": "a", "weight": 0.5}, {"id": "b", "weight": 0.5}]
BETTER = {"a": 0.2, "b": 0.5}


class Bandit:
    """A shop whose judge looks after each day, and whose decide goes by it."""

    def __init__(self, **changed: Any) -> None:
        self.shop = ExperimentShop(experiment(**{"variants": ARMS, "allocation": "bandit"} | changed))
        self.record: Record | None = None
        self.card: dict[str, Any] = {}
        self.told: list[VerdictChanged] = []

    @property
    def decided(self) -> Override | None:
        return self.record.decided if self.record is not None else None

    @property
    def step(self) -> int:
        """Version of the shares in force."""
        return self.decided.step if self.decided is not None else 0

    def day(self, users: int, **shares: dict[str, float]) -> None:
        """A day with users, and a look at its end."""
        self.shop.day(users, **shares)
        self.shop.pass_time(0)
        self.look()

    def look(self) -> None:
        """Look, and let decide go by what followed."""
        shop = self.shop
        seen = look(self.record, shop.experiments[0], shop.counts(), shop.watermark)
        self.told += seen.record.outbox
        self.record = decode_record(encode_record(replace(seen.record, outbox=[])))
        self.card = seen.document or self.card
        if self.decided is not None:
            shop.rig.brain = Brain(overlaid(shop.definitions, {"test": self.decided}))

    def exposures(self) -> list[dict[str, Any]]:
        """Values on the topic."""
        outputs = self.shop.rig.published.outputs
        return [json.loads(one.value) for one in outputs if one.topic == "exposures"]


@pytest.fixture(scope="module")
def busy() -> Bandit:
    """Twelve days on which b is better."""
    bandit = Bandit()
    for _ in range(12):
        bandit.day(300, Order_Completed=BETTER)
    return bandit


def test_shares_follow_users_who_have_matured() -> None:
    bandit = Bandit()
    bandit.day(300, Order_Completed=BETTER)
    bandit.day(300, Order_Completed=BETTER)
    assert bandit.step == 0  # all are inside their window
    bandit.day(300, Order_Completed=BETTER)
    first = bandit.decided
    assert first is not None
    assert (first.step, first.weights, first.status) == (1, (0.05, 0.95), "running")
    assert first.reason == "Shares after 300 matured users, by ordered: a 5.0%, b 95.0%."
    for _ in range(3):
        bandit.look()  # frozen: nothing has matured since
    assert bandit.decided == first


def test_few_matured_users_move_nothing() -> None:
    bandit = Bandit()
    for _ in range(3):
        bandit.day(60, Order_Completed=BETTER)
    bandit.day(60)
    assert bandit.decided is None
    assert bandit.card["allocation"]["shares"] == {"a": 0.5, "b": 0.5}


def test_each_exposure_has_the_propensity_in_force(busy: Bandit) -> None:
    told = {(one["variant"], one["propensity"]) for one in busy.exposures()}
    assert ("a", 0.5) in told
    assert ("a", 0.05) in told
    assert ("b", 0.95) in told
    came = [one for one in busy.exposures() if one["propensity"] in {0.05, 0.95}]
    assert len(came) > 1000
    assert 0.03 < sum(one["variant"] == "a" for one in came) / len(came) < 0.07


def test_who_was_exposed_keeps_the_variant(busy: Bandit) -> None:
    before = {one["user"]: one["variant"] for one in busy.exposures()}
    users, busy.shop.users = busy.shop.users, 0
    busy.day(200)  # the users of the first day come again, under other shares
    busy.shop.users = users
    assert {one["user"]: one["variant"] for one in busy.exposures()} == before


def test_counters_say_what_the_exposures_say(busy: Bandit) -> None:
    """Batches, and the estimate over single users, from the topic."""
    rows: dict[tuple[float, ...], list[int]] = defaultdict(lambda: [0, 0])
    for one in busy.exposures():
        chance = one["propensity"]
        shares = (chance, 1.0 - chance) if one["variant"] == "a" else (1.0 - chance, chance)
        rows[tuple(round(share, 3) for share in shares)]["ab".index(one["variant"])] += 1
    counts = busy.shop.counts()
    found: dict[tuple[float, ...], list[int]] = defaultdict(lambda: [0, 0])
    for epoch in ledger(counts).epochs(busy.shop.experiments[0]):
        for place, users in enumerate(epoch.counts):
            found[epoch.weights][place] += users
    assert found == rows
    expected = expected_shares(counts, busy.shop.experiments[0])
    total = sum(sum(users) for users in rows.values())
    assert expected["a"] == pytest.approx(sum(shares[0] * sum(users) for shares, users in rows.items()) / total)
    assert busy.card["sample_ratio"]["weights"]["a"] < 0.3


def test_arms_are_compared_by_their_propensities(busy: Bandit) -> None:
    experiment_, counts, watermark = busy.shop.experiments[0], busy.shop.counts(), busy.shop.watermark
    now = by_batches(counted(counts, experiment_, watermark), counts, experiment_, watermark)
    wanted = compare_arms(now.batches["ordered"], 0, 1, "aipw")
    assert wanted is not None
    (line,) = [one for one in busy.card["comparisons"] if one["metric"] == "ordered"]
    assert line["difference"] == pytest.approx(wanted.value)
    assert line["standard_error"] == pytest.approx(wanted.variance**0.5)
    assert line["interval"][0] < 0.3 < line["interval"][1]
    ended = compare_arms(now.batches["ordered"], 0, 1, "adaptive")
    assert ended is not None
    low, high = line["fixed"]["interval"]
    assert (low + high) / 2 == pytest.approx(ended.value)
    assert busy.card["verdict"] == "better"
    assert sum(batch.n for batch in now.batches["ordered"]) == busy.card["matured"]
    means = busy.card["allocation"]["biased_sample_means"]["ordered"]
    assert means["b"] == pytest.approx(0.5, abs=0.02)
    assert any("sample means of the variants are biased" in caution for caution in busy.card["cautions"])


def test_days_that_differ_do_not_deceive() -> None:
    """Busy days come when b has most of the users: sample means say that b is better (Simpson), the card does not."""
    bandit = Bandit()
    bandit.day(400, Order_Completed={"a": 0.2, "b": 0.3})
    for _ in range(3):
        bandit.day(400, Order_Completed={"a": 0.2, "b": 0.2})
    for _ in range(8):
        bandit.day(600, Order_Completed={"a": 0.6, "b": 0.6})
    means = bandit.card["allocation"]["biased_sample_means"]["ordered"]
    assert means["b"] - means["a"] > 0.1
    (line,) = [one for one in bandit.card["comparisons"] if one["metric"] == "ordered"]
    assert abs(line["difference"]) < 0.06
    assert line["interval"][0] <= 0.0 <= line["interval"][1]
    assert bandit.card["verdict"] == "no_difference"


def test_each_version_is_told_and_survives_a_loss(busy: Bandit) -> None:
    steps = [one.override["step"] for one in busy.told if one.override is not None]
    assert steps == list(range(1, len(steps) + 1))
    assert busy.told[-1].override is not None
    assert len(busy.told[-1].override["weights"]) == 2
    found = adopted(None, busy.shop.experiments[0], busy.told[-1])
    assert found is not None
    assert found.decided == busy.decided
    again = look(found, busy.shop.experiments[0], busy.shop.counts(), busy.shop.watermark)
    assert again.record.decided == busy.decided


def test_memories_outlive_new_shares(busy: Bandit) -> None:
    """The confidence sequence goes on over all versions: that is what it is for."""
    p = [one.result["comparisons"][0]["p"] for one in busy.told if one.result["comparisons"][0]["p"] is not None]
    assert p == sorted(p, reverse=True)
    assert busy.card["comparisons"][0]["p"] < min(p[-1], 0.01)


def test_lost_users_are_seen() -> None:
    """Users of b get lost on the way: sound shares raise no alarm, these do."""
    bandit = Bandit()
    for _ in range(12):
        bandit.day(300, Order_Completed=BETTER)
    assert not bandit.card["sample_ratio"]["alarm"]
    counts = {
        name: value - value // 3 if name.endswith("|b|n") else value for name, value in bandit.shop.counts().items()
    }
    seen = look(None, bandit.shop.experiments[0], counts, bandit.shop.watermark)
    assert seen.document is not None
    assert seen.document["sample_ratio"]["alarm"]


def test_harm_stops_it_before_windows_close() -> None:
    bandit = Bandit(on_verdict="stop")
    bandit.day(900, Complained={"a": 0.02, "b": 0.4})
    assert bandit.decided is not None
    assert (bandit.decided.status, bandit.card["verdict"]) == ("stopped", "harm")
    before = len(bandit.exposures())
    bandit.day(100)
    assert len(bandit.exposures()) == before


def test_a_stopped_one_ends_with_a_final_result() -> None:
    bandit = Bandit(on_verdict="roll_out")
    for _ in range(6):
        bandit.day(300, Order_Completed=BETTER)
        if bandit.decided is not None and bandit.decided.status != "running":
            break
    assert bandit.decided is not None
    assert (bandit.decided.status, bandit.decided.winner) == ("rolled_out", "b")
    bandit.shop.pass_time(4)
    bandit.look()
    assert bandit.card["final"] == 1
    assert bandit.card["sample_ratio"]["p"] is not None
    assert not bandit.card["sample_ratio"]["alarm"]


def test_less_may_be_better_and_another_metric_may_lead() -> None:
    bandit = Bandit(allocation={"metric": "spam", "floor": 0.1})
    for _ in range(3):
        bandit.day(300, Complained={"a": 0.05, "b": 0.4})
    assert bandit.decided is not None
    assert bandit.decided.weights == (0.9, 0.1)


def test_parts_of_the_users_are_not_compared(busy: Bandit) -> None:
    assert breakdown(busy.shop.counts(), busy.shop.experiments[0], busy.shop.watermark) == []


def test_weights_of_other_arms_are_left_aside() -> None:
    """A draft whose variants changed: shares that do not fit it are not its shares."""
    shop = ExperimentShop(experiment(variants=ARMS, allocation="bandit"))
    strange = Override(experiment="test", step=3, weights=(0.2, 0.3, 0.5))
    assert overlaid(shop.definitions, {"test": strange}).experiments[0].shares == (0.5, 0.5)


def test_users_whose_shares_are_not_known_yet_wait() -> None:
    """Lanes are read one after the other: one may count by shares that another one names first."""
    counts = {"14670|step=1|a|n": 3, "14670||a|n": 3, "w|0.5,0.5|step=0": 2, "14670|step=0|b|n": 2}
    found = ledger(counts)
    one = ExperimentShop(experiment(variants=ARMS, allocation="bandit")).experiments[0]
    assert found.batches(one, one.metrics[0]) == [Batch((0.5, 0.5), (Mean(0, 0, 0), Mean(2, 0, 0)))]


def test_two_users_who_are_one_count_by_the_first_exposure() -> None:
    """Whoever came first, by the shares of that day; what names shares is there even where nobody is left."""
    rules = definitions(experiments=[experiment(variants=ARMS, allocation="bandit")])
    later = Override(experiment="test", step=1, weights=(0.1, 0.9))
    lanes = Lanes(Brain(rules), 1)
    lanes.feed("clickstream", "anna", track("Product Viewed", "anna", START))
    lanes.rigs[0].brain = Brain(overlaid(rules, {"test": later}))
    lanes.feed("clickstream", "ben", track("Product Viewed", "ben", START + DAY_MS))
    lanes.feed("purchases", "ben", order("ben", START + DAY_MS + HOUR_MS))
    lanes.feed("profiles", "ben", alias("ben", "anna", START + DAY_MS + 2 * HOUR_MS))
    lanes.settle()
    lanes.feed("clickstream", "cat", track("Product Viewed", "cat", START + DAY_MS + 3 * HOUR_MS))
    one = rules.experiments[0]
    counts = lanes.rigs[0].counters("exp:test")
    epochs = {epoch.weights: sum(epoch.counts) for epoch in ledger(counts).epochs(one)}
    assert epochs == {(0.5, 0.5): 1, (0.1, 0.9): 1}
    assert counts["w|0.1,0.9|step=1"] + counts["w|0.5,0.5|step=0"] == 2
    first = ledger(counts).batches(one, one.metrics[0])[0]
    assert [arm.n for arm in first.rewards if arm.n] == [1]
    now = by_batches(counted(counts, one, 0), counts, one, 0)
    assert now.shares == {"a": 0.3, "b": 0.7}
