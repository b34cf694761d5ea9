"""Read one YAML file into plain Python values and remember on which line each of them stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError, RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarstring import FoldedScalarString, LiteralScalarString

Location = tuple[str | int, ...]

# No definition is nested deeper; a file that is would only be a strain.
_DEEPEST = 20


class YamlFaultError(ValueError):
    """The file is not YAML of the kind that Kairos reads."""

    def __init__(self, line: int, message: str, remedy: str) -> None:
        super().__init__(message)
        self.line, self.message, self.remedy = line, message, remedy


class _Constructor(RoundTripConstructor):
    """Leaves dates as text: the models read them, and know whether they begin or end something."""


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _Constructor.construct_yaml_str)


@dataclass(slots=True)
class Source:
    """A file's values and the line (from 1) of each."""

    path: Path
    tree: dict[str, Any]
    lines: dict[Location, int] = field(default_factory=dict)
    blocks: dict[Location, bool] = field(default_factory=dict)

    def line_of(self, location: Location) -> int:
        """Line of a value, or of the nearest one around it."""
        for length in range(len(location), -1, -1):
            if location[:length] in self.lines:
                return self.lines[location[:length]]
        return 1

    def line_within(self, location: Location, line: int) -> int:
        """Line of the file that holds the given line (from 1) of a text value."""
        start = self.line_of(location)
        if location not in self.blocks:
            return start
        return start + (line if self.blocks[location] else 1)


def read_source(path: Path) -> Source:
    """Read a file that holds one YAML mapping.

    Raises
    ------
    YamlFaultError
        It cannot be read, is no YAML, names a key twice, or holds no mapping.
    """
    yaml = YAML(typ="rt", pure=True)
    yaml.Constructor = _Constructor
    try:
        tree = yaml.load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise YamlFaultError(1, f"cannot be read: {error.strerror}", "a file that Kairos may read") from error
    except UnicodeDecodeError as error:
        raise YamlFaultError(1, "is not UTF-8 text", "the file saved as UTF-8") from error
    except DuplicateKeyError as error:
        problem = (error.problem or "a key stands here twice").split(" with ")[0]
        raise YamlFaultError(_line(error), problem, "each key once") from error
    except MarkedYAMLError as error:
        message = f"this is not YAML: {error.problem or error.context}"
        raise YamlFaultError(_line(error), message, _yaml_remedy(str(error.problem))) from error
    except YAMLError as error:
        raise YamlFaultError(1, f"this is not YAML: {error}", "key: value, one a line") from error
    if not isinstance(tree, CommentedMap):
        found = "is empty" if tree is None else "holds no keys"
        raise YamlFaultError(1, f"the file {found}", "key: value, one a line")
    source = Source(path, {})
    source.lines[()] = 1
    source.tree = _plain(tree, (), source)
    return source


def _line(error: MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return 1 if mark is None else int(mark.line) + 1


def _yaml_remedy(problem: str) -> str:
    if "\\t" in problem or "tab" in problem:
        return "spaces instead of tabs at the start of a line"
    if "mapping values are not allowed" in problem:
        return "quotes around a text that contains a colon"
    return "key: value, one a line, lists in [ ] and nested keys indented by two spaces"


def _plain(node: Any, location: Location, source: Source) -> Any:
    """Copy without ruamel's types, noting lines on the way."""
    if len(location) > _DEEPEST:
        raise YamlFaultError(source.line_of(location), "this is nested too deeply", "a flatter structure")
    if isinstance(node, CommentedMap):
        values: dict[str, Any] = {}
        for key, value in node.items():
            here = (*location, str(key))
            source.lines[here] = node.lc.key(key)[0] + 1 if key in (node.lc.data or {}) else source.line_of(location)
            values[str(key)] = _plain(value, here, source)
        return values
    if isinstance(node, CommentedSeq):
        items: list[Any] = []
        for index, value in enumerate(node):
            here = (*location, index)
            source.lines[here] = node.lc.item(index)[0] + 1
            items.append(_plain(value, here, source))
        return items
    if isinstance(node, str):
        if isinstance(node, LiteralScalarString | FoldedScalarString):
            source.blocks[location] = isinstance(node, LiteralScalarString)
        return str(node)
    if isinstance(node, bool) or node is None:
        return node
    if isinstance(node, int):
        return int(node)
    return float(node) if isinstance(node, float) else str(node)
