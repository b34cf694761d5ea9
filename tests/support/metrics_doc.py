"""docs/metrics.md as data: the tables that it holds."""

import re
from dataclasses import dataclass
from pathlib import Path

DOC = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class DocumentedMetric:
    """One row of the Prometheus table."""

    kind: str
    labels: frozenset[str]
    meaning: str


def documented_metrics() -> dict[str, DocumentedMetric]:
    """Rows of the Prometheus table by the name on the wire."""
    found = {}
    for name, kind, labels, meaning in re.findall(r"^\| `(kairos_\w+)` \| (\w+) \| (.*?) ?\| (.*?) \|", DOC, re.M):
        found[name] = DocumentedMetric(kind, frozenset(re.findall(r"`(\w+)`", labels)), meaning)
    return found


def documented_keys() -> set[str]:
    """Keys of the Redis table, such as ``live:tail:<kind>``."""
    return set(re.findall(r"^\| `(live:[^`]+)` \|", DOC, re.M))


def documented_fields() -> dict[str, set[str]]:
    """Fields of `live:worker` by role."""
    by_role: dict[str, set[str]] = {}
    for name, roles in re.findall(r"^\| `(\w+)` \| ((?:decide|learn|deliver|judge|, )+) \| \S", DOC, re.M):
        for role in roles.split(", "):
            by_role.setdefault(role, set()).add(name)
    return by_role
