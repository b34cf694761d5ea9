"""Turn a mistake in a YAML file into one sentence, its place, and what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from config.yaml_source import Location, Source


class DefinitionError(Exception):
    """A mistake in a file of definitions; `others` holds the further ones of the same run.

    Parameters
    ----------
    path, line : where.
    message : what is wrong.
    remedy : what to write instead.
    others : further mistakes.
    code : stable name of the mistake, shown behind the message; "" for those of form.
    """

    def __init__(
        self,
        path: Path,
        line: int,
        message: str,
        remedy: str,
        others: tuple[DefinitionError, ...] = (),
        code: str = "",
    ) -> None:
        text = f"{path}:{line}: {message}{f' [{code}]' if code else ''}\n  write: {remedy}"
        super().__init__("\n".join([text, *map(str, others)]))
        self.path, self.line, self.message, self.remedy, self.others = path, line, message, remedy, others
        self.code = code

    @classmethod
    def of(cls, mistakes: Iterable[DefinitionError]) -> DefinitionError:
        """One error that tells all mistakes, by file and line."""
        first, *rest = sorted(mistakes, key=lambda one: (str(one.path), one.line))
        return cls(first.path, first.line, first.message, first.remedy, tuple(rest), first.code)


class ConditionFault(NamedTuple):
    """What is wrong with a condition; `line` counts from 1 within its text."""

    line: int
    message: str
    remedy: str


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant.

    Examples
    --------
    >>> closest("chanel", ["channel", "cap"])
    'channel'
    """
    choices = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), choices, n=1, cutoff=0.6)
    return choices[found[0]] if found else None


def suggestion(word: str, known: Iterable[str]) -> str:
    """Name the probable word, or all of them."""
    names = sorted(known)
    meant = closest(word, names)
    return f"did you mean {meant}?" if meant else "one of " + ", ".join(names)


def schema_mistakes(error: ValidationError, model: type[BaseModel], source: Source) -> Iterator[DefinitionError]:
    """Every mistake that pydantic found in a file."""
    details = error.errors(include_url=False)
    # A mistyped key is one mistake, though pydantic tells two: an unknown key and a missing one.
    meant = {
        (*detail["loc"][:-1], closest(str(detail["loc"][-1]), _fields_around(model, detail["loc"])))
        for detail in details
        if detail["type"] == "extra_forbidden"
    }
    for detail in details:
        if detail["type"] == "missing" and detail["loc"] in meant:
            continue
        # "Too few" counts the good items only; whoever reads of the bad one needs no second complaint.
        if detail["type"] == "too_short" and any(_lies_in(other["loc"], detail["loc"]) for other in details):
            continue
        message, remedy = _explain(detail, model)
        code = str(detail.get("ctx", {}).get("code", ""))
        yield DefinitionError(source.path, source.line_of(detail["loc"]), message, remedy, code=code)


def _lies_in(inner: Location, outer: Location) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _explain(detail: ErrorDetails, root: type[BaseModel]) -> tuple[str, str]:
    location: Location = detail["loc"]
    key = next((str(part) for part in reversed(location) if isinstance(part, str)), "")
    fields = _fields_around(root, location)
    context: dict[str, Any] = detail.get("ctx") or {}
    given = _shown(detail["input"])
    match detail["type"]:
        case "kairos":
            return str(context["message"]), str(context["remedy"])
        case "extra_forbidden":
            return f"unknown key `{key}`", suggestion(key, fields)
        case "missing":
            return f"`{key}` is missing", _example(key, fields)
        case "literal_error":
            choices = re.findall(r"'([^']*)'", str(context["expected"]))
            meant = closest(str(detail["input"]), choices)
            return f"`{key}` cannot be {given}", f"{key}: {meant}" if meant else "one of " + ", ".join(choices)
        case "string_pattern_mismatch" if isinstance(detail["input"], str) and key != "currency":
            slug = re.sub(r"[^a-z0-9]+", "-", detail["input"].lower()).strip("-")
            return (
                f"`{key}` cannot be {given}: small letters, digits and hyphens only",
                f"{key}: {slug or 'name'}",
            )
        case "model_type" | "dict_type" | "model_attributes_type":
            return f"`{key}` needs keys of its own, not {given}", _example(key, fields)
        case "tuple_type":
            return f"`{key}` needs a list, not {given}", f"{key}: [{detail['input']}]"
    problem = detail["msg"][:1].lower() + detail["msg"][1:]
    return f"`{key}` is {given}, but {problem.replace('input should', 'it should')}", _example(key, fields)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_around(root: type[BaseModel], location: Location) -> dict[str, FieldInfo]:
    """Return the keys that are allowed beside the last named one of a location."""
    names = [part for part in location if isinstance(part, str)]
    model: type[BaseModel] | None = root
    for name in names[:-1]:
        field = _by_key(model).get(name) if model else None
        model = _model_in(field.annotation) if field else None
    return _by_key(model) if model else {}


def _by_key(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)


def _example(key: str, fields: dict[str, FieldInfo]) -> str:
    field = fields.get(key)
    if field is None or not field.examples:
        return f"another value for {key}"
    return f"{key}: {field.examples[0]}"
