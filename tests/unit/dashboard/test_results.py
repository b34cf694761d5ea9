"""The experiments' cards on the page: what the judge wrote, in the words and units of people."""

from typing import Any

import pytest

from config.definitions import Experiment
from models.experiments.sums import Moments
from services.dashboard.outcomes import ExperimentResult, VariantResult
from services.dashboard.results import build_experiments
from support.cards import card_of, shares

EXPERIMENT = Experiment.model_validate(
    {
        "id": "cart-subject",
        "description": "Two subjects",
        "variants": [{"id": "a", "weight": 0.5}, {"id": "b", "weight": 0.5}],
        "expose_on": "message",
        "metrics": [
            {"id": "clicked", "event": "Email Link Clicked", "within": "7d"},
            {"id": "revenue", "event": "Order Completed", "within": "30d", "kind": "revenue"},
            {
                "id": "spam",
                "event": "Email Marked as Spam",
                "within": "7d",
                "role": "guardrail",
                "less_is_better": True,
            },
        ],
        "plan": {"users": 4000},
        "simulated": True,
        "planted": {"clicked": 0.1},
    }
)
NONE = {"revenue": Moments(1, (0,), (0,)), "spam": shares(1, 0)}


def shown(a: dict[str, Moments], b: dict[str, Moments], **changed: Any) -> ExperimentResult:
    card = card_of(EXPERIMENT, {"a": NONE | a, "b": NONE | b}) | changed
    return build_experiments({"cart-subject": card}, [EXPERIMENT], "GBP")[0]


def clicked(a: tuple[int, int], b: tuple[int, int]) -> VariantResult:
    return shown({"clicked": shares(*a)}, {"clicked": shares(*b)}).metrics[0].variants[1]


def test_a_verdict_in_plain_words() -> None:
    found = shown({"clicked": shares(1448, 142)}, {"clicked": shares(1456, 290)})
    assert found.verdict == "better"
    assert found.tone == "good"
    assert found.sentence.startswith("b is better on clicked: +103.1 % [")
    assert found.sentence.endswith("you may stop now.")
    assert found.action == "Roll it out"
    assert found.progress == "2,904 matured users of 4,000 planned"
    assert found.share == pytest.approx(2904 / 4000)
    assert any("overstates" in caution for caution in found.cautions)
    control, row = found.metrics[0].variants
    assert (control.control, control.users, control.value) == (True, 1448, "9.8 %")
    assert (row.users, row.value, row.difference) == (1456, "19.9 %", "+103.1 %")
    assert (row.verdict, row.words, row.planted) == ("better", "better", "+10.0 pts")
    assert row.p is not None
    assert row.p < 0.001


def test_money_is_in_pounds() -> None:
    rows = shown(
        {"clicked": shares(400, 40), "revenue": Moments(400, (200_000,), (200_000_000,))},
        {"clicked": shares(400, 40), "revenue": Moments(400, (240_000,), (260_000_000,))},
    ).metrics[1]
    assert [row.value for row in rows.variants] == ["£5.00", "£6.00"]
    assert rows.variants[1].difference == "+20.0 %"


def test_harm_is_red_and_names_its_guardrail() -> None:
    found = shown(
        {"clicked": shares(900, 90), "spam": shares(900, 9)}, {"clicked": shares(900, 90), "spam": shares(900, 180)}
    )
    assert (found.verdict, found.tone, found.action) == ("harm", "bad", "Stop it")
    assert "b harms spam" in found.sentence
    assert found.metrics[2].role == "guardrail"
    assert found.metrics[2].variants[1].words == "harm"


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ((1000, 100), (1000, 104), "undecided"),
        ((1000, 240), (1000, 90), "worse"),
        ((0, 0), (10, 1), "too-few"),
        ((10, 0), (10, 0), "too-few"),
    ],
)
def test_nothing_is_claimed_that_the_counts_do_not_carry(a: tuple[int, int], b: tuple[int, int], verdict: str) -> None:
    assert clicked(a, b).verdict == verdict


def test_users_inside_their_window_stand_apart() -> None:
    card = card_of(
        EXPERIMENT,
        {"a": NONE | {"clicked": shares(300, 30)}, "b": NONE | {"clicked": shares(300, 33)}},
        {"a": {"clicked": shares(50, 1)}, "b": {"clicked": shares(60, 30)}},
    )
    found = build_experiments({"cart-subject": card}, [EXPERIMENT], "GBP")[0]
    assert found.exposed == 710
    assert found.users == (("a", 350), ("b", 360))
    assert "110 still inside their window" in found.progress
    assert [row.users for row in found.metrics[0].variants] == [300, 300]


def test_a_stopped_one_says_why_and_recommends_nothing() -> None:
    found = shown(
        {"clicked": shares(300, 30)}, {"clicked": shares(300, 33)}, status="stopped", reason="too dear", final=2
    )
    assert (found.state, found.action) == ("stopped: too dear", "")
    assert found.progress.endswith("final, corrected: version 2")


def test_bars_of_a_table_share_one_scale() -> None:
    row = clicked((1000, 100), (1000, 104))
    assert row.low is not None
    assert row.high is not None
    assert row.point is not None
    assert -1 <= row.low < row.point < row.high <= 1
    assert max(abs(row.low), abs(row.high)) == pytest.approx(1)


def test_before_the_judge_looked_there_is_no_card() -> None:
    (found,) = build_experiments({}, [EXPERIMENT], "GBP")
    assert (found.verdict, found.exposed, found.metrics) == ("", 0, ())
    old = card_of(EXPERIMENT, {})
    (found,) = build_experiments({"cart-subject": old | {"version": 7}}, [EXPERIMENT], "GBP")
    assert found.verdict == ""


def test_simulated_experiments_stand_last_and_carry_their_mark() -> None:
    real = EXPERIMENT.model_copy(update={"id": "zz-real", "simulated": False, "planted": {}})
    results = build_experiments({}, [EXPERIMENT, real], "GBP")
    assert [(one.experiment, one.simulated) for one in results] == [
        ("zz-real", False),
        ("cart-subject", True),
    ]
