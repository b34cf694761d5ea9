"""`kairos evaluate next-basket` and `next-item`: the protocol on histories whose right answer is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import ConfigurationError
from services.jobs.evaluate.interactions import Basket, Interactions, read_interactions
from services.jobs.evaluate.recommend import Tally, evaluate_next_basket, evaluate_next_item

HOUR_MS = 3_600_000
BASKET_COLUMNS = ("customer_id", "basket_id", "item_id", "timestamp")


def history(rows: list[tuple[str, int, list[str]]]) -> Interactions:
    baskets = [Basket(user, hour * HOUR_MS, items, [""] * len(items)) for user, hour, items in rows]
    return Interactions(baskets, len(baskets), {})


def shop(baskets: int = 500, seed: int = 4) -> Interactions:
    """Customers who reorder what they had, and take what goes with it (number n goes with n + 20)."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(baskets):
        user = int(rng.integers(0, 40))
        own = user % 20
        items = [f"i{own}", f"i{own + 20}", f"i{int(rng.integers(40, 90))}"]
        rows.append((f"u{user}", 6 * number, items[int(rng.integers(0, 2)) :]))
    return history(rows)


def test_the_figures_are_the_field_s() -> None:
    tally = Tally()
    tally.add(["a", "b", "c"], {"b", "x"})
    assert tally.means() == pytest.approx(
        {"ndcg_10": (1 / np.log2(3)) / (1 + 1 / np.log2(3)), "hit_rate_10": 1.0, "mrr_20": 0.5}
    )
    tally.add([f"n{i}" for i in range(12)] + ["late"], {"late"})
    assert tally.means("_new") == pytest.approx(
        {
            "ndcg_10_new": (1 / np.log2(3)) / (1 + 1 / np.log2(3)) / 2,
            "hit_rate_10_new": 0.5,
            "mrr_20_new": (0.5 + 1 / 13) / 2,
        }
    )


def test_next_basket_beats_its_baselines_where_both_habit_and_links_count() -> None:
    found = evaluate_next_basket(shop())
    best = max(figures["ndcg_10"] for figures in found["baselines"].values())
    assert found["metrics"]["ndcg_10"] >= best - 0.003
    assert found["metrics"]["ndcg_10"] > found["baselines"]["popular"]["ndcg_10"] + 0.1
    assert set(found["metrics"]) == {
        f"{name}{suffix}" for name in ("ndcg_10", "hit_rate_10", "mrr_20") for suffix in ("", "_new")
    }
    assert found["scored_rows"] == 250
    assert 0 < found["scored_rows_new"] <= 250


def test_only_customers_with_an_earlier_basket_are_scored() -> None:
    rows = [(f"u{number}", number, ["a", "b"]) for number in range(10)] + [("u3", 11, ["a"]), ("new", 12, ["a"])]
    assert evaluate_next_basket(history(rows))["scored_rows"] == 1


def test_the_future_changes_nothing() -> None:
    whole = shop(300)
    base = evaluate_next_basket(Interactions(whole.baskets[:200], 200, {}), score_from=0.5)
    other = [Basket("u1", basket.at_ms, ["zzz"], [""]) for basket in whole.baskets[200:]]
    longer = evaluate_next_basket(Interactions(whole.baskets[:200] + other, 300, {}), score_from=1 / 3)
    again = evaluate_next_basket(Interactions(whole.baskets, 300, {}), score_from=1 / 3)
    assert base["scored_rows"] < longer["scored_rows"]
    assert again["metrics"] != longer["metrics"]
    assert evaluate_next_basket(Interactions(whole.baskets[:200], 200, {}))["metrics"] == base["metrics"]


def chain(events: int = 600) -> Interactions:
    """Everybody walks around a ring: after item n comes n + 1."""
    rng = np.random.default_rng(3)
    at = {f"u{user}": int(rng.integers(0, 30)) for user in range(30)}
    rows = []
    for number in range(events):
        user = f"u{number % 30}"
        at[user] = (at[user] + 1) % 30
        rows.append((user, number, [f"i{at[user]:02}"]))
    return history(rows)


def test_the_next_item_is_the_one_that_follows() -> None:
    found = evaluate_next_item(chain())
    assert found["scored_rows"] == 300
    assert found["metrics"]["hit_rate_10"] > 0.8
    assert found["metrics"]["ndcg_10"] > found["baselines"]["popular"]["ndcg_10"] + 0.2


def test_repeats_are_left_out_when_excluded() -> None:
    rows = [("u1", hour, [item]) for hour, item in enumerate("abcabcabcd")] + [("u2", 20, ["a"]), ("u2", 21, ["b"])]
    allowed = evaluate_next_item(history(rows), score_from=0.5)
    excluded = evaluate_next_item(history(rows), "exclude", score_from=0.5)
    assert allowed["scored_rows"] == 6
    assert excluded["scored_rows"] == 3, "d of u1, a and b of u2"


def test_newcomers_are_ranked_by_what_is_popular() -> None:
    rows = [(f"u{number}", number, ["a" if number % 3 else "b"]) for number in range(30)]
    found = evaluate_next_item(history(rows))
    assert found["scored_rows"] == 15
    assert found["metrics"]["hit_rate_10"] == 1.0
    assert found["metrics"]["mrr_20"] == pytest.approx((10 + 5 / 2) / 15)


@pytest.mark.parametrize("score_from", [-0.1, 1.0])
def test_a_bad_fraction_is_refused(score_from: float) -> None:
    with pytest.raises(ConfigurationError, match="score-from"):
        evaluate_next_basket(shop(20), score_from)


def test_nothing_to_score_is_said() -> None:
    with pytest.raises(ConfigurationError, match="nothing to score"):
        evaluate_next_basket(history([("u1", 1, ["a"]), ("u2", 2, ["b"])]))


# ------------------------------------------------------------------ files


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "history.csv"
    path.write_text(text)
    return path


def test_baskets_are_read_in_time_order_whole(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "customer_id,basket_id,item_id,timestamp,name\n"
        "1,b2,x,2020-01-02,Ex\n1,b1,y,2020-01-01,Why\n1,b1,y,2020-01-01,Why\n1,b1,z,2020-01-01,Zed\n,b9,z,2020-01-01,Zed\n",
    )
    found = read_interactions(path, "", (), BASKET_COLUMNS)
    assert [(basket.user, basket.items, basket.names) for basket in found.baskets] == [
        ("1", ["y", "z"], ["Why", "Zed"]),
        ("1", ["x"], ["Ex"]),
    ]
    assert found.skipped == {"without a user, item or time": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("customer_id,basket_id,item_id\n1,2,3\n", "no column 'timestamp'"),
        ("customer_id,basket_id,item_id,timestamp\n", "no row"),
        ("customer_id,basket_id,item_id,timestamp\n1,b,x,yesterday\n", "yesterday"),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_interactions(written(tmp_path, text), "", (), BASKET_COLUMNS)


def test_one_event_is_one_row_without_baskets(tmp_path: Path) -> None:
    path = written(tmp_path, "user_id,item_id,timestamp\nu,a,10\nu,a,10\n")
    found: Any = read_interactions(path, "", (), ("user_id", "item_id", "timestamp"))
    assert [basket.items for basket in found.baskets] == [["a"], ["a"]]
