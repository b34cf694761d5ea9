"""Groups of users by what they told: k by the silhouette, any attribute, anybody assigned by the same numbers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from models.errors import ConfigurationError, IncompatibleSnapshotError
from models.learners.portraits import Portraits, columns_of, row_of
from services.jobs import portraits
from services.jobs.portraits import group, write

KINDS: list[dict[str, Any]] = [
    {"gender": "f", "age": 25, "region": "north"},
    {"gender": "m", "age": 60, "region": "south"},
    {"gender": "f", "age": 58, "region": "west"},
]


def users(count: int = 300, seed: int = 2) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    found = []
    for number in range(count):
        user = dict(KINDS[number % 3])
        user["age"] += rng.randint(-3, 3)
        user["email"] = f"u{number}@example.org"
        found.append(user)
    return found


def unseen(*_: object) -> None:
    """Progress that nobody watches."""


def test_the_silhouette_chooses_k_and_names_say_what_stands_out() -> None:
    found = group(users(), unseen)
    assert len(found.payload.names) == 3
    assert max(found.tried, key=lambda k: found.tried[k]) == 3
    assert [column.attribute for column in found.payload.columns] == ["age", "gender", "region"], (
        "an address is no group"
    )
    served = Portraits(found.payload)
    told = [served.portrait_of(kind) for kind in KINDS]
    assert len(set(told)) == 3
    assert "region north" in told[0]
    assert "age about 25" in told[0]
    assert served.portrait_of({"age": "24"}) == told[0], "a number may be written as text"
    assert served.portrait_of({"age": 59, "gender": "m"}) == told[1], "what is not told counts as the mean"
    assert served.portrait_of({"plan": "gold"}) == ""


def test_it_is_scikit_learns_fit_and_everybody_gets_the_group_of_the_fit() -> None:
    found, known = group(users(), unseen, k=3), users()
    columns = columns_of(known)
    rows = np.array([row_of(columns, user) for user in known])
    best = KMeans(3, n_init=10, random_state=0).fit(rows)
    assert found.tried == {3: pytest.approx(silhouette_score(rows, best.labels_))}
    served = Portraits(found.payload)
    names = [found.payload.names[label] for label in best.labels_]
    assert [served.portrait_of(user) for user in known] == names


def test_attributes_can_be_chosen() -> None:
    found = group(users(), unseen, attributes=["gender", "region"])
    assert [column.attribute for column in found.payload.columns] == ["gender", "region"]
    with pytest.raises(ConfigurationError, match="plan"):
        group(users(), unseen, attributes=["plan"])


@pytest.mark.parametrize(
    "known",
    [
        [],
        [{}] * 400,
        [{"gender": "f"}] * 400,
        users(20),
        [{"name": f"user {number}"} for number in range(400)],
    ],
    ids=["nobody", "nothing told", "all alike", "too few", "names only"],
)
def test_where_there_is_nothing_to_group_it_says_so(known: list[dict[str, Any]]) -> None:
    with pytest.raises(ConfigurationError, match="told an attribute that groups them"):
        group(known, unseen)


def test_more_groups_than_kinds_are_refused() -> None:
    known = [{"gender": "mfx"[number % 3]} for number in range(90)]
    with pytest.raises(ConfigurationError, match="3 kinds only"):
        group(known, unseen, k=7)


def test_odd_values_are_no_fault() -> None:
    odd: list[Any] = [float("nan"), float("inf"), True, [1, 2], {"a": 1}, 10**400, "", None, -0.0, "NaN"]
    known = [{"thing": odd[number % len(odd)], "age": number % 40} for number in range(400)]
    found = group(known, unseen)
    assert np.isfinite(found.rows).all()


def test_the_report_and_the_picture(tmp_path: Path) -> None:
    found = group(users(), unseen)
    written = write(found, tmp_path)
    report = msgspec.json.decode(written[0].read_bytes())
    assert sum(report["portraits"].values()) == pytest.approx(1.0)
    assert set(report["silhouette_by_k"]) >= {"2", "3"}
    assert written[1].read_bytes().startswith(b"\x89PNG")


def test_a_snapshot_of_another_kind_is_refused() -> None:
    envelope = portraits.envelope_of(group(users(), unseen).payload, 1, 5)
    assert Portraits.from_envelope(envelope).version == 1
    for wrong in ({"schema": 99}, {"name": "value"}, {"payload": b"\xc1"}):
        with pytest.raises(IncompatibleSnapshotError):
            Portraits.from_envelope(msgspec.structs.replace(envelope, **wrong))
