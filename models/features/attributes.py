"""What is known *about* a user, as columns of a goal's learner: attributes that the goal's file names.

The values are kept with an example as they were when it was begun. Types are found as the values come, each value for
itself: a number (also one written as text) or a word. Decide goes by a frozen copy of what the learner knows of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.errors import IncompatibleSnapshotError
from models.features.tabular import ANY, TabularEncoder, Value

FloatArray = npt.NDArray[np.float64]
# As events tell it and as it is kept with an example.
Told = str | int | float | bool | None

LONGEST: Final = 64
# Of one attribute so many values are known; with the columns of `models.features.tabular` that bounds what is served.
MOST_VALUES: Final = 200
# A value that fewer labels told is neither weighed nor published.
LEAST_LABELS: Final = 5
# In place of 1, where a word or a missing value is weighed: weights of them are then held tighter, since there are many
# and each is seen seldom.
INDICATOR: Final = 0.2
PREFIX: Final = "attribute "


class AttributesPayload(msgspec.Struct, frozen=True, kw_only=True):
    """What is served to encode attributes: their names, and the state of the encoder."""

    names: list[str]
    encoder: dict[str, Any]


def kept(attributes: Mapping[str, Any], names: Sequence[str]) -> list[Told]:
    """Values of these attributes, as an example keeps them; None: not told.

    Examples
    --------
    >>> kept({"plan": "pro", "age": 41, "bio": "x" * 900}, ["age", "country", "plan"])
    [41, None, 'pro']
    """
    found: list[Told] = []
    for name in names:
        value = attributes.get(name)
        found.append(value[:LONGEST] if isinstance(value, str) else value)
    return found


def named(names: Sequence[str], values: Sequence[Told]) -> dict[str, Told]:
    """What :func:`kept` kept, by name."""
    return dict(zip(names, values, strict=True))


def typed(value: Told) -> Value:
    """A number, a word, or None for nothing.

    Examples
    --------
    >>> [typed(value) for value in (41, "41", " France ", True, "", None, "nan")]
    [41.0, 41.0, 'france', 'true', None, None, 'nan']
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value[:LONGEST].strip().lower() if isinstance(value, str) else value
    try:
        number = float(text)
    except (ValueError, OverflowError):
        number = np.nan
    if isfinite(number):
        return number
    return text or None if isinstance(text, str) else None


class Attributes:
    """Columns of the attributes of one goal.

    Parameters
    ----------
    names : of the attributes. indicator : what stands for 1 where a word or a missing value is weighed.

    Notes
    -----
    At most `MAX_SLOTS` + 5 columns an attribute, and `MOST_VALUES` values of it with two counts each.

    Examples
    --------
    >>> columns = Attributes(["plan"])
    >>> for plan in ("pro", "basic") * 5:
    ...     _ = columns.encode({"plan": plan})
    ...     columns.learn({"plan": plan}, int(plan == "pro"))
    >>> columns.encode({"plan": "pro"}).round(2).tolist(), columns.names_of_columns()
    ([0.41, 0.2], ['plan: rate', 'plan = pro'])
    """

    def __init__(self, names: Sequence[str], indicator: float = INDICATOR) -> None:
        self.names, self._indicator = list(names), indicator
        self._encoder = TabularEncoder([ANY] * len(self.names), MOST_VALUES, LEAST_LABELS)

    @classmethod
    def of(cls, payload: AttributesPayload, indicator: float = INDICATOR) -> Attributes:
        """The frozen copy of a snapshot.

        Raises
        ------
        IncompatibleSnapshotError
            It cannot be read.
        """
        found = cls(payload.names, indicator)
        found.restore(payload.encoder)
        return found

    @property
    def width(self) -> int:
        """Number of columns so far."""
        return self._encoder.width

    @property
    def indicators(self) -> list[bool]:
        """Which columns are neither centred nor scaled."""
        return self._encoder.indicators

    def encode(self, told: Mapping[str, Told]) -> FloatArray:
        """Columns of a user; what they show is learned, and new ones may come."""
        return self._scaled(self._encoder.encode(self._row(told)).wide)

    def look(self, told: Mapping[str, Told]) -> FloatArray:
        """Columns of a user; nothing is learned."""
        return self._scaled(self._encoder.look(self._row(told)))

    def learn(self, told: Mapping[str, Told], y: int) -> None:
        """Label of a user who was encoded before."""
        self._encoder.learn(self._row(told), y)

    def places(self) -> list[int]:
        """Place of its attribute for each column."""
        return [place for place, _ in self._encoder.slots()]

    def names_of_columns(self) -> list[str]:
        """Names of the columns, for whoever reads a snapshot."""
        each = self._encoder.slots()
        return [f"{self.names[place]}{' ' if key.startswith('=') else ': '}{key}" for place, key in each]

    def payload(self) -> AttributesPayload:
        """What is served: the state without values that too few labels told."""
        state = self._encoder.snapshot()
        for column in state["columns"]:
            known = column["categories"].items()
            column["categories"] = {name: counts for name, counts in known if counts[0] >= LEAST_LABELS}
        return AttributesPayload(names=self.names, encoder=state)

    def snapshot(self) -> dict[str, Any]:
        """Plain state."""
        return {"names": list(self.names), "encoder": self._encoder.snapshot()}

    def restore(self, state: dict[str, Any]) -> None:
        """Become the one whose encoder was snapshotted.

        Raises
        ------
        IncompatibleSnapshotError
            It is no such state.
        """
        try:
            self._encoder.restore(state)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IncompatibleSnapshotError(f"what is known of the attributes cannot be read: {error}") from error

    def _row(self, told: Mapping[str, Told]) -> list[Value]:
        return [typed(told.get(name)) for name in self.names]

    def _scaled(self, wide: FloatArray) -> FloatArray:
        wide[np.array(self._encoder.indicators[: len(wide)], dtype=bool)] *= self._indicator
        return wide


def sentence(name: str, value: Told) -> str:
    """What a person is told of an attribute.

    Examples
    --------
    >>> sentence("country", "France"), sentence("age", None), sentence("newsletter", True)
    ('country is France', 'no age told', 'newsletter is true')
    """
    if value is None or value == "":
        return f"no {name} told"
    return f"{name} is {str(value).lower() if isinstance(value, bool) else value}"
