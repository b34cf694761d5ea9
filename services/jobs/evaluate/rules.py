"""Evaluate association rules: baskets as JSON lines, counted one by one."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.errors import ConfigurationError
from models.learners.rules import AssociationRules


def read_baskets(path: Path) -> list[list[str]]:
    """One basket a line, a JSON list of items; empty lines are passed over.

    Raises
    ------
    ConfigurationError
        The file is missing, a line is no list of items, or there is no basket.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
        text = raw.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read it: {error}", where=str(path)) from error
    baskets = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            basket = json.loads(line)
        except json.JSONDecodeError as error:
            raise ConfigurationError(
                f"no JSON: {error.msg}", where=f"{path}:{number}", remedy='one basket a line: ["tea", "milk"]'
            ) from error
        plain = isinstance(basket, list) and all(
            isinstance(item, (str, int, float)) and not isinstance(item, bool) for item in basket
        )
        if not plain:
            raise ConfigurationError(
                "not a list of items", where=f"{path}:{number}", remedy='one basket a line: ["tea", "milk"]'
            )
        baskets.append([str(item) for item in basket])
    if not baskets:
        raise ConfigurationError("there is no basket", where=str(path), remedy='one basket a line: ["tea", "milk"]')
    return baskets


def evaluate_rules(
    baskets: list[list[str]],
    min_support: float,
    min_confidence: float,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[str, Any]:
    """Count, and tell the rules; see docs/evaluate.md.

    Raises
    ------
    ConfigurationError
        A limit is no share.
    """
    for name, value in (("--min-support", min_support), ("--min-confidence", min_confidence)):
        if not 0.0 <= value <= 1.0:
            raise ConfigurationError(f"{name} is a share: from 0 to 1")
    model = AssociationRules()
    started = time.perf_counter()
    for basket in baskets:
        model.learn(basket)
    spent_s = time.perf_counter() - started
    progress(len(baskets), len(baskets))
    rules = model.rules(min_support, min_confidence)
    return {
        "task": "rules",
        "protocol": {"min_support": min_support, "min_confidence": min_confidence},
        "rows": len(baskets),
        "scored_rows": len(baskets),
        "metrics": {"rules": len(rules)},
        "baselines": {},
        "rules": [rule._asdict() for rule in rules],
        "notes": [
            f"{rule.given} -> {rule.then}: support {rule.support:.4f}, confidence {rule.confidence:.3f}, "
            f"lift {rule.lift:.2f}"
            for rule in rules[:10]
        ],
        "cost": {"us_per_event": 1e6 * spent_s / len(baskets)},
    }
