"""A card as a document: what is stored, published, printed and drawn. Plain values, ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from models.experiments.always_valid import LEAST_USERS_PER_ARM, look
from models.experiments.compare import watched
from models.experiments.fixed import Interval
from models.experiments.plan import Plan
from models.experiments.verdict import Card, Line, Sums

Document: TypeAlias = dict[str, Any]


def card_document(card: Card, plan: Plan, sums: Sums, users: Mapping[str, int]) -> Document:
    """Everything that a card says.

    Parameters
    ----------
    sums : what was compared. users : per variant, control first.
    """
    return {
        "verdict": card.verdict,
        "sentence": card.sentence,
        "action": card.action,
        "variant": card.variant,
        "control": plan.control,
        "method": plan.method,
        "alpha": plan.alpha,
        "users": dict(users),
        "matured": card.matured,
        "preliminary": card.preliminary,
        "planned": plan.planned,
        "days_left": card.days_left,
        "sample_ratio": ratio_document(card, plan.weights),
        "comparisons": [line_document(line, plan, sums) for line in card.lines],
        "cautions": list(card.cautions),
    }


def ratio_document(card: Card, weights: Mapping[str, float]) -> Document:
    """The sample ratio: evidence of a running test, p of a finished one."""
    found = card.sample_ratio
    evidence = None if found.evidence_log is None else math.exp(min(700.0, found.evidence_log))
    return {"weights": dict(weights), "p": found.p, "evidence": evidence, "alarm": found.alarm}


def line_document(line: Line, plan: Plan, sums: Sums) -> Document:
    """One comparison."""
    compared, metric = line.comparison, line.comparison.metric
    fixed, scale = compared.fixed, metric.scale
    once = None
    if fixed is not None:
        once = {"z": fixed.statistic, "p": fixed.p, "interval": bounds(fixed.interval, scale)}
    return {
        "metric": metric.id,
        "kind": metric.kind,
        "role": metric.role,
        "variant": compared.variant,
        "claim": line.claim,
        "shortage": compared.shortage,
        "n_control": compared.n_control,
        "n": compared.n_treatment,
        "control_value": compared.control / scale,
        "value": compared.treatment / scale,
        "difference": compared.difference / scale,
        "standard_error": compared.error / scale,
        "lift": compared.lift,
        "p": compared.p,
        "p_adjusted": line.p_adjusted,
        "interval": bounds(compared.interval, scale),
        "lift_interval": bounds(compared.lift_interval),
        "fixed": once,
        "always_valid": _always(line, plan, sums),
        "bayesian": None if line.best is None else {"best": line.best.best, "expected_loss": line.best.loss / scale},
    }


def _always(line: Line, plan: Plan, sums: Sums) -> Document:
    """The always-valid test alone, as if it were the only comparison."""
    compared, metric = line.comparison, line.comparison.metric
    mixture = plan.mixture(metric, compared.variant)
    shown = {"tau": None if mixture.tau is None else mixture.tau / metric.scale, "rho": mixture.rho}
    found: Document = {"p": compared.always_valid.p, "interval": None, "mixture": shown}
    if compared.estimate is not None and min(compared.n_control, compared.n_treatment) >= LEAST_USERS_PER_ARM:
        control, treatment = (sums[name][metric.id] for name in (plan.control, compared.variant))
        effect = watched(metric, control, treatment, compared.estimate.absolute())
        found["interval"] = bounds(look(effect, mixture, plan.alpha)[1], metric.scale)
    return found


def bounds(interval: Interval | None, scale: float = 1.0) -> list[float] | None:
    """Both ends, in the unit that people read; None where there is no interval yet."""
    if interval is None or not math.isfinite(interval.low + interval.high):
        return None
    return [interval.low / scale, interval.high / scale]
