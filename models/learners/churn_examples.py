"""Examples of churn as they lie in `training`, for every model that learns from them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from models.decisions import ChurnExample
from models.features import churn

_decode = msgspec.json.Decoder(ChurnExample).decode


def read(value: bytes) -> ChurnExample:
    """One example.

    Raises
    ------
    msgspec.DecodeError
        It is none, or of another schema of features.
    """
    example = _decode(value)
    if example.label not in (0, 1) or len(example.x) != len(churn.RAW_NAMES):
        raise msgspec.ValidationError("not a churn example of this feature schema")
    return example


def read_many(values: Sequence[bytes]) -> tuple[list[ChurnExample], list[str | None]]:
    """Examples that can be learned, and for each value None, or why it is refused."""
    examples: list[ChurnExample] = []
    told: list[str | None] = []
    for value in values:
        try:
            examples.append(read(value))
        except msgspec.DecodeError as error:
            told.append(str(error))
        else:
            told.append(None)
    return examples, told
