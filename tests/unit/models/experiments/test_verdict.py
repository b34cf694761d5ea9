"""The card: who may decide, what is said, and what never decides."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from models.experiments.compare import Memory, compare
from models.experiments.plan import MetricPlan, Plan
from models.experiments.sample_ratio import Epoch
from models.experiments.sums import Moments
from models.experiments.verdict import Card, Memories, Reading, Sums, judge

BOUGHT = MetricPlan("bought")
PLAN = Plan({"a": 0.5, "b": 0.5}, (BOUGHT,), planned=40_000, window_days=7)


def shares(n: int, *successes: int, metric: str = "bought") -> dict[str, dict[str, Moments]]:
    return {name: {metric: Moments(n, (s,), (s,))} for name, s in zip("abcdef", successes, strict=False)}


def reading(sums: Sums, **changes: object) -> Reading:
    counts = tuple(next(iter(metrics.values())).n for metrics in sums.values())
    weights = tuple(1.0 / len(counts) for _ in counts)
    return replace(Reading(sums, (Epoch(counts, weights),)), **changes)  # type: ignore[arg-type]


def card(plan: Plan, sums: Sums, memories: Memories | None = None, **changes: object) -> Card:
    return judge(plan, reading(sums, **changes), memories)[0]


def test_a_winner_before_the_plan() -> None:
    found = card(PLAN, shares(10_000, 1_000, 1_200))
    assert (found.verdict, found.action, found.variant) == ("better", "roll_out", "b")
    assert found.sentence.startswith("b is better on bought: +20.0 % [")
    assert any("early stop overstates" in caution for caution in found.cautions)
    assert (found.matured, found.planned) == (20_000, 40_000)


def test_a_loser() -> None:
    found = card(PLAN, shares(10_000, 1_200, 1_000))
    assert (found.verdict, found.action) == ("worse", "stop")
    less = replace(BOUGHT, higher_is_better=False)
    assert card(replace(PLAN, metrics=(less,)), shares(10_000, 1_200, 1_000)).verdict == "better"


def test_undecided_says_how_long() -> None:
    found = card(PLAN, shares(10_000, 1_000, 1_010), per_day=1_000.0)
    assert (found.verdict, found.action, found.days_left) == ("undecided", "keep_running", 27)
    assert "About 27 more days" in found.sentence


def test_no_difference_at_the_end_of_the_plan() -> None:
    assert card(PLAN, shares(20_000, 2_000, 2_010)).verdict == "no_difference"


@pytest.mark.parametrize(
    ("sums", "code"),
    [
        (shares(0, 0, 0), "no_users"),
        (shares(1, 0, 1), "too_few_users"),
        (shares(500, 0, 0), "no_variance"),
        (shares(500, 500, 500), "no_variance"),
    ],
)
def test_too_little_has_a_stable_code(sums: Sums, code: str) -> None:
    found = card(PLAN, sums)
    assert (found.verdict, found.lines[0].comparison.shortage) == ("not_enough_data", code)
    assert found.sentence.startswith("Not enough data")


def test_below_a_hundred_users_an_arm_nothing_is_claimed() -> None:
    found = card(PLAN, shares(99, 0, 60))
    assert (found.verdict, found.lines[0].p_adjusted) == ("undecided", 1.0)


def test_an_alarm_of_the_sample_ratio_suppresses_the_verdict() -> None:
    sums = {"a": {"bought": Moments(10_000, (1_000,), (1_000,))}, "b": {"bought": Moments(8_000, (1_200,), (1_200,))}}
    found = card(PLAN, sums)
    assert (found.verdict, found.action, found.variant) == ("sample_ratio_alarm", "investigate", None)
    assert found.lines[0].claim == "better", "the numbers are shown, the verdict is not"
    finished = card(PLAN, sums, finished=True)
    assert finished.verdict == "sample_ratio_alarm"
    assert finished.sample_ratio.p is not None


def test_only_matured_users_decide() -> None:
    """The treatment merely converts sooner: users inside their window differ widely, those past it do not."""
    early = shares(8_000, 400, 800)
    found = card(PLAN, shares(10_000, 1_000, 1_005), preliminary=early)
    assert (found.verdict, found.matured, found.preliminary) == ("undecided", 20_000, 16_000)
    assert any("16,000 users are still inside" in caution for caution in found.cautions)
    assert card(PLAN, shares(18_000, 1_400, 1_805)).verdict == "better", "this is what the rule protects from"


GUARDED = replace(PLAN, metrics=(BOUGHT, MetricPlan("refunds", role="guardrail", higher_is_better=False, margin=0.005)))


def both(n: int, bought: tuple[int, int], refunds: tuple[int, int]) -> dict[str, dict[str, Moments]]:
    one, two = shares(n, *bought), shares(n, *refunds, metric="refunds")
    return {name: {**one[name], **two[name]} for name in "ab"}


def test_harm_on_a_guardrail_stops_also_with_preliminary_users() -> None:
    fine = both(5_000, (500, 500), (250, 250))
    harmed = both(5_000, (500, 500), (250, 500))
    assert card(GUARDED, fine).verdict == "undecided"
    found, memories = judge(GUARDED, reading(fine, preliminary=harmed))
    assert (found.verdict, found.action) == ("harm", "stop")
    assert found.sentence.startswith("Stop: b harms refunds")
    again = card(GUARDED, fine, memories)
    assert again.verdict == "harm", "a crossed bound stays crossed"


def test_worse_within_the_margin_is_no_harm() -> None:
    assert card(GUARDED, both(20_000, (2_000, 2_000), (1_000, 1_090))).verdict == "no_difference"


def test_a_winner_that_harms_is_stopped() -> None:
    assert card(GUARDED, both(10_000, (1_000, 1_300), (500, 900))).verdict == "harm"


def test_better_here_and_worse_there_is_nobodys_victory() -> None:
    plan = replace(PLAN, metrics=(BOUGHT, MetricPlan("refunds", higher_is_better=False)))
    assert card(plan, both(10_000, (1_000, 1_300), (500, 900))).verdict == "mixed"


def test_many_comparisons_share_the_error() -> None:
    """P = 0.02 for one of five variants claims nothing; alone it would."""
    alone = Plan({"a": 0.5, "b": 0.5}, (BOUGHT,), method="fixed")
    five = Plan(dict.fromkeys("abcdef", 1 / 6), (BOUGHT,), method="fixed")
    assert card(alone, shares(10_000, 1_000, 1_100), finished=True).verdict == "better"
    found = card(five, shares(10_000, 1_000, 1_100, 1_000, 1_000, 1_000, 1_000), finished=True)
    assert found.verdict == "no_difference"
    line = found.lines[0]
    assert line.p_adjusted == pytest.approx(5 * (line.comparison.p or 0.0))
    assert line.comparison.interval is not None
    assert line.comparison.interval.low < 0.0


def test_of_several_winners_the_surest_is_named() -> None:
    plan = Plan(dict.fromkeys("abc", 1 / 3), (BOUGHT,), planned=60_000)
    found = card(plan, shares(10_000, 1_000, 1_250, 1_300))
    assert (found.verdict, found.variant) == ("better", "c")
    assert [line.claim for line in found.lines] == ["better", "better"]


def test_exploratory_metrics_claim_nothing() -> None:
    plan = replace(PLAN, metrics=(BOUGHT, MetricPlan("refunds", role="exploratory")))
    found = card(plan, both(10_000, (1_000, 1_000), (500, 900)))
    assert found.verdict == "undecided"
    assert found.lines[1].claim == "undecided"
    assert found.lines[1].p_adjusted == found.lines[1].comparison.p, "Benjamini and Hochberg, of one"


def test_group_sequential_does_not_look_below_a_hundred_users_an_arm() -> None:
    plan = replace(PLAN, method="pocock", planned=1_000)
    found, memories = judge(plan, reading(shares(90, 5, 40)))
    assert (found.verdict, memories["b", "bought"].clock) == ("undecided", None)
    assert card(plan, shares(100, 5, 40)).verdict == "better"


def test_group_sequential_decides_at_looks_only() -> None:
    plan = replace(PLAN, method="obrien-fleming")
    first, memories = judge(plan, reading(shares(10_000, 1_000, 1_010)))
    assert first.verdict == "undecided"
    between, _ = judge(plan, reading(shares(10_100, 1_010, 1_400)), memories)
    assert between.verdict == "undecided", "half a percent of information later there is no look"
    later, memories = judge(plan, reading(shares(10_300, 1_030, 1_428)), memories)
    assert later.verdict == "better"
    back, _ = judge(plan, reading(shares(12_000, 1_600, 1_500)), memories)
    assert back.verdict == "better", "a decision is final"


def test_group_sequential_ends_with_the_plan() -> None:
    plan = replace(PLAN, method="pocock")
    found, memories = judge(plan, reading(shares(20_100, 2_000, 2_010)))
    assert found.verdict == "no_difference"
    assert card(plan, shares(40_000, 4_000, 5_000), memories).verdict == "no_difference"
    with pytest.raises(ValueError, match="planned number"):
        Plan({"a": 0.5, "b": 0.5}, (BOUGHT,), method="pocock")


def test_running_p_and_interval_only_sharpen() -> None:
    first, memories = judge(PLAN, reading(shares(10_000, 1_000, 1_200)))
    second, _ = judge(PLAN, reading(shares(10_500, 1_100, 1_210)), memories)
    one, two = first.lines[0].comparison, second.lines[0].comparison
    assert one.p is not None
    assert two.p == one.p
    assert one.interval is not None
    assert two.interval is not None
    assert two.interval.low >= one.interval.low


def test_an_effect_that_turns_is_told() -> None:
    memories: Memories = {}
    for sums in (shares(10_000, 1_000, 1_300), shares(60_000, 9_000, 6_500)):
        found, memories = judge(PLAN, reading(sums), memories)
    assert any("changes over time" in caution for caution in found.cautions)


def test_cuped_sharpens_the_card() -> None:
    rng = np.random.default_rng(9)
    sums: dict[str, dict[str, Moments]] = {}
    for name, effect in (("a", 0), ("b", 20)):
        before = np.round(rng.lognormal(5.0, 0.5, 4_000)).astype(int)
        after = before + np.round(rng.normal(effect, 40, 4_000)).astype(int)
        rows = np.column_stack([after, before, np.zeros(4_000, dtype=int)])
        sums[name] = {"money": Moments.of([tuple(int(value) for value in row) for row in rows])}
    plan = replace(PLAN, metrics=(MetricPlan("money", "mean"),))
    plain = {
        name: {"money": Moments(m["money"].n, m["money"].sums[:1], m["money"].products[:1])} for name, m in sums.items()
    }
    assert card(plan, sums).verdict == "better"
    with_cuped, without = (card(plan, one).lines[0].comparison.error for one in (sums, plain))
    assert with_cuped < 0.6 * without


def test_fixed_is_labelled() -> None:
    found = card(replace(PLAN, method="fixed"), shares(20_000, 2_000, 2_200), finished=True)
    assert found.verdict == "better"
    assert any("one look" in caution for caution in found.cautions)
    assert card(replace(PLAN, method="fixed"), shares(10_000, 1_000, 1_400)).verdict == "undecided", "not while it runs"
    fixed = found.lines[0].comparison.fixed
    assert fixed is not None
    assert found.lines[0].comparison.p == fixed.p


def test_negative_revenue_and_a_millionaire_have_answers() -> None:
    """Refunds beyond the orders, and one user who outweighs all others: wide intervals, no error."""
    values = [0] * 499 + [10**12]
    rich = Moments.of([(value,) for value in values])
    poor = Moments.of([(-500,), (-300,)] * 250)
    sums: Mapping[str, Mapping[str, Moments]] = {"a": {"money": poor}, "b": {"money": rich}}
    found = card(replace(PLAN, metrics=(MetricPlan("money", "mean"),)), sums)
    assert found.verdict == "undecided"
    interval = found.lines[0].comparison.interval
    assert interval is not None
    assert interval.low < 0.0 < interval.high


def test_fifty_experiments_take_less_than_a_tenth_of_a_second() -> None:
    """Three variants, two metrics with covariates each: 200 comparisons."""
    rng = np.random.default_rng(10)
    plan = Plan(dict.fromkeys("abc", 1 / 3), (MetricPlan("one", "mean"), MetricPlan("two", "mean")), planned=10_000)
    rows = rng.integers(0, 1_000, (300, 3))
    moments = Moments.of([tuple(int(value) for value in row) for row in rows])
    sums = {name: {"one": moments, "two": moments + moments} for name in "abc"}
    given = reading(sums)
    judge(plan, given)  # imports and caches
    best = min(_timed(plan, given) for _ in range(3))
    assert best < 0.1, f"{best * 1000:.0f} ms"


def test_a_small_arm_that_saw_nothing_is_not_certain_of_it() -> None:
    """150 users without an event, where 1 % of the others have one: their own variance would be nothing."""
    plan = Plan({"a": 0.95, "b": 0.05}, (BOUGHT,), planned=100_000)
    sums = {"a": {"bought": Moments(2_850, (60,), (60,))}, "b": {"bought": Moments(150, (0,), (0,))}}
    epoch = (Epoch((2_850, 150), (0.95, 0.05)),)
    found, _ = judge(plan, Reading(sums, epoch))
    assert found.verdict == "undecided"
    guarded = replace(plan, metrics=(replace(BOUGHT, role="guardrail"),))
    assert judge(guarded, Reading(sums, epoch))[0].verdict == "undecided"


def _timed(plan: Plan, given: Reading) -> float:
    start = time.process_time()
    for _ in range(50):
        judge(plan, given)
    return time.process_time() - start


def test_a_comparison_of_three_arms_adjusts_with_all_of_them() -> None:
    rows = [(3, 1), (5, 2), (4, 2), (8, 4)]
    arms = {"a": Moments.of(rows[:3]), "b": Moments.of(rows[1:]), "c": Moments.of(rows)}
    plan = Plan(dict.fromkeys("abc", 1 / 3), (MetricPlan("m", "mean"),))
    with_c, _ = compare(plan, plan.metrics[0], "b", arms, Memory())
    pair = Plan({"a": 0.5, "b": 0.5}, plan.metrics)
    without_c, _ = compare(pair, plan.metrics[0], "b", {name: arms[name] for name in "ab"}, Memory())
    assert with_c.difference != without_c.difference
