"""The profile in words."""

from config.codes import code16, code32
from models.profile.person import Person
from models.profile.state import Exposure, Profile, Trials
from services.jobs.story import facts_of
from support.lane import ms, shipped

AT = ms("2010-03-01 10:00")


def test_a_newcomer() -> None:
    found = facts_of(Profile(events=1, sessions=1, first_seen=AT // 1000, last_seen_ms=AT), ())
    assert found["first seen"] == found["last seen"] == "01 Mar 2010"
    assert (found["last order"], found["consent"]) == ("never", "none given")
    assert found["churn score"] == "none before the first order"
    assert "experiments" not in found


def test_a_customer_with_score_consent_and_experiments() -> None:
    """Profiles hold codes: the names come from the definitions, as far as they are still there."""
    seen = {
        code32("aa-check"): Exposure(code16("b"), AT),
        code32("cart-subject"): Exposure(code16("gone"), AT),
        code32("long-over"): Exposure(code16("a"), AT),
    }
    profile = Profile(
        orders=2,
        purchase_days=2,
        money_minor=123_456,
        first_order=AT // 1000,
        last_order_ms=AT + 10 * 86_400_000,
        score_e6=123_456,
        person=Person(consent={"email": True, "push": False}),
        trials=Trials(seen),
    )
    found = facts_of(profile, shipped().experiments)
    assert found["churn score"] == "12.3%"
    assert found["orders"] == "2 on 2 days, 1,234.56 in all"
    assert found["next order expected"] == "21 Mar 2010"
    assert found["consent"] == "email: yes, push: no"
    assert found["experiments"] == (
        "aa-check: b, cart-subject: a variant that is not defined any more, one that is not defined any more"
    )
