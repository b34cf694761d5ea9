"""Portraits: groups of users by what they told us (age, gender, region, any attribute), as a batch job found them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.learners.envelope import Envelope, payload_in

FloatArray = npt.NDArray[np.float64]

NAME: Final = "portraits"
SCHEMA: Final = 1
# Of an attribute of words, so many of the commonest are told apart; the others are one.
MOST_WORDS: Final = 12
# An attribute counts where this share of the users told it.
LEAST_TOLD: Final = 0.05
# Text with more different words than this share of its users is a name or a number, and no group.
MOST_DIFFERENT: Final = 0.5
OTHER: Final = "other"


class Column(msgspec.Struct, frozen=True):
    """An attribute as it is compared.

    Parameters
    ----------
    attribute : its name. words : the words that are told apart; none: it is a number. mean, scale : of the number.
    usual : share of each word, and of all others, among those who told it. Whoever has not told it counts as the mean.
    """

    attribute: str
    words: list[str] = []
    mean: float = 0.0
    scale: float = 1.0
    usual: list[float] = []


class PortraitsPayload(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of a ``portraits`` snapshot; `centres` in the numbers of :func:`row_of`."""

    columns: list[Column]
    names: list[str]
    centres: list[list[float]]
    shares: list[float]
    users: int
    silhouette: float


class Portraits:
    """Which portrait a user is most like, immutable.

    Parameters
    ----------
    payload : as the job published it; None: none yet. version : of the snapshot, 0 for none.

    Examples
    --------
    >>> age = Column("age", mean=40.0, scale=10.0)
    >>> made = PortraitsPayload(
    ...     columns=[age], names=["young", "old"], centres=[[-1.0], [1.0]], shares=[0.5, 0.5], users=9, silhouette=0.7
    ... )
    >>> Portraits(made).portrait_of({"age": 28}), Portraits(made).portrait_of({}), Portraits().portrait_of({"age": 28})
    ('young', '', '')
    """

    name = NAME
    __slots__ = ("_centres", "payload", "version")

    def __init__(self, payload: PortraitsPayload | None = None, version: int = 0) -> None:
        self.payload, self.version = payload, version
        if payload is not None:
            self._centres = np.array(payload.centres).reshape(len(payload.names), width_of(payload.columns))

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> Portraits:
        """Portraits of a snapshot.

        Raises
        ------
        IncompatibleSnapshotError
            Another model or schema, or centres of another kind.
        """
        payload = payload_in(envelope, NAME, SCHEMA, PortraitsPayload)
        try:
            return cls(payload, envelope.version)
        except ValueError as error:
            raise IncompatibleSnapshotError(f"{NAME} payload: {error}") from error

    def portrait_of(self, attributes: Mapping[str, Any]) -> str:
        """Portrait of a user by attributes; empty where there are no portraits or the user told none of them."""
        payload = self.payload
        if payload is None or not any(column.attribute in attributes for column in payload.columns):
            return ""
        gaps = np.array(row_of(payload.columns, attributes)) - self._centres
        return payload.names[int((gaps * gaps).sum(axis=1).argmin())]


def columns_of(users: Sequence[Mapping[str, Any]], wanted: Sequence[str] = ()) -> list[Column]:
    """Attributes to compare users by: numbers, and words of which there are few.

    Parameters
    ----------
    users : attributes of each. wanted : those that count; none: all that are told by enough users and group them.
    """
    found = []
    for name in sorted(wanted or {name for user in users for name in user}):
        values = [value for user in users if (value := user.get(name)) is not None and value != ""]
        if len(values) < LEAST_TOLD * len(users) or not values:
            continue
        numbers = [_number(value) for value in values]
        if all(number is not None for number in numbers) and len(set(numbers)) > 2:
            each = np.array(numbers, dtype=np.float64)
            found.append(Column(name, mean=float(each.mean()), scale=float(each.std()) or 1.0))
            continue
        words = Counter(_word(value) for value in values)
        if len(words) < 2 or (not wanted and len(words) > MOST_DIFFERENT * len(values)):
            continue
        ranked = sorted(words, key=lambda word: (-words[word], word))
        usual = [words[word] / len(values) for word in ranked[:MOST_WORDS]]
        found.append(Column(name, words=ranked[:MOST_WORDS], usual=[*usual, max(0.0, 1.0 - sum(usual))]))
    return found


def width_of(columns: Sequence[Column]) -> int:
    """Cells of a row."""
    return sum(len(column.words) + 1 if column.words else 1 for column in columns)


def row_of(columns: Sequence[Column], attributes: Mapping[str, Any]) -> list[float]:
    """A user as numbers: standardised numbers, one cell a word, and one for all other words.

    Two users with different words are as far apart as two whose numbers differ by two deviations.
    """
    row: list[float] = []
    for column in columns:
        value = attributes.get(column.attribute)
        if not column.words:
            number = _number(value)
            row.append(0.0 if number is None else (number - column.mean) / column.scale)
            continue
        if value is None or value == "":
            row += [2.0**0.5 * share for share in column.usual]
            continue
        word = _word(value)
        place = column.words.index(word) if word in column.words else len(column.words)
        row += [2.0**0.5 * (place == each) for each in range(len(column.words) + 1)]
    return row


def _number(value: Any) -> float | None:
    """A number, also one that is written as text; None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) < 1e15 else None


def _word(value: Any) -> str:
    return str(value).strip().lower()[:60]


def names_of(columns: Sequence[Column], centres: FloatArray, rows: FloatArray) -> list[str]:
    """What stands out most in each group, in words: up to three attributes, those that differ most from all users."""
    mean, names = rows.mean(axis=0), list[str]()
    for centre in centres:
        told: list[tuple[float, str]] = []
        place = 0
        for column in columns:
            if not column.words:
                apart = abs(float(centre[place] - mean[place]))
                told.append((apart, f"{column.attribute} about {column.mean + centre[place] * column.scale:.4g}"))
                place += 1
                continue
            cells = slice(place, place + len(column.words) + 1)
            best = int((centre[cells] - mean[cells]).argmax())
            word = [*column.words, OTHER][best]
            told.append((float(centre[cells][best] - mean[cells][best]), f"{column.attribute} {word}"))
            place += len(column.words) + 1
        strongest = sorted(told, key=lambda pair: (-pair[0], pair[1]))[:3]
        name = ", ".join(text for apart, text in strongest if apart > 0.2) or "all others"
        number = sum(known == name or known.startswith(f"{name} (") for known in names)
        names.append(f"{name} ({number + 1})" if number else name)
    return names
