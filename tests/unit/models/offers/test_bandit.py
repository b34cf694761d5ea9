"""The bandit over offers in the stream: exact propensities, what comes of an offer, and that the best one wins."""

import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.definitions import OfferPolicy
from models.brain import Brain
from models.errors import IncompatibleSnapshotError
from models.learners.envelope import Envelope
from models.learners.streamed.bandit import BanditModel
from models.offers.answered import KIND
from models.offers.bandit import NAME, SCHEMA, WIDTH, Bandit, key_of, taken
from models.offers.rank import draw
from models.offers.recs import Recs
from models.offers.thompson import Thompson
from models.profile.merge import merge
from models.profile.state import MILLION, Profile
from support.lane import DAY_MS, LaneRig, definitions, ms, order, track

NOON = ms("2010-03-01 12:00")
RECS = Recs.of({"p1": ("Lantern", 2_000), "tea": ("Tea", 500)}, popular=[("tea", 3.0), ("p1", 2.0)], version=1)
POLICY = OfferPolicy.model_validate({"choose": "bandit", "reward_within": "7d"})
ARMS = ("plain", "tenth", "travel")


def rules(**policy: Any) -> Any:
    return definitions(
        offers=[
            {"id": "plain", "kind": "item", "text": "{item}", "priority": 9},
            {"id": "tenth", "kind": "discount", "percent": 10, "text": "{item}"},
            {"id": "travel", "kind": "shipping", "text": "free delivery of {item}"},
            {"id": "regulars", "kind": "item", "text": "{item}", "when": "user.orders >= 1000"},
        ],
        policy={"offers": {"explore": 0.0, "choose": "bandit"} | policy},
    )


def shop(bandit: Bandit | None = None, **policy: Any) -> LaneRig:
    brain = Brain(rules(**policy))
    return LaneRig(brain.with_models(brain.churn, RECS, bandit=bandit))


def decided(rig: LaneRig, user: str, at: int, mid: str | None = None) -> dict[str, Any]:
    (found,) = rig.feed("purchases", order(user, at, mid=mid)).on("offers")
    return found


def examples(published: Any) -> list[dict[str, Any]]:
    return [one for one in published.on("training") if one["type"] == "offer"]


# ------------------------------------------------------------------ shares


@given(
    st.lists(st.tuples(st.integers(0, 400), st.floats(0.0, 1.0)), min_size=2, max_size=6),
    st.booleans(),
    st.lists(st.integers(-1, 5_000), min_size=5, max_size=5),
)
@settings(max_examples=40, deadline=None)
def test_shares_add_up_to_one_and_leave_nobody_out(
    rates: list[tuple[int, float]], contextual: bool, raw: list[int]
) -> None:
    arms = [f"arm-{place}" for place in range(len(rates))]
    bandit, rng = Thompson(WIDTH), np.random.default_rng(1)
    for arm, (times, rate) in zip(arms, rates, strict=True):
        for number in range(min(times, 20)):
            x = np.concatenate([[1.0], rng.normal(size=WIDTH - 1)])
            bandit.learn(arm, float(number < 20 * rate), arms, 0.5, x)
        if times > 20:
            held = bandit.arms[arm]
            held.n, held.total = float(times), times * rate
            held.squares = held.total
    bandit.contextual = contextual
    shares = Bandit({key_of("order", POLICY.reward_within_ms, arms): bandit}).shares(POLICY, arms, raw)
    assert sum(shares) == MILLION
    assert min(shares) >= 1_000  # every arm can be judged on the log


@given(st.lists(st.integers(0, 1_000), min_size=2, max_size=5).filter(sum))
@settings(max_examples=10, deadline=None)
def test_what_is_chosen_is_chosen_as_often_as_recorded(weights: list[int]) -> None:
    shares = [weight * MILLION // sum(weights) for weight in weights]
    shares[0] += MILLION - sum(shares)
    n = 2_000
    found = np.zeros(len(shares))
    for number in range(n):
        found[taken(shares, draw("offer", "u", f"m{number}"))] += 1
    expected = np.array(shares) / MILLION
    assert (np.abs(found / n - expected) <= 5.0 * np.sqrt(expected * (1.0 - expected) / n)).all()


def test_choices_in_the_stream_come_as_often_as_they_say() -> None:
    model = BanditModel()
    rng = random.Random(3)
    for _ in range(40):
        for offer, rate in zip(ARMS, (0.30, 0.20, 0.10), strict=True):
            model.learn(example(offer, int(rng.random() < rate)))
    rig = shop(model.served())
    said, found = dict.fromkeys(ARMS, 0.0), dict.fromkeys(ARMS, 0)
    n = 300
    for number in range(n):
        one = decided(rig, f"u{number}", NOON + number)
        assert set(one["choice"]["among"]) == set(ARMS)  # nobody has a thousand orders
        assert sum(one["choice"]["among"].values()) == pytest.approx(1.0, abs=1e-12)
        assert one["choice"]["propensity"] == one["choice"]["among"][one["choice"]["offer"]]
        assert one["offers"][0]["offer"] == one["choice"]["offer"]
        said = one["choice"]["among"]
        found[one["choice"]["offer"]] += 1
    for offer, share in said.items():
        assert abs(found[offer] / n - share) <= 5.0 * (share * (1.0 - share) / n) ** 0.5


def example(arm: str, came: int, **more: Any) -> bytes:
    made: dict[str, Any] = {
        "id": "e",
        "user": "u",
        "at": NOON,
        "known_at": NOON + 7 * DAY_MS,
        "offer": arm,
        "among": list(ARMS),
        "propensity": 1 / 3,
        "x": [1, 0, 2_000, -1, 1],
        "reward_by": "order",
        "within_ms": 7 * DAY_MS,
        "reward": came,
        "type": "offer",
    }
    return msgspec.json.encode(made | more)


# ------------------------------------------------------------------ what comes of it


def test_an_order_in_the_window_is_told_when_the_window_ends() -> None:
    rig = shop()
    choice = decided(rig, "u", NOON)["choice"]
    rig.feed("clickstream", track("Promotion Viewed", "u", NOON + 1_000, promotion_id=choice["offer"]))
    rig.feed("clickstream", track("Promotion Viewed", "u", NOON + 2_000, promotion_id=choice["offer"]))
    rig.feed("clickstream", track("Promotion Clicked", "u", NOON + 3_000, promotion_id="another"))
    rig.feed("purchases", order("u", NOON + DAY_MS))
    early = rig.until(NOON + 7 * DAY_MS - 1)
    assert not examples(early)
    (told,) = [one for one in examples(rig.until(NOON + 7 * DAY_MS + 1)) if one["at"] == NOON]
    assert (told["offer"], told["propensity"]) == (choice["offer"], choice["propensity"])
    assert (told["viewed"], told["clicked"], told["ordered"], told["reward"]) == (True, False, True, 1)
    assert told["known_at"] == NOON + 7 * DAY_MS
    assert sorted(told["among"]) == sorted(ARMS)
    counted = rig.counters(f"offer:{choice['offer']}")
    assert (counted["viewed"], counted["ordered"]) == (1, 1)
    assert sum(rig.counters(f"offer:{arm}").get("first", 0) for arm in ARMS) == 2


def test_clicks_count_where_the_policy_says_so() -> None:
    rig = shop(reward="click")
    choice = decided(rig, "u", NOON)["choice"]
    rig.feed("clickstream", track("Promotion Clicked", "u", NOON + 1_000, promotion_id=choice["offer"]))
    (told,) = examples(rig.until(NOON + 8 * DAY_MS))
    assert (told["reward_by"], told["reward"], told["ordered"]) == ("click", 1, False)


def test_nothing_came_of_it() -> None:
    rig = shop()
    decided(rig, "u", NOON)
    assert len(rig.profile("u").timers) == 1
    (told,) = examples(rig.until(NOON + 8 * DAY_MS))
    assert told["reward"] == 0
    assert rig.profile("u").timers == []  # and it leaves nothing behind


def test_an_order_counts_for_the_newest_offer_and_few_windows_are_open() -> None:
    rig = shop()
    for day in range(6):
        decided(rig, "u", NOON + day * DAY_MS)
    timers = [timer for timer in rig.profile("u").timers if timer.kind == KIND]
    assert len(timers) == 3
    told = examples(rig.until(NOON + 30 * DAY_MS))
    assert [one["reward"] for one in told] == [1, 1, 1]


def test_windows_of_both_are_kept_when_two_users_are_one() -> None:
    rig = shop()
    for user in ("a", "b"):
        decided(rig, user, NOON)
    both = merge(rig.profile("a"), rig.profile("b"), "a")
    assert len([timer for timer in both.timers if timer.kind == KIND]) == 2


def test_by_priority_nothing_is_chosen_and_nothing_kept() -> None:
    rig = shop(choose="priority")
    one = decided(rig, "u", NOON)
    assert "choice" not in one
    assert one["offers"][0]["offer"] == "plain"
    assert rig.profile("u").timers == []
    assert "bandit" not in rig.brain.versions


def test_the_same_events_are_decided_the_same_again() -> None:
    def run() -> list[dict[str, Any]]:
        rig = shop()
        return [decided(rig, f"u{number}", NOON + number)["choice"] for number in range(30)]

    assert run() == run()


# ------------------------------------------------------------------ learning


def test_the_best_offer_wins() -> None:
    """Of three offers customers answer one in two, in five and in ten; a week late; models come every three days."""
    rates = dict(zip(ARMS, (0.10, 0.50, 0.20), strict=True))
    rng, model = random.Random(5), BanditModel()
    rig = shop(reward="click")
    last: list[str] = []
    for day in range(35):
        at, told = NOON + day * DAY_MS, []
        for number in range(25):
            user = f"u{day}-{number}"
            offer = decided(rig, user, at + number)["choice"]["offer"]
            if rng.random() < rates[offer]:
                rig.feed("clickstream", track("Promotion Clicked", user, at + 60_000, promotion_id=offer))
            if day >= 25:
                last.append(offer)
        told = examples(rig.until(at + DAY_MS - 1))
        for one in told:
            model.learn(msgspec.json.encode(one))
        if day % 3 == 0:
            rig.brain = rig.brain.with_models(rig.brain.churn, RECS, bandit=Bandit(restored(model).bandits, day))
    earned = sum(rates[offer] for offer in last) / len(last)
    assert earned >= 0.98 * max(rates.values())
    (found,) = model.meta()["sets"]
    arms = {one["offer"]: one for one in found["arms"]}
    assert arms["tenth"]["share_e6"] > 900_000
    assert arms["tenth"]["low"] < 0.5 < arms["tenth"]["high"]


def restored(model: BanditModel) -> BanditModel:
    again = BanditModel()
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(model.snapshot())))
    assert again.payload() == model.payload()
    return again


def test_each_set_of_offers_has_a_bandit_of_its_own() -> None:
    """Whoever may get the voucher orders less anyway: that is no fault of the voucher."""
    model, rng = BanditModel(), random.Random(1)
    for _ in range(400):
        model.learn(example("plain", int(rng.random() < 0.4), among=["plain", "travel"], propensity=0.5))
        model.learn(example("travel", int(rng.random() < 0.3), among=["plain", "travel"], propensity=0.5))
        model.learn(example("plain", int(rng.random() < 0.02), among=["plain", "tenth"], propensity=0.5))
        model.learn(example("tenth", int(rng.random() < 0.2), among=["tenth", "plain"], propensity=0.5))
    served = model.served()
    x = [1, 0, 2_000, -1, 1]
    assert served.shares(POLICY, ["plain", "travel"], x)[0] > 900_000
    assert served.shares(POLICY, ["plain", "tenth"], x)[0] < 100_000
    assert served.shares(POLICY, ["tenth", "travel"], x) == [500_000, 500_000]  # nothing is known of these two


@pytest.mark.parametrize(
    "fault",
    [{"offer": "nobody"}, {"x": [1]}, {"reward": 3}, {"propensity": 0.0}, {"type": "basket"}, {"among": "all"}],
)
def test_an_example_that_is_none_is_refused(fault: dict[str, Any]) -> None:
    with pytest.raises(msgspec.DecodeError):
        BanditModel().learn(example("plain", 1, **fault))


def test_a_snapshot_of_something_else_is_refused() -> None:
    model = BanditModel()
    model.learn(example("plain", 1))

    def envelope(**other: Any) -> Envelope:
        made: dict[str, Any] = {
            "name": NAME,
            "schema": SCHEMA,
            "library": "",
            "version": 4,
            "created_ms": 0,
            "meta": model.meta(),
        }
        return Envelope(**made | {"payload": model.payload()} | other)

    assert Bandit.from_envelope(envelope()).version == 4
    for other in ({"name": "recs"}, {"schema": 9}, {"payload": b"\x00"}):
        with pytest.raises(IncompatibleSnapshotError):
            Bandit.from_envelope(envelope(**other))


def test_a_new_profile_has_a_context() -> None:
    assert len(Bandit().shares(POLICY, ["a", "b"], [0, -1, -1, -1, 0])) == 2
    assert Profile().timers == []
