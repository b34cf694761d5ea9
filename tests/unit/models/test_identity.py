"""Aliases between lanes: who is left, where records go, and that everything is counted once."""

import json
from itertools import permutations

import pytest

import models.decide
from models.brain import Brain
from models.decisions import effect_id
from models.profile.moved import Moved
from models.wire import Record, lane_of
from support.identities import Lanes, alias
from support.lane import DAY_MS, HOUR_MS, MINUTE_MS, definitions, identify, ms, order, shipped, track

NOON = ms("2010-03-01 12:00")
BRAIN = Brain(shipped())
A, B, C = "anon-1", "ben", "cat"


@pytest.fixture(params=[1, 4], ids=["one lane", "four lanes"])
def lanes(request: pytest.FixtureRequest) -> Lanes:
    return Lanes(BRAIN, request.param, twice=True)


def view(user: str, at: int, mid: str | None = None) -> bytes:
    return track("Product Viewed", user, at, mid, product_id=f"p{at % 7}", category="lamps")


def test_the_users_are_on_different_lanes() -> None:
    assert len({lane_of(user, 4) for user in (A, B, C)}) > 1


def test_a_visitor_signs_in(lanes: Lanes) -> None:
    lanes.feed("clickstream", A, view(A, NOON), view(A, NOON + MINUTE_MS))
    lanes.feed("purchases", A, order(A, NOON + 2 * MINUTE_MS, 12.5))
    lanes.feed("profiles", B, identify(B, NOON - DAY_MS, email="b@x.test"))
    lanes.feed("profiles", B, alias(A, B, NOON + 3 * MINUTE_MS))  # in the partition of the id that remains
    lanes.settle()
    left, found = lanes.find(A), lanes.profile(B)
    assert isinstance(left, Moved)
    assert (left.to, left.at) == (B, NOON + 3 * MINUTE_MS)
    assert (found.events, found.orders, found.money_minor, found.sessions) == (4, 1, 1250, 2)
    assert found.attributes == {"email": "b@x.test"}
    assert found.score >= 0
    assert lanes.balanced()


def test_it_may_lie_in_the_partition_of_the_id_that_is_given_up_or_anywhere() -> None:
    found = []
    for lane in range(4):
        lanes = Lanes(BRAIN, 4)
        lanes.feed("purchases", A, order(A, NOON))
        lanes.feed("profiles", B, alias(A, B, NOON + 1), lane=lane)
        lanes.settle()
        assert lanes.who(A) == B
        assert lanes.count("rejected") == 0
        found.append(lanes.profile(B).money_minor)
    assert found == [2000] * 4


def test_late_records_of_the_old_id_are_forwarded_once(lanes: Lanes) -> None:
    lanes.feed("purchases", A, order(A, NOON, mid="first"))
    lanes.feed("profiles", A, alias(A, B, NOON + 1))
    lanes.feed("purchases", A, order(A, NOON - HOUR_MS, mid="late"))
    lanes.feed("purchases", A, order(A, NOON, mid="first"))  # the sender repeats it
    lanes.settle()
    lanes.feed("purchases", A, order(A, NOON - HOUR_MS, mid="late"))
    lanes.settle()
    found = lanes.profile(B)
    assert (found.orders, found.money_minor) == (2, 4000)
    assert lanes.balanced()


def test_nothing_overtakes_the_profile(lanes: Lanes) -> None:
    """Records of other topics follow it through the same one, also where they are earlier than the alias."""
    lanes.feed("clickstream", A, view(A, NOON))
    lanes.feed("profiles", A, alias(A, B, NOON + 9))
    lanes.feed("feedback", A, track("Email Delivered", A, NOON + 5))
    rig = lanes.rigs[lane_of(A, lanes.lanes)]
    sent = [output for output in rig.published.outputs if dict(output.headers).get("kairos-via")]
    assert [output.topic for output in sent] == ["profiles", "profiles"]
    assert b'"type":"merge"' in sent[0].value
    lanes.settle()
    assert lanes.profile(B).events == 2


@pytest.mark.parametrize("known", [True, False])
def test_alias_of_somebody_unknown(lanes: Lanes, known: bool) -> None:
    if known:
        lanes.feed("clickstream", B, view(B, NOON))
    lanes.feed("profiles", A, alias(A, B, NOON))
    lanes.settle()
    assert (lanes.find(B) is not None) == known
    lanes.feed("clickstream", A, view(A, NOON + 1))
    lanes.settle()
    assert lanes.profile(B).events == 1 + known


def test_alias_twice_changes_nothing(lanes: Lanes) -> None:
    lanes.feed("clickstream", A, view(A, NOON))
    for mid in ("one", "one", "two"):
        lanes.feed("profiles", A, alias(A, B, NOON + 1, mid))
        lanes.settle()
    assert (lanes.profile(B).events, lanes.who(A)) == (1, B)
    assert lanes.balanced()


@pytest.mark.parametrize("said", [{"previousId": B}, {"previousId": ""}, {}, {"previousId": None}])
def test_an_alias_that_gives_up_nothing_is_an_event_like_any_other(lanes: Lanes, said: dict[str, str | None]) -> None:
    lanes.feed("profiles", B, json.dumps({"type": "alias", "userId": B, "timestamp": NOON, **said}).encode())
    lanes.settle()
    assert (lanes.profile(B).events, lanes.count("forwarded")) == (1, 0)


def test_chain(lanes: Lanes) -> None:
    """A -> b -> c, then somebody onto b, who is called otherwise now."""
    lanes.feed("clickstream", A, view(A, NOON))
    lanes.feed("clickstream", B, view(B, NOON + 1))
    lanes.feed("clickstream", C, view(C, NOON + 2))
    lanes.feed("clickstream", "dan", view("dan", NOON + 2))
    for one, other in ((A, B), (B, C), ("dan", B)):
        lanes.feed("profiles", one, alias(one, other, NOON + 5))
        lanes.settle()
    lanes.feed("clickstream", A, view(A, NOON + 9))
    lanes.settle()
    assert {lanes.who(user) for user in (A, B, C, "dan")} == {C}
    assert lanes.profile(C).events == 5
    assert lanes.balanced()


@pytest.mark.parametrize("turn", list(permutations(range(3))))
def test_a_circle_is_broken_at_the_alias_that_happened_last(lanes: Lanes, turn: tuple[int, ...]) -> None:
    """A -> b -> c -> a, in any order, all at once or one by one; records go on to arrive."""
    said = [(A, B, NOON + 10), (B, C, NOON + 11), (C, A, NOON + 12)]
    for together in (True, False):
        world = Lanes(BRAIN, lanes.lanes, twice=True)
        for user in (A, B, C):
            world.feed("purchases", user, order(user, NOON, 10.0))
        for number in turn:
            one, other, at = said[number]
            world.feed("profiles", one, alias(one, other, at))
            if not together:
                world.settle()
        world.settle()
        for user in (A, B, C):
            world.feed("purchases", user, order(user, NOON + HOUR_MS, 1.0, mid=f"after-{user}"))
        world.settle()
        (left,) = {world.who(user) for user in (A, B, C)}
        if together:
            assert left == C
        assert (world.profile(left).orders, world.profile(left).money_minor) == (6, 3300)
        assert world.balanced()


def test_two_unknown_users_in_a_circle(lanes: Lanes) -> None:
    lanes.feed("profiles", A, alias(A, B, NOON))
    lanes.feed("profiles", B, alias(B, A, NOON + 1))
    lanes.feed("clickstream", A, view(A, NOON + 2, "seen"))
    lanes.settle()
    left = lanes.who(A)
    assert left == B == lanes.who(B)
    assert lanes.profile(left).events == 1
    lanes.feed("clickstream", A, view(A, NOON + 2, "seen"))
    lanes.settle()
    assert lanes.profile(left).events == 1


def test_somebody_who_came_back_can_be_given_up_again(lanes: Lanes) -> None:
    lanes.feed("clickstream", A, view(A, NOON))
    for number, (one, other) in enumerate([(A, B), (B, A), (B, C)]):
        lanes.feed("profiles", one, alias(one, other, NOON + number))
        lanes.settle()
    assert {lanes.who(user) for user in (A, B, C)} == {C}
    assert lanes.profile(C).events == 1


def test_too_long_a_chain_is_told(lanes: Lanes) -> None:
    for number in range(70):
        lanes.feed("profiles", f"n{number}", alias(f"n{number}", f"n{number + 1}", NOON))
    lanes.feed("clickstream", "n0", view("n0", NOON))
    lanes.settle()
    assert [letter["reason"] for letter in lanes.on("dead-letters")] == ["misrouted"]
    assert lanes.balanced()


def test_waits_go_along_and_what_was_answered_ends() -> None:
    lanes = Lanes(BRAIN, 4)
    for user in (A, C):
        lanes.feed("profiles", user, identify(user, NOON, email=f"{user}@x.test", consent={"email": True}))
        lanes.feed("clickstream", user, track("Product Added", user, NOON, product_id="p1", name="Lantern", price=2.0))
        assert [timer.rule for timer in lanes.profile(user).timers] == ["abandoned-cart"]
    lanes.feed("purchases", B, order(B, NOON + 5 * MINUTE_MS))
    for user, to in ((A, B), (C, "dora")):
        lanes.feed("profiles", user, alias(user, to, NOON + 10 * MINUTE_MS))
    lanes.settle()
    assert "abandoned-cart" not in [timer.rule for timer in lanes.profile(B).timers]
    assert "abandoned-cart" in [timer.rule for timer in lanes.profile("dora").timers]
    lanes.until(NOON + 3 * HOUR_MS)
    told = [command for command in lanes.on("messages") if command["campaign"] == "abandoned-cart"]
    assert [(command["user"], command["to"]) for command in told] == [("dora", "cat@x.test")]


def test_a_message_held_over_the_night_goes_out_once_to_the_one_they_are() -> None:
    night = {
        "campaigns": [
            {
                "id": "thanks",
                "trigger": {"on": "event", "event": "Order Completed"},
                "channel": "email",
                "template": "order-thanks",
                "cap": {"max": 1, "per": "30d"},
            }
        ],
        "policy": {"quiet_hours": {"from": "21:00", "to": "08:00"}},
    }
    lanes = Lanes(Brain(definitions(**night)), 4)
    evening = ms("2010-03-01 23:00")
    lanes.feed("profiles", A, identify(A, evening, email="a@x.test", consent={"email": True}))
    lanes.feed("purchases", A, order(A, evening, mid="o1"))
    held = lanes.profile(A).timers
    assert [timer.kind for timer in held] == ["release"]
    lanes.feed("profiles", A, alias(A, B, evening + 1))
    lanes.settle()
    moved = lanes.profile(B)
    digest = bytes.fromhex(effect_id("thanks", "1", B, "o1"))[:8]
    assert [send.digest for send in moved.sends] == [digest]
    lanes.until(evening + 12 * HOUR_MS)
    (command,) = lanes.on("messages")
    assert (command["type"], command["user"], command["id"]) == ("SendEmail", B, effect_id("thanks", "1", B, "o1"))
    assert [send.digest for send in lanes.profile(B).sends] == [digest]


def test_a_refusal_of_either_is_one_of_both(lanes: Lanes) -> None:
    lanes.feed("profiles", A, identify(A, NOON, email="a@x.test", consent={"email": False, "push": True}))
    lanes.feed("profiles", B, identify(B, NOON + 1, email="b@x.test", consent={"email": True}))
    lanes.feed("feedback", A, track("Email Bounced", A, NOON + 2))
    lanes.feed("profiles", A, alias(A, B, NOON + 3))
    lanes.settle()
    assert lanes.profile(B).consent == {"email": False, "push": True, "suppressed": True}


@pytest.mark.parametrize("at_a_time", [1, 128])
def test_an_alert_of_the_same_batch(monkeypatch: pytest.MonkeyPatch, at_a_time: int) -> None:
    """Raised before the alias is come to, the message is decided for who they were; else nobody is told of either."""
    monkeypatch.setattr(models.decide, "SLICE", at_a_time)
    win_back = {"id": "win-back", "trigger": {"on": "alert"}, "channel": "log", "template": "win-back"}
    rules = {"alert_at": 0.7, "sample_every": "400d", "action": {"campaign": "win-back"}}
    lanes = Lanes(Brain(definitions(campaigns=[win_back], churn=rules)), 2)
    lanes.feed("purchases", A, order(A, NOON))
    later = NOON + 79 * DAY_MS
    lanes.feed("clickstream", A, view(A, later), alias(A, B, later + MINUTE_MS), view(A, later + HOUR_MS))
    lanes.settle()
    told = [one for rig in lanes.rigs for name in ("churn-alerts", "messages") for one in rig.published.on(name)]
    assert [one["user"] for one in told] == ([A, A] if at_a_time == 1 else [B, B])
    assert lanes.profile(B).orders == 1
    assert lanes.balanced()


def test_the_redirect_forgets_ids_and_stays(lanes: Lanes) -> None:
    lanes.feed("clickstream", A, *(view(A, NOON + n) for n in range(50)))
    lanes.feed("profiles", A, alias(A, B, NOON + 100))
    lanes.settle()
    store = lanes.rigs[lane_of(A, lanes.lanes)]
    assert len(store.memory.profiles[A]) > 400
    for days in (1, 3, 5, 7):
        store.broker_ms += 2 * DAY_MS
        lanes.until(NOON + days * DAY_MS)
    assert len(store.memory.profiles[A]) < 40
    assert A not in store.memory.timers
    assert isinstance(lanes.find(A), Moved)


def test_offers_of_the_old_id_are_gone() -> None:
    lanes = Lanes(BRAIN, 1)
    rig = lanes.rigs[0]
    rig.memory.offers[A] = b"{}"
    lanes.feed("clickstream", A, view(A, NOON))
    lanes.feed("profiles", A, alias(A, B, NOON))
    assert A not in rig.memory.offers


def test_a_merge_that_is_none_is_refused_or_put_aside() -> None:
    lanes = Lanes(BRAIN, 1)
    lanes.feed("profiles", B, b'{"type":"merge","userId":"ben","messageId":"m","timestamp":0,"profile":""}')
    assert [letter["reason"] for letter in lanes.on("dead-letters")] == ["unknown_type"]
    rig = lanes.rigs[0]
    forged = Record(0, 0, b"ben", b'{"type":"merge","userId":"ben","messageId":"m"}', [("kairos-origin", b"x")])
    with pytest.raises(ValueError, match="previousId"):
        rig.feed("profiles", forged)


def test_what_went_along_with_the_profile_is_known_there(lanes: Lanes) -> None:
    """A lane whose Redis went back may forward what had gone along with the profile the first time."""
    bought = order(A, NOON, mid="o1")
    lanes.feed("purchases", A, bought)
    lanes.feed("profiles", A, alias(A, B, NOON + 1))
    lanes.settle()
    place = {"lane": 9, "epoch": 2, "seq": 1, "n": 0, "origin": "o1", "user": B}
    again = Record(0, 0, B.encode(), bought, [(f"kairos-{name}", str(value).encode()) for name, value in place.items()])
    before = lanes.count("duplicate")
    lanes.rigs[lane_of(B, lanes.lanes)].feed("profiles", again)
    assert (lanes.profile(B).orders, lanes.count("duplicate")) == (1, before + 1)
    assert lanes.balanced()


def test_a_record_that_is_sent_again_after_a_circle_counts_once(lanes: Lanes) -> None:
    lanes.feed("clickstream", A, view(A, NOON, "before"))
    lanes.feed("profiles", A, alias(A, B, NOON + 1))
    lanes.settle()
    lanes.feed("clickstream", A, view(A, NOON + 2, "between"))
    lanes.settle()
    lanes.feed("profiles", B, alias(B, A, NOON - 1))  # late: the other one is the last
    lanes.settle()
    assert lanes.who(B) == A
    for mid in ("before", "between"):
        lanes.feed("clickstream", A, view(A, NOON, mid))
        lanes.settle()
    assert lanes.profile(A).events == 2


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"previousId": "x" * 201, "userId": B}, "missing_user"),
        ({"previousId": A, "userId": "x" * 201}, "missing_user"),
        ({"previousId": A}, "missing_user"),
        ({"previousId": [A], "userId": B}, "wrong_type"),
        ({"previousId": A, "userId": B, "timestamp": "yesterday"}, "bad_timestamp"),
    ],
)
def test_an_alias_that_cannot_be_read(said: dict[str, object], reason: str) -> None:
    lanes = Lanes(BRAIN, 2)
    lanes.feed("profiles", B, json.dumps({"type": "alias", **said}).encode())
    lanes.settle()
    assert [letter["reason"] for letter in lanes.on("dead-letters")] == [reason]
    assert lanes.balanced()


def test_ids_may_be_numbers_and_the_remaining_one_a_cookie() -> None:
    lanes = Lanes(BRAIN, 4)
    for said in ({"previousId": 4711, "userId": 17850}, {"previousId": "17850", "anonymousId": A}):
        lanes.feed("profiles", B, json.dumps({"type": "alias", "timestamp": "2010-03-01", **said}).encode())
    lanes.settle()
    assert lanes.who("4711") == A
