"""``python -m services.jobs.settings_table``: write docs/settings.md and .env.example from the settings themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from config.settings import PACKAGE_CONFIG_DIR, Settings

ROOT = PACKAGE_CONFIG_DIR.parent
PAGE = ROOT / "docs" / "settings.md"
ENV_EXAMPLE = ROOT / ".env.example"

_INTRO = """\
# Settings

Every setting of Kairos is an environment variable. They are read once, when a process starts, by `config/settings.py`.
A variable `KAIROS_...` that is no setting, and a value that does not fit, end the process with a sentence that names
the variable (exit code 2). Where two words are joined by `__`, the first is the section.

`kairos demo` and `kairos up` set what the processes on this machine need; `docker-compose.yml` sets the rest for
containers, and takes four from the file `.env` (see `.env.example`). What a marketer writes is no setting: see
[campaigns.md](campaigns.md).

This page is written by `python -m services.jobs.settings_table` from the settings themselves.
"""
_TITLES = {
    "": ("General", "What a worker does, and how fast."),
    "kafka": ("Kafka", ""),
    "redis": ("Redis", ""),
    "smtp": ("Mail", ""),
    "push": ("Web Push", ""),
    "http": ("Page and HTTP API", ""),
}
_ENV_INTRO = """\
# For docker-compose.yml: copy this file to .env and change what you need. These are the defaults.
# Every setting: docs/settings.md. Written by `python -m services.jobs.settings_table`.
"""
# What docker-compose.yml takes from .env.
COMPOSE_VARIABLES = (
    "KAIROS_SECRET_KEY",
    "KAIROS_LANES",
    "KAIROS_HTTP__PUBLIC_URL",
    "KAIROS_LOG_LEVEL",
    "KAIROS_WEBHOOK_SECRETS",
)


class Setting(NamedTuple):
    """One setting, for a person."""

    section: str
    variable: str
    default: str
    meaning: str
    limits: str


def settings_of(model: type[BaseModel] = Settings, section: str = "") -> Iterator[Setting]:
    """Every setting: those of the model itself, then those of its sections."""
    nested: list[tuple[str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            nested.append((name, kind))
            continue
        variable = "__".join(("KAIROS_" + section, name) if section else ("KAIROS_" + name,)).upper()
        yield Setting(section, variable, _shown(field.default), field.description or "", _limits(field))
    for name, kind in nested:
        yield from settings_of(kind, name)


def _shown(default: Any) -> str:
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, Path):
        return str(default.relative_to(ROOT))
    return "" if default is None else str(default)


def _limits(field: FieldInfo) -> str:
    """Smallest and largest value, in words."""
    found: dict[str, float] = {}
    for rule in field.metadata:
        found |= {name: getattr(rule, name) for name in ("ge", "gt", "le", "lt") if hasattr(rule, name)}
    if "ge" in found and "le" in found:
        return f"{found['ge']} to {found['le']}"
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return ", ".join(f"{words[name]} {value}" for name, value in found.items())


def settings_page() -> str:
    """Text of docs/settings.md."""
    parts = [_INTRO]
    everything = list(settings_of())
    for section in dict.fromkeys(one.section for one in everything):
        title, text = _TITLES[section]
        parts.append(f"\n## {title}\n\n")
        if text:
            parts.append(f"{text}\n\n")
        parts.append("| variable | default | meaning |\n| --- | --- | --- |\n")
        for one in everything:
            if one.section == section:
                default = f"`{one.default}`" if one.default else "none"
                limits = f" ({one.limits})" if one.limits else ""
                parts.append(f"| `{one.variable}` | {default} | {one.meaning}{limits} |\n")
    return "".join(parts)


def env_example() -> str:
    """Text of .env.example."""
    known = {one.variable: one for one in settings_of()}
    lines = [_ENV_INTRO]
    for variable in COMPOSE_VARIABLES:
        one = known[variable]
        lines.append(f"\n# {one.meaning}\n{variable}={one.default}\n")
    return "".join(lines)


def main() -> None:
    """Write both files."""
    PAGE.write_text(settings_page(), encoding="utf-8")
    ENV_EXAMPLE.write_text(env_example(), encoding="utf-8")


if __name__ == "__main__":
    main()
