"""The service's own log of offers that a bandit put first, as rows: what was chosen, how likely, what it brought."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
from pyarrow import csv, parquet

from config.topics import TRAINING, TRAINING_PARTITION
from models.decisions import EXAMPLES, OfferExample
from models.errors import ConfigurationError
from models.offers.bandit import RAW_NAMES
from services.bus.reader import read_topic

AMONG: Final = "among"
FORMATS: Final = (".csv", ".parquet")


class _Type(msgspec.Struct):
    type: str = ""


_type_of = msgspec.json.Decoder(_Type).decode
_decode = msgspec.json.Decoder(OfferExample).decode


def read_choices(bootstrap: str) -> list[OfferExample]:
    """Choices whose window has ended, each once, in the order in which they became known."""
    records = read_topic(bootstrap, TRAINING.name, TRAINING_PARTITION[EXAMPLES[OfferExample]])
    return choices_of(record.value for record in records if record.value)


def choices_of(values: Iterable[bytes]) -> list[OfferExample]:
    """Choices among the examples of a partition of `training`; an output may be published twice."""
    found: dict[str, OfferExample] = {}
    for value in values:
        if _type_of(value).type == "offer":
            example = _decode(value)
            found.setdefault(example.id, example)
    return list(found.values())


def newest_question(choices: list[OfferExample]) -> list[OfferExample]:
    """Those that were asked what the newest one was: the same reward within the same time.

    Raises
    ------
    ConfigurationError
        There is none.
    """
    if not choices:
        raise ConfigurationError(
            "no offer that a bandit put first has come to the end of its window",
            where="topic training",
            remedy="`choose: bandit` under `offers` in policy.yaml, and wait for `reward_within`",
        )
    asked = (choices[-1].reward_by, choices[-1].within_ms)
    return [one for one in choices if (one.reward_by, one.within_ms) == asked]


def table_of(choices: list[OfferExample]) -> pa.Table:
    """Columns `action`, `propensity`, `reward`, `among` (names with blanks between), and the context by name."""
    columns: dict[str, Any] = {
        "action": [one.offer for one in choices],
        "propensity": [one.propensity for one in choices],
        "reward": [one.reward for one in choices],
        AMONG: [" ".join(sorted(one.among)) for one in choices],
    }
    for place, name in enumerate(RAW_NAMES):
        columns[name] = [one.x[place] for one in choices]
    return pa.table(columns)


def write_choices(choices: list[OfferExample], path: Path) -> None:
    """Write the rows with who, when and what came of it; CSV or Parquet, by the file's name.

    Raises
    ------
    ConfigurationError
        The name says neither.
    """
    if path.suffix not in FORMATS:
        raise ConfigurationError(
            f"cannot write {path.suffix or 'this'}", where=str(path), remedy="a name in .csv or .parquet"
        )
    table = table_of(choices)
    when = [datetime.fromtimestamp(one.at / 1000, UTC).isoformat() for one in choices]
    more: dict[str, list[Any]] = {"user": [one.user for one in choices], "at": when}
    more |= {name: [getattr(one, name) for one in choices] for name in ("reward_by", "viewed", "clicked", "ordered")}
    for name, values in more.items():
        table = table.append_column(name, pa.array(values))
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        csv.write_csv(table, path)
