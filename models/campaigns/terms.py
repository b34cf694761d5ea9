"""What a condition asks for at least, as far as its text says so plainly: most events fail it, and need no CEL.

Only a no is given here. A condition that is a conjunction holds only if each of its parts does, and an error in one of
them never makes it hold: so one part that surely does not hold is enough. Whatever is not surely refuted, CEL answers.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r"""[ \t\r\n\f]+|(//|"[^"\\\r\n]*"|'[^'\\\r\n]*'|[A-Za-z_]\w*|\d[\w.]*|&&|\|\||[=!<>]=|[-+*/%<>!?:.,()\[\]{}])""",
    re.ASCII,
)
# Fifteen digits: as a float too, each of these numbers is exactly what it says.
_NUMBER = re.compile(r"(?:0|[1-9]\d{0,14})(\.\d{1,15})?", re.ASCII)
_DOUBTFUL = ("\\", "'''", '"""')
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison that must hold: `root.field comparison literal`, of a number, or of a text with `==` or `!=`.

    Parameters
    ----------
    root : `properties` or `user`. field, comparison, literal : as they are written.
    """

    root: str
    field: str
    comparison: str
    literal: str | int | float

    def refuted_by(self, facts: Mapping[str, Any]) -> bool:
        """Whether the term surely does not hold for `facts`, what its root stands for.

        Examples
        --------
        >>> term = Term("user", "orders", ">", 1)
        >>> term.refuted_by({"orders": 1}), term.refuted_by({}), term.refuted_by({"orders": "many"})
        (True, True, False)
        """
        value = facts.get(self.field)
        kind = type(value)
        if value is None:
            return self.comparison != "!="  # null is equal to no literal and no more or less than one; nor is nothing
        if kind is str or type(self.literal) is str:
            # Of unlike things CEL has its own opinion, except that a text is equal to nothing else.
            both = kind is type(self.literal)
            return (both or self.comparison == "==") and not _COMPARISONS[self.comparison](value, self.literal)
        if kind is int or kind is float:
            return not _COMPARISONS[self.comparison](value, self.literal)
        return False


def terms_of(text: str) -> tuple[Term, ...]:
    """Comparisons without which the condition `text`, valid CEL, cannot hold; none where that cannot be read off.

    Examples
    --------
    >>> [term.field for term in terms_of("properties.category == 'Toys' && (user.orders > 1 || user.sessions > 9)")]
    ['category']
    >>> terms_of("user.orders > 1 || user.sessions > 9")
    ()
    """
    tokens = _tokens(text)
    part: list[str] = []
    parts = [part]
    depth = 0
    for token in tokens:
        depth += (token in "([{") - (token in ")]}")
        if depth == 0 and token in {"||", "?"}:
            return ()  # no conjunction
        if depth == 0 and token == "&&":
            part = []
            parts.append(part)
        else:
            part.append(token)
    found = (_term(part) for part in parts)
    return tuple(term for term in found if term is not None)


def _tokens(text: str) -> list[str]:
    """Tokens of a condition; none when it has texts of a special kind, or comments."""
    found: list[str] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match[1] == "//" or any(mark in text for mark in _DOUBTFUL):
            return []
        at = match.end()
        if match[1]:
            found.append(match[1])
    return found


def _term(tokens: list[str]) -> Term | None:
    if len(tokens) != 5 or tokens[0] not in {"properties", "user"} or tokens[1] != ".":
        return None
    root, _, field, comparison, written = tokens
    if comparison not in _COMPARISONS:
        return None
    if written[0] in "'\"":
        return Term(root, field, comparison, written[1:-1]) if comparison in {"==", "!="} else None
    number = _NUMBER.fullmatch(written)
    if number is None:
        return None
    return Term(root, field, comparison, float(written) if number[1] else int(written))
