"""JSON Schemas of every topic, written to ``docs/schemas``: ``python -m services.jobs.schemas [FOLDER]``.

Inputs come from the pydantic contract of :mod:`models.events`, outputs from the msgspec structs of
:mod:`models.decisions`. Both are made from what the code really reads and writes; a test says when the files are old.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from config.topics import INPUTS, OUTPUTS, Topic
from models import decisions
from models.events import Envelope
from models.experiments.record import VerdictChanged

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
VALUES: dict[str, tuple[type[msgspec.Struct], ...]] = {
    "churn-alerts": (decisions.ChurnAlert,),
    "offers": (decisions.OfferDecision,),
    "messages": (decisions.MessageCommand,),
    "exposures": (decisions.Exposure,),
    "training": (decisions.ChurnExample, decisions.BasketExample, decisions.GoalExample, decisions.UpliftExample),
    "dead-letters": (decisions.DeadLetter,),
    "journal": (decisions.JournalEntry,),
    "verdicts": (VerdictChanged,),
}


def input_schema(topic: Topic) -> dict[str, Any]:
    """Schema of an input topic: the envelope."""
    made = Envelope.model_json_schema()
    return {"$schema": DIALECT, "$id": f"kairos/{topic.name}", **made, "title": topic.name, "description": topic.doc}


def output_schema(topic: Topic) -> dict[str, Any]:
    """Schema of an output topic: one struct, or any of several."""
    (*refs,), parts = msgspec.json.schema_components(VALUES[topic.name], ref_template="#/$defs/{name}")
    body = refs[0] if len(refs) == 1 else {"anyOf": list(refs)}
    return {
        "$schema": DIALECT,
        "$id": f"kairos/{topic.name}",
        "title": topic.name,
        "description": topic.doc,
        **body,
        "$defs": {name: _one_line(part) for name, part in sorted(parts.items())},
    }


def _one_line(part: dict[str, Any]) -> dict[str, Any]:
    """Docstrings are laid out for Python; a schema has sentences."""
    text = part.get("description")
    return part if text is None else {**part, "description": " ".join(str(text).split())}


def schemas() -> dict[str, str]:
    """File name -> content, for every topic."""
    made = {topic.name: input_schema(topic) for topic in INPUTS}
    made |= {topic.name: output_schema(topic) for topic in OUTPUTS}
    return {f"{name}.json": json.dumps(schema, indent=2, sort_keys=False) + "\n" for name, schema in made.items()}


def write(folder: Path = FOLDER) -> list[Path]:
    """Write all files; returns those that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, content in schemas().items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")
            changed.append(path)
    return changed


if __name__ == "__main__":
    for written in write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER):
        sys.stdout.write(f"{written}\n")
