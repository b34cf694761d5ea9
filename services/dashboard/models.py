"""What the page shows of models beside their versions: health, what campaigns change, fairness. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from config.definitions import Definitions
from models.fairness import counter_key
from models.learners.standing import told
from models.parity import Parity, parities
from models.uplift import Subject, subjects_of
from services.dashboard import words
from services.dashboard.context import ModelVersion
from services.state.live import RawLive, deciding

Figures = Mapping[str, Any]


def watched(rows: Sequence[ModelVersion], raw: RawLive, definitions: Definitions) -> tuple[ModelVersion, ...]:
    """The rows of models and goals, and one for each campaign whose uplift is learned, with how each score does."""
    known = {(row.model, row.score): row for row in raw.health}
    found = []
    for row in (*rows, *(_uplift(subject, raw) for subject in subjects_of(definitions))):
        kind, _, score = row.name.partition("-")
        place = {"goal": ("goals", score), "uplift": ("uplift", score)}.get(kind, (row.name, row.name))
        health = known.get(place)
        told_of = row if health is None else replace(row, state=health.state, health=health.health)
        found.append(replace(told_of, words=_compared(row.words, raw)) if row.name == "churn" else told_of)
    return tuple(found)


def _compared(text: str, raw: RawLive) -> str:
    """Champion and shadow of the registry, if they are compared."""
    compared = raw.comparison
    if compared is None or compared.shadow is None or compared.difference is None:
        return text
    return f"{text}; the shadow beside it: {told(compared)}"


def build_fairness(raw: RawLive, definitions: Definitions) -> tuple[Parity, ...]:
    """Judge the groups that are declared."""
    rules = definitions.policy.fairness
    return () if rules is None else tuple(parities(rules, raw.counters.get(counter_key(rules.attribute), {})))


def _uplift(subject: Subject, raw: RawLive) -> ModelVersion:
    snapshot = raw.snapshots.get("uplift")
    meta: Figures = snapshot.meta.get("campaigns", {}).get(str(subject.code), {}) if snapshot else {}
    return ModelVersion(
        name=f"uplift-{subject.id}",
        title=f"Uplift {subject.id}",
        version=snapshot.version if snapshot and meta else 0,
        in_use=in_use("uplift", raw),
        published=words.seconds_of_day(snapshot.created_ms) if snapshot and meta else "\N{EN DASH}",
        learned=bool(meta.get("learned")),
        examples=meta.get("examples"),
        words=_uplift_words(meta),
    )


def _uplift_words(meta: Figures) -> str:
    counted = f"{words.count(meta.get('treated', 0))} written to, {words.count(meta.get('held_out', 0))} held out"
    if not meta.get("learned"):
        return f"not learned yet: nobody is told an uplift; {counted} so far"
    low, high = words.points(meta["effect_low"]), words.points(meta["effect_high"])
    told = f"{counted}; the message changes conversions by {words.points(meta['effect'])} ({low} to {high})"
    return told if meta.get("qini") is None else f"{told}; Qini {meta['qini']:.3f}"


def in_use(name: str, raw: RawLive) -> int | None:
    """Oldest version that a worker decides with."""
    told = [figures.get("snapshots", {}).get(name) for figures in deciding(raw.workers)]
    return min((int(version) for version in told if version is not None), default=None)
