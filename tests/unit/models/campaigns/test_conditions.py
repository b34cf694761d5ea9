from __future__ import annotations

from typing import Any

import pytest

from models.campaigns.conditions import USER_FIELDS, Conditions, compile_condition, condition_fault
from models.campaigns.view import user_view
from models.errors import ConfigurationError
from models.facts import Facts
from models.profile.state import Profile

CONTEXT: dict[str, Any] = {
    "event": "Order Completed",
    "properties": {"total": 25.5, "count": 3, "coupon": None, "products": [{"price": 5.0}, {"price": 20.5}]},
    "user": {
        "orders": 1,
        "money_minor": 2550,
        "days_since_order": 0.0,
        "churn_score": 0.25,
        "country": "United Kingdom",
        "attributes": {"vip": True},
        "consent": {"email": False},
        "categories": {"Lighting": 0.7},
    },
}


@pytest.mark.parametrize(
    "text",
    [
        "user.orders == 1",
        "user.orders > 0.5",
        "user.churn_score < 0.5 && user.money_minor >= 2550",
        "event == 'Order Completed'",
        "properties.total > 20",
        "properties.products.exists(p, p.price > 20.0)",
        "properties.products.size() == 2",
        "user.country.startsWith('United')",
        "!user.consent.email",
        "has(user.attributes.vip) && user.attributes.vip",
        "!has(properties.nothing)",
        "user['orders'] == 1",
        "user.categories['Lighting'] > 0.5",
        "'usr.x' != user.country",
        "properties.nothing == 1 || user.orders == 1",
        "true",
    ],
)
def test_what_holds(text: str) -> None:
    assert condition_fault(text) is None
    assert compile_condition(text).evaluate(CONTEXT) == (True, "")


def test_a_condition_that_does_not_hold_needs_no_note() -> None:
    assert compile_condition("user.orders == 2").evaluate(CONTEXT) == (False, "")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("properties.nothing == 1", "there is no nothing"),
        ("user.consent.push", "there is no push"),
        ("properties.coupon > 1", "No such overload"),
        ("properties.count / 0 == 1", "division by zero"),
        ("properties.count % 0 == 1", "zero"),
        ("properties.total.startsWith('2')", ""),
        ("user.orders", "gave int, not true or false"),
        ("'yes'", "gave str, not true or false"),
        ("timestamp(user.country) > timestamp('2010-01-01T00:00:00Z')", "timestamp"),
        ("9223372036854775807 + user.orders > 0", ""),
        ("int(user.country) == 1", ""),
        ("user.country.matches('(')", ""),
        ("undeclared(user.orders)", "undeclared"),
    ],
)
def test_what_cannot_be_answered_is_false_with_the_reason(text: str, note: str) -> None:
    holds, told = compile_condition(text).evaluate(CONTEXT)
    assert holds is False
    assert told
    assert note in told


@pytest.mark.parametrize("context", [{}, {"user": {}}, {"user": {}, "properties": {}, "event": None}])
def test_an_empty_context_is_no_fault(context: dict[str, Any]) -> None:
    holds, told = compile_condition("user.orders == 1 && properties.total > 1").evaluate(context)
    assert holds is False
    assert told


def test_a_condition_sees_only_what_it_names() -> None:
    condition = compile_condition("user.orders == 1 && user.categories.exists(c, c == 'Lighting')")
    assert condition.names == {"user"}
    assert condition.user_fields == frozenset({"orders", "categories"})
    assert compile_condition("user.orders == 1 && size(user) > 2").user_fields is None
    assert compile_condition("'user' == event").names == {"event"}
    assert compile_condition("properties.user.orders == 1 && user.orders == 1").user_fields == frozenset({"orders"})


@pytest.mark.parametrize(
    ("text", "line", "message", "remedy"),
    [
        ("", 1, "column 1", "condition such as"),
        ("user.orders ==", 1, "column 15", "condition such as"),
        ("user.orders == 1 &&\n  (properties.total > ", 2, "breaks off at column 23", "condition such as"),
        ("user.orders = 1", 1, "column 13", "condition such as"),
        ("'open", 1, "column 1", "condition such as"),
        ("usr.orders == 1", 1, "`usr` is unknown", "did you mean user?"),
        ("orders == 1", 1, "`orders` is unknown", "user.orders"),
        ("user.orders == 1 &&\nuser.ordrs == 1", 2, "no field `ordrs`", "did you mean orders?"),
        ("item == 'x'", 1, "`item` is unknown", "one of event, properties, review, user"),
    ],
)
def test_faults_are_placed_and_remedied(text: str, line: int, message: str, remedy: str) -> None:
    fault = condition_fault(text)
    assert fault is not None
    assert fault.line == line
    assert message in fault.message
    assert remedy in fault.remedy
    with pytest.raises(ConfigurationError, match=f"condition, line {line}: "):
        compile_condition(text)


def test_the_view_of_a_profile_has_exactly_the_documented_fields() -> None:
    assert tuple(user_view(Profile(), 0, facts=Facts())) == USER_FIELDS


def test_a_view_of_some_fields_is_part_of_the_whole() -> None:
    profile = Profile(orders=2, last_order_ms=86_400_000, sessions=3)
    whole = user_view(profile, 2 * 86_400_000, facts=Facts())
    assert whole["days_since_order"] == 1.0
    for name in USER_FIELDS:
        assert user_view(profile, 2 * 86_400_000, frozenset({name}), facts=Facts()) == {name: whole[name]}


TOGETHER = [
    "user.orders == 1",
    "user.churn_score < 0.5 && user.money_minor > 2550",
    "event == 'Order Completed'",
    "properties.nothing == 1",
    "user.consent.push",
    "user.categories.exists(c, c == 'Lighting')",
    "user.orders / 0 == 1",
    "true",
]


@pytest.mark.parametrize("more", ["true", "size(user) > 2"])
def test_conditions_answer_together_as_they_do_alone(more: str) -> None:
    conditions = [compile_condition(text) for text in [*TOGETHER, more]]
    shared = Conditions(conditions).about(CONTEXT)
    assert shared is not CONTEXT
    answers = [condition.evaluate(CONTEXT) for condition in conditions]
    assert [condition.evaluate(shared) for condition in conditions] == answers
    assert {holds for holds, _ in answers} == {True, False}


def test_what_cannot_be_converted_concerns_only_the_conditions_that_look_at_it() -> None:
    conditions = [compile_condition(text) for text in ("user.orders == 1", "user.country == 'Malta'")]
    context = CONTEXT | {"user": CONTEXT["user"] | {"country": "\ud800"}}
    shared = Conditions(conditions).about(context)
    assert conditions[0].evaluate(shared) == (True, "")
    holds, told = conditions[1].evaluate(shared)
    assert not holds
    assert "convert" in told.lower()
