"""Conditions of campaigns and offers, written in CEL (Common Expression Language).

A condition sees `event` (the event's name), `properties` (the event's), `user` (a view of the profile, see
:data:`USER_FIELDS`) and, of a campaign that a review starts at once, `review` (:data:`REVIEW_FIELDS`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cel

from config.problems import ConditionFault, suggestion
from models.campaigns.terms import Term, terms_of
from models.errors import ConfigurationError

NAMES = ("event", "properties", "user", "review")
REVIEW_FIELDS = ("sentiment", "rating")
USER_FIELDS = (
    "orders",
    "money_minor",
    "days_since_order",
    "days_since_seen",
    "views_7d",
    "adds_7d",
    "sessions",
    "churn_score",
    "country",
    "attributes",
    "consent",
    "reviews",
    "sentiment",
    "categories",
    "propensity",
    "variant",
    "uplift",
    "expected_value",
    "expected_next_order_days",
    "segment",
    "portrait",
)

_STRINGS = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")
_BOUND = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*(\w+)\s*,")
_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?(.*)")
_FIELD = r"(?<![\w.])%s\s*\.\s*(\w+)"
_ANY = r"(?<![\w.])%s\b"


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition. Build it with :func:`compile_condition`.

    Parameters
    ----------
    text : as it was written.
    program : the compiled form.
    names : which of `event`, `properties`, `user` and `review` it looks at; nothing else has to be built for it.
    user_fields : fields of `user` that it looks at; None when it may look at any.
    terms : comparisons without which it cannot hold.
    """

    text: str
    program: cel.Program
    names: frozenset[str]
    user_fields: frozenset[str] | None
    terms: tuple[Term, ...]

    def holds(self, context: Mapping[str, Any]) -> bool:
        """Whether the condition holds: the answer of :meth:`evaluate`, without the note and mostly without CEL."""
        for term in self.terms:
            if term.refuted_by(context[term.root]):
                return False
        return self.evaluate(context)[0]

    def evaluate(self, context: Mapping[str, Any] | cel.Context) -> tuple[bool, str]:
        """Whether the condition holds, and a note when it cannot be answered (then it does not hold).

        A missing property or a comparison of unlike things is a fact about one event, not a fault of the
        stream: it is False, with the reason.
        """
        try:
            answer = self.program.execute(
                context if isinstance(context, cel.Context) else _seen(context, self.names, self.user_fields)
            )
        except KeyError as error:
            return False, f"there is no {error.args[0] if error.args else error}"
        except ZeroDivisionError:
            return False, "division by zero"
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            return False, _first_sentence(str(error))
        if isinstance(answer, bool):
            return answer, ""
        return False, f"the condition gave {type(answer).__name__}, not true or false"


class Conditions:
    """Conditions that are asked together about the same thing.

    Parameters
    ----------
    conditions : all that will be asked.

    Attributes
    ----------
    user_fields : fields of `user` that any of them looks at; None when one may look at any.

    Notes
    -----
    Converting a user for CEL takes five microseconds, answering a condition a third of one: it is converted once.
    """

    __slots__ = ("_names", "user_fields")

    def __init__(self, conditions: Iterable[Condition]) -> None:
        found = list(conditions)
        fields = [condition.user_fields for condition in found]
        self._names = frozenset[str]().union(*(condition.names for condition in found))
        self.user_fields = None if None in fields else frozenset[str]().union(*(named for named in fields if named))

    def about(self, context: Mapping[str, Any]) -> Mapping[str, Any] | cel.Context:
        """What :meth:`Condition.evaluate` of each of them may be given in place of `context`."""
        try:
            return cel.Context(variables=_seen(context, self._names, self.user_fields))
        except (TypeError, ValueError, RuntimeError, OverflowError):
            return context  # something cannot be converted: only the conditions that look at it are without answer


def _seen(context: Mapping[str, Any], names: frozenset[str], user_fields: frozenset[str] | None) -> dict[str, Any]:
    """What is looked at: the rest would be converted for nothing, at several times the cost of an answer."""
    seen = {name: context[name] for name in names if name in context}
    if user_fields is not None and "user" in seen:
        user = seen["user"]
        seen["user"] = {name: user[name] for name in user_fields if name in user}
    return seen


def condition_fault(text: str) -> ConditionFault | None:
    """Say what is wrong with a condition, None if nothing.

    Examples
    --------
    >>> condition_fault("user.ordrs == 1")
    ConditionFault(line=1, message='user has no field `ordrs`', remedy='did you mean orders?')
    """
    try:
        program = cel.compile(text)
    except ValueError as error:
        return _syntax_fault(str(error))
    bare = _STRINGS.sub("''", text)
    bound = set(_BOUND.findall(bare))
    for name in program.variables():
        if name not in NAMES and name not in bound:
            return ConditionFault(_line_of(bare, _ANY % re.escape(name)), f"`{name}` is unknown", _names(name))
    for root, fields in (("user", USER_FIELDS), ("review", REVIEW_FIELDS)):
        for name in () if root in bound else re.findall(_FIELD % root, bare):
            if name not in fields:
                line = _line_of(bare, rf"{root}\s*\.\s*{name}\b")
                return ConditionFault(line, f"{root} has no field `{name}`", suggestion(name, fields))
    return None


@lru_cache(maxsize=1024)
def compile_condition(text: str) -> Condition:
    """Compile a condition.

    Raises
    ------
    ConfigurationError
        With the line and column within the text, when it is no CEL or names something that does not exist.

    Examples
    --------
    >>> condition = compile_condition("user.orders == 1 && properties.total > 20")
    >>> condition.evaluate({"user": {"orders": 1}, "properties": {"total": 25.5}})
    (True, '')
    >>> condition.evaluate({"user": {"orders": 1}, "properties": {}})
    (False, 'there is no total')
    """
    fault = condition_fault(text)
    if fault is not None:
        where = f"condition, line {fault.line}"
        raise ConfigurationError(fault.message, where=where, remedy=f"write: {fault.remedy}")
    program = cel.compile(text)
    bare = _STRINGS.sub("''", text)
    dotted = re.findall(_FIELD % "user", bare)
    every = re.findall(_ANY % "user", bare)
    return Condition(
        text=text,
        program=program,
        names=frozenset(NAMES) & frozenset(program.variables()),
        user_fields=frozenset(dotted) if len(dotted) == len(every) else None,
        terms=terms_of(text),
    )


def _syntax_fault(message: str) -> ConditionFault:
    found = _ERROR.search(message)
    if found is None:
        return ConditionFault(1, f"this is no condition: {_first_sentence(message)}", "user.orders == 1")
    line, column, problem = int(found[1]), int(found[2]), found[3].split(" expecting ")[0]
    remedy = "a condition such as: user.orders == 1 && properties.total > 20"
    if "mismatched input '<EOF>'" in problem:
        return ConditionFault(line, f"the condition breaks off at column {column}", remedy)
    return ConditionFault(line, f"the condition cannot be read from column {column} on: {problem}", remedy)


def _names(name: str) -> str:
    if name in USER_FIELDS:
        return f"user.{name}"
    return suggestion(name, NAMES)


def _line_of(text: str, pattern: str) -> int:
    found = re.search(pattern, text)
    return 1 if found is None else text.count("\n", 0, found.start()) + 1


def _first_sentence(text: str) -> str:
    return text.splitlines()[0].split(". ")[0][:200] if text else "it cannot be evaluated"
