"""The stream's counts of pairs say what mlxtend's FP-growth finds; the batch job tells where they do not."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from models.decisions import BasketExample
from models.errors import ConfigurationError
from models.learners.rules import AssociationRules
from models.learners.session import LearnSession
from models.learners.streamed.rules import RulesModel
from models.offers.pairs import Rules
from services.cli.main import app
from services.jobs import itemsets
from services.jobs.itemsets import check_rules, mined
from services.state.rules import told


def history(count: int = 600, seed: int = 0, items: int = 25) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[f"item {i}" for i in rng.zipf(1.5, rng.integers(1, 9)) if i < items] or ["item 1"] for _ in range(count)]


def written(path: Path, baskets: list[list[str]]) -> Path:
    path.write_text("".join(f"{json.dumps(basket)}\n" for basket in baskets))
    return path


@pytest.mark.parametrize(("seed", "min_support"), [(0, 0.01), (1, 0.05), (2, 0.2), (3, 0.9)])
def test_online_is_what_fp_growth_finds(seed: int, min_support: float) -> None:
    baskets = history(seed=seed)
    model = AssociationRules()
    for basket in baskets:
        model.learn(basket)
    online = {(rule.given, rule.then): rule for rule in model.rules(min_support)}
    batch = {(rule.given, rule.then): rule for rule in mined(baskets, min_support)[0]}
    assert online.keys() == batch.keys()
    for pair, rule in online.items():
        assert rule[2:] == pytest.approx(batch[pair][2:], rel=1e-12)


def test_what_the_stream_publishes_is_what_fp_growth_finds() -> None:
    """Through the learner's own example, payload and reader."""
    model = RulesModel()
    baskets = history(2_000)
    for number, basket in enumerate(baskets):
        lines = [(item, f"Name of {item}", 100, 1) for item in basket]
        example = BasketExample(id=str(number), user="u", at=number, order_id=str(number), items=lines, history=[])
        model.learn(msgspec.json.encode(example))
    batch = {(rule.given, rule.then): rule for rule in mined(baskets, 5 / len(baskets))[0]}
    published = told(Rules(msgspec.msgpack.decode(model.payload(), type=type(Rules().payload))))
    assert len(published) > 20
    for one in published:
        same = batch[one.given, one.then]
        assert one.baskets == same.baskets
        assert (one.support, one.confidence) == pytest.approx((same.support, same.confidence), abs=1e-4)
        assert one.lift == pytest.approx(same.lift, abs=0.006)
        assert one.then_name == f"Name of {one.then}"
    # Nothing that says more about an item was left out.
    for given in {one.given for one in published}:
        least = min(one.confidence for one in published if one.given == given)
        kept = {one.then for one in published if one.given == given}
        surer = {r.then for r in batch.values() if r.given == given and r.confidence > least + 1e-3 and r.lift > 1}
        assert surer <= kept


def test_the_command_mines_a_file(tmp_path: Path) -> None:
    path = written(tmp_path / "baskets.jsonl", history())
    found = CliRunner().invoke(app, ["rules", "--batch", str(path), "--min-support", "0.05"])
    assert found.exit_code == 0, found.output
    assert "the same rules come out" in found.output
    assert "600 baskets" in found.output
    document = json.loads(
        CliRunner().invoke(app, ["rules", "--batch", str(path), "--min-support", "0.05", "--json"]).output
    )
    assert document["differences"] == []
    assert document["larger_itemsets"] > 0
    assert len(document["rules"]) == len(mined(history(), 0.05)[0])


def test_a_difference_would_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(AssociationRules):
        def learn(self, basket: object) -> None:
            super().learn(list(basket)[:2])  # type: ignore[call-overload]

    monkeypatch.setattr(itemsets, "AssociationRules", Forgetful)
    found = check_rules(str(written(tmp_path / "b.jsonl", history())), 0.05, None)
    assert found.differences
    assert "differs" in found.sentence()


@pytest.mark.parametrize(
    ("text", "told_of"),
    [("", "no basket"), ('{"a": 1}\n', "not a list"), ('["a"\n', "no JSON"), ('[["a"]]\n', "not a list")],
)
def test_a_bad_file_is_told(tmp_path: Path, text: str, told_of: str) -> None:
    path = tmp_path / "baskets.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=told_of):
        check_rules(str(path), 0.1, None)
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(ConfigurationError, match="min-support"):
            check_rules(str(path), share, None)


def test_one_item_baskets_have_no_rules(tmp_path: Path) -> None:
    found = check_rules(str(written(tmp_path / "b.jsonl", [["a"], ["b"], []])), 0.1, None)
    assert (found.rules, found.larger, found.differences) == ([], 0, [])


def test_a_session_restores_it() -> None:
    session, again = LearnSession("rules"), LearnSession("rules")
    assert isinstance(session.model, RulesModel)
    for basket in history(300):
        session.model.rules.learn(basket)
    again.restore(session.checkpoint())
    assert again.checkpoint() == session.checkpoint()
