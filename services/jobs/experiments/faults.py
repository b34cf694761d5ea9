"""What may be wrong with a file of results: stable codes, each with what to do."""

from __future__ import annotations

from typing import Literal, NoReturn, TypeAlias

from models.errors import ConfigurationError

Code: TypeAlias = Literal[
    "no_rows",
    "unknown_column",
    "no_metric",
    "one_variant",
    "unknown_control",
    "bad_weights",
    "not_a_number",
    "bad_counts",
    "bad_option",
]

REMEDIES: dict[Code, str] = {
    "no_rows": "a file with one row per user, or one row per variant and metric",
    "unknown_column": "name columns of the file; docs/experiments.md lists the ones that are read by themselves",
    "no_metric": "--metrics with columns of numbers, or 0/1, true/false",
    "one_variant": "rows of at least two variants",
    "unknown_control": "--control with one of the variants",
    "bad_weights": "--weights with a positive share for each variant, such as a=0.5,b=0.5",
    "not_a_number": "numbers, 0/1 or true/false; blank counts as 0",
    "bad_counts": "whole n of at least 0, successes between 0 and n, sum_squares that fit n and sum",
    "bad_option": "see kairos experiments results --help",
}


def refuse(code: Code, message: str, where: str = "") -> NoReturn:
    """Raise the error of a code: `code: what is wrong`, with its remedy."""
    raise ConfigurationError(f"{code}: {message}", where=where, remedy=REMEDIES[code])
