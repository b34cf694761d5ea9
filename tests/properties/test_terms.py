"""What is refuted without CEL, CEL does not find to hold either; and the look-up by value leaves nobody out."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from config.definitions import Campaign, Definitions
from models.campaigns.conditions import Condition, compile_condition, condition_fault
from models.campaigns.index import CampaignIndex

FIELDS = ("orders", "sessions", "country")
TEXTS = st.sampled_from(["", "a", "b", "1", "a && b", "a' || 'b", "é", "http://a", "true"])
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**53 - 1, 2**53, 2**53 + 1, 10**15, 10**15 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, -(2**53)]),
    st.sampled_from([0.0, -0.0, 1.0, 1.5, 1e15, 999999999999999.0, 2.0**53, 2.0**63, 1e308, 5e-324, 0.1 + 0.2, 0.3]),
    st.floats(allow_nan=True, allow_infinity=True),
)
VALUES = st.one_of(
    st.none(), st.booleans(), NUMBERS, TEXTS, st.lists(NUMBERS, max_size=2), st.dictionaries(TEXTS, NUMBERS, max_size=2)
)
FACTS = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3)
LITERALS = st.one_of(
    st.sampled_from(["0", "1", "2", "1.0", "1.5", "0.3", "0.30000000000000004", "999999999999999", "1000000000000000"]),
    st.sampled_from(["9007199254740993", "007", "1u", "0x1", "1e3", "-1", "- 1", "true", "null", "[1]", "'a' + 'b'"]),
    st.sampled_from(["''", "'a'", '"a"', "'b'", "'1'", "'a && b'", "\"a' || 'b\"", "'é'", "'http://a'", "'''a'''"]),
    st.sampled_from([r"'\x61'", r"r'a'", "b'a'", "'''a' && user.orders == 9 && 'b'''", "1 + 1", "user.orders", "{}"]),
)
PATHS = st.sampled_from(
    [f"{root}{dot}{field}" for root in ("user", "properties") for dot in (".", " . ") for field in FIELDS]
    + ["user['orders']", "properties.orders.a", "-user.orders", "!user.orders", "size(user)", "event"]
)
COMPARISONS = st.sampled_from([" == ", "==", " != ", " < ", " <= ", ">", " >= ", " in ", " + "])
PARTS = st.builds("{}{}{}".format, PATHS, COMPARISONS, LITERALS)
PLAIN = st.builds(
    "{}.{} {} {}".format,
    st.sampled_from(["user", "properties"]),
    st.sampled_from(FIELDS),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.sampled_from(["0", "1", "1.5", "'a'", "'b'"]),
)
ASKING = st.builds("properties.{} == '{}' && {}".format, st.sampled_from(FIELDS), st.sampled_from("ab"), PLAIN)
PROPERTIES = st.dictionaries(st.sampled_from(FIELDS), st.one_of(st.sampled_from("abc"), VALUES), min_size=1, max_size=3)
WRITTEN = st.recursive(
    st.one_of(PLAIN, PLAIN, PARTS, st.sampled_from(["true", "false", "1", "'a'", "has(user.orders)", "null == null"])),
    lambda inner: st.one_of(
        st.builds("{} && {}".format, inner, inner),
        st.builds("{} && {}".format, PLAIN, inner),
        st.builds("{}{}{}".format, inner, st.sampled_from([" && ", "&&", " &&\n"]), inner),
        st.builds("{} || {}".format, inner, inner),
        st.builds("({})".format, inner),
        st.builds("!({})".format, inner),
        st.builds("{} ? {} : {}".format, inner, inner, inner),
        st.builds("[1].exists(user, {})".format, inner),
        st.builds("{} // && user.orders == 9\n".format, inner),
        st.builds("{} == ({})".format, inner, inner),
    ),
    max_leaves=4,
)


def check(condition: Condition, context: dict[str, Any]) -> tuple[bool, bool]:
    """Whether the condition holds, and whether its terms alone refute it."""
    held, note = condition.evaluate(context)
    assert condition.holds(context) is held, (condition.text, context, note)
    refuted = any(term.refuted_by(context[term.root]) for term in condition.terms)
    return held, refuted


@settings(max_examples=600)
@given(WRITTEN, FACTS, FACTS)
def test_any_condition_holds_as_in_cel(text: str, properties: dict[str, Any], user: dict[str, Any]) -> None:
    if condition_fault(text) is None:
        condition = compile_condition(text)
        held, refuted = check(condition, {"event": "a", "properties": properties, "user": user})
        event(f"terms: {len(condition.terms)}, refuted: {refuted}, holds: {held}")


@settings(max_examples=600)
@given(st.lists(PLAIN, min_size=1, max_size=3), FACTS, FACTS)
def test_a_plain_conjunction_holds_as_in_cel(
    parts: list[str], properties: dict[str, Any], user: dict[str, Any]
) -> None:
    condition = compile_condition(" && ".join(parts))
    read = [part for part in parts if "'" not in part or "=" in part.replace("<=", "").replace(">=", "")]
    assert len(condition.terms) == len(read)  # of texts only == and !=
    held, refuted = check(condition, {"event": "a", "properties": properties, "user": user})
    event(f"refuted: {refuted}, holds: {held}")


def test_every_comparison_of_every_kind_of_value_holds_as_in_cel() -> None:
    values: list[Any] = [
        None,
        True,
        False,
        0,
        1,
        2,
        1.0,
        1.5,
        -0.0,
        float("nan"),
        float("inf"),
        2**53 + 1,
        2**63,
        2**64,
        10**30,
    ]
    values += ["", "a", "b", "1", [], [1], {}, {"a": 1}]
    held = refuted = 0
    for comparison in ("==", "!=", "<", "<=", ">", ">="):
        for literal in ("0", "1", "1.0", "1.5", "999999999999999", "''", "'a'", "'1'"):
            condition = compile_condition(f"properties.orders {comparison} {literal}")
            for facts in [{}, *({"orders": value} for value in values)]:
                context = {"event": "a", "properties": facts, "user": {}}
                answer = check(condition, context)
                held, refuted = held + answer[0], refuted + answer[1]
    assert held > 200
    assert refuted > 300


@settings(max_examples=300)
@given(st.lists(st.one_of(st.none(), ASKING, PLAIN, WRITTEN), max_size=8), PROPERTIES, FACTS)
def test_the_look_up_by_value_leaves_nobody_out_and_keeps_the_order(
    texts: list[str | None], properties: dict[str, Any], user: dict[str, Any]
) -> None:
    texts = [text for text in texts if text is None or condition_fault(text) is None]
    campaigns = tuple(
        Campaign.model_validate(
            {"id": f"c{i}", "trigger": {"on": "event", "event": "a"}, "channel": "log", "template": "t", "when": text}
            | {"priority": i * 7 % 5}
        )
        for i, text in enumerate(texts)
    )
    listeners = CampaignIndex(Definitions(campaigns=campaigns)).on_event("a")
    context = {"event": "a", "properties": properties, "user": user}

    def holds(campaign: Campaign) -> bool:
        return not campaign.when or compile_condition(campaign.when).evaluate(context)[0]

    found, seen = listeners.among(lambda: {"properties": properties})
    assert seen == (properties if any(texts) else {})
    event(f"left out: {len(found) < len(campaigns)}")
    assert [one.id for one in found if holds(one)] == [one.id for one in listeners.every if holds(one)]
