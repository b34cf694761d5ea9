from __future__ import annotations

from pathlib import Path

import pytest

from config.settings import PACKAGE_CONFIG_DIR
from config.yaml_source import read_source
from models.campaigns.terms import Term, terms_of


def shipped() -> list[str]:
    files = sorted(Path(PACKAGE_CONFIG_DIR).rglob("*.y*ml"))
    read = [read_source(file).tree for file in files]
    return [one["when"] for one in read if one.get("when")]


def test_what_is_read_off() -> None:
    assert terms_of('properties.category == "A && B" && user.orders >= 2 &&\n user . churn_score < 0.5') == (
        Term("properties", "category", "==", "A && B"),
        Term("user", "orders", ">=", 2),
        Term("user", "churn_score", "<", 0.5),
    )
    assert terms_of("has(properties.a) && (user.orders == 1 || true) && user.sessions != 3") == (
        Term("user", "sessions", "!=", 3),
    )


@pytest.mark.parametrize(
    "text",
    [
        "user.orders == 1 || true",
        "user.orders == 1 && false ? false : true",
        "true // && user.orders == 1",
        "'''' && user.orders == 1 && ''''",
        r"user.country == '\'' && user.orders == 1",
        "!(user.orders == 1 && user.sessions == 1)",
        "[1].exists(user, user.orders == 1 && user.sessions == 2)",
        "user.orders == 1 == false",
        "user.orders == 1u && user.orders == 1e3 && user.orders == 0x1",
        "user.orders == 9007199254740993",
        "user.country > 'a'",
        "properties.a.b == 1 && user['orders'] == 1",
        "event == 'a'",
    ],
)
def test_what_is_left_to_cel(text: str) -> None:
    assert terms_of(text) == ()


def test_the_conditions_that_ship_with_kairos_can_be_refuted() -> None:
    assert len(shipped()) >= 3
    assert all(terms_of(text) for text in shipped())
