"""Association rules by a batch job: mlxtend's FP-growth, beside the counts that the stream's learner makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from config.settings import Settings
from config.topics import LEARNED_FROM, TRAINING
from models.decisions import BasketExample
from models.errors import ConfigurationError
from models.learners.rules import NAME, AssociationRules, Rule
from services.bus import read_topic
from services.jobs.evaluate.rules import read_baskets
from services.state.rules import ToldRule

_decode = msgspec.json.Decoder(BasketExample).decode
CLOSE = 1e-9


@dataclass(frozen=True, slots=True)
class Found:
    """What the batch job found.

    Parameters
    ----------
    rules : of one item to another, highest lift first. larger : itemsets of three items and more.
    differences : rules of which the stream's learner says something else; none if all is well.
    """

    baskets: int
    rules: list[ToldRule]
    larger: int
    differences: list[str] = field(default_factory=list)

    def sentence(self) -> str:
        """How it compares, for people."""
        told = f"{len(self.rules):,} rules; {self.larger:,} frequent sets of three products and more"
        if self.differences:
            return f"{told}; the stream's learner differs in {len(self.differences):,}: {self.differences[0]}"
        return f"{told}; counted one by one, as the stream counts, the same rules come out"

    def document(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "baskets": self.baskets,
            "rules": msgspec.to_builtins(self.rules),
            "larger_itemsets": self.larger,
            "differences": self.differences,
        }


def check_rules(source: str, min_support: float, settings: Settings | None) -> Found:
    """Mine `source` (a file of baskets; ``log``: orders in `training`), and compare with the stream's learner.

    Raises
    ------
    ConfigurationError
        The file cannot be used, there is no basket, or mlxtend is not installed.
    """
    if not 0.0 < min_support <= 1.0:
        raise ConfigurationError("--min-support is a share: above 0, at most 1")
    names: dict[str, str] = {}
    baskets = read_baskets(Path(source)) if settings is None else _of_log(settings, names)
    found, larger = mined(baskets, min_support)
    model = AssociationRules()
    for basket in baskets:
        model.learn(basket)
    told = [
        ToldRule(one.given, names.get(one.given, ""), one.then, names.get(one.then, ""), *one[2:])
        for one in sorted(found, key=lambda one: (-one.lift, -one.confidence, one.given, one.then))
    ]
    return Found(len(baskets), told, larger, _differences(found, model.rules(min_support)))


def mined(baskets: list[list[str]], min_support: float) -> tuple[list[Rule], int]:
    """Rules of one item to another by FP-growth, and how many frequent itemsets are larger than two."""
    try:
        import pandas as pd  # noqa: PLC0415 - pandas and mlxtend are extras
        from mlxtend.frequent_patterns import association_rules, fpgrowth  # noqa: PLC0415
        from mlxtend.preprocessing import TransactionEncoder  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError("mlxtend is not installed", remedy="pip install 'kairos[train]'") from error
    encoder = TransactionEncoder()
    table = pd.DataFrame.sparse.from_spmatrix(
        encoder.fit(baskets).transform(baskets, sparse=True), columns=encoder.columns_
    )
    sets = fpgrowth(table, min_support=min_support, use_colnames=True, max_len=3)
    if sets.empty:
        return [], 0
    size = sets["itemsets"].map(len)
    if not (size == 2).any():
        return [], 0
    rules = association_rules(sets[size <= 2], metric="support", min_threshold=min_support)
    found = []
    for row in rules.to_dict("records"):
        (given,), (then,) = row["antecedents"], row["consequents"]
        both, confidence, lift = float(row["support"]), float(row["confidence"]), float(row["lift"])
        found.append(Rule(str(given), str(then), round(both * len(baskets)), both, confidence, lift))
    return found, int((size > 2).sum())


def _of_log(settings: Settings, names: dict[str, str]) -> list[list[str]]:
    baskets = []
    for record in read_topic(settings.kafka.bootstrap, TRAINING.name, LEARNED_FROM[NAME]):
        try:
            example = _decode(record.value or b"")
        except msgspec.DecodeError:
            continue  # an example of another kind
        if example.type == "basket":
            baskets.append([item for item, *_ in example.items])
            names |= {item: name for item, name, *_ in example.items if name}
    if not baskets:
        raise ConfigurationError("there is no order in the log", remedy="wait for one, or give a file of baskets")
    return baskets


def _differences(batch: list[Rule], online: list[Rule]) -> list[str]:
    one = {(rule.given, rule.then): rule for rule in batch}
    other = {(rule.given, rule.then): rule for rule in online}
    told = [f"{given} -> {then} is only in one of the two" for given, then in sorted(one.keys() ^ other.keys())]
    for pair in sorted(one.keys() & other.keys()):
        mine, theirs = one[pair], other[pair]
        if any(abs(a - b) > CLOSE * max(1.0, abs(a)) for a, b in zip(mine[2:], theirs[2:], strict=True)):
            told.append(f"{pair[0]} -> {pair[1]}: {mine[2:]} by FP-growth, {theirs[2:]} counted")
    return told
