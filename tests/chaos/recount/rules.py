"""What the marketers wrote, read from the YAML files as they are: nothing of Kairos's own loader."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_CLAUSE = re.compile(r"user\.(\w+)\s*(==|>=|<=|>|<)\s*([\d.]+)$")
BUCKETS = 10_000


def ms(text: str) -> int:
    """Milliseconds of a duration.

    Examples
    --------
    >>> ms("24h"), ms("7d")
    (86400000, 604800000)
    """
    found = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text)
    assert found is not None, text
    return int(found[1]) * _UNITS[found[2]]


def fnv(text: str) -> int:
    """32-bit FNV-1a of ASCII text."""
    state = 0x811C9DC5
    for unit in text.encode("ascii"):
        state = ((state ^ unit) * 0x01000193) & 0xFFFFFFFF
    return state


@dataclass(slots=True)
class Campaign:
    """A campaign, with the defaults of docs/campaigns.md."""

    id: str
    trigger: dict[str, Any]
    channel: str
    marketing: bool
    when: str
    cart: bool
    experiment: str | None
    cap: tuple[int, int] | None
    quiet: str
    priority: int
    expires_ms: int
    after_ms: int
    unless: tuple[str, ...]

    @classmethod
    def read(cls, tree: dict[str, Any]) -> Campaign:
        """From its file."""
        trigger, cap = tree["trigger"], tree.get("cap")
        return cls(
            tree["id"],
            trigger,
            tree["channel"],
            tree.get("purpose", "marketing") == "marketing",
            tree.get("when", ""),
            tree.get("items") == "cart",
            tree.get("experiment"),
            (cap["max"], ms(cap["per"])) if cap else None,
            tree.get("quiet_hours", "hold"),
            tree.get("priority", 0),
            ms(tree.get("expires_after", "24h")),
            ms(trigger["after"]) if "after" in trigger else 0,
            tuple(trigger.get("unless", ())),
        )

    def holds(self, orders: int) -> bool:
        """Whether `when` is true for a user with so many orders (no campaign asks for more than that)."""
        for clause in self.when.split("&&") if self.when else ():
            found = _CLAUSE.match(clause.strip())
            if found is None or found[1] != "orders":
                raise NotImplementedError(f"the recount cannot read `{self.when}`")
            limit = float(found[3])
            said = {
                "==": orders == limit,
                ">=": orders >= limit,
                "<=": orders <= limit,
                ">": orders > limit,
                "<": orders < limit,
            }
            if not said[found[2]]:
                return False
        return True


@dataclass(slots=True)
class Metric:
    """What an experiment counts after an exposure. `below`: the event below the line of a ratio. `cap` in pence."""

    id: str
    event: str
    within_ms: int
    kind: str
    value: str | None
    below: str | None
    campaign: str | None
    cap: int | None
    covariate: str | None

    @classmethod
    def read(cls, tree: dict[str, Any]) -> Metric:
        """From its line."""
        kind = tree.get("kind", "proportion")
        value = tree.get("value", "revenue" if kind == "revenue" else None)
        assert kind != "mean"
        assert value in {None, "revenue"}
        assert "denominator_value" not in tree
        cap = tree.get("cap")
        return cls(
            tree["id"],
            tree["event"],
            ms(tree["within"]),
            kind,
            value,
            tree.get("denominator_event"),
            tree.get("campaign"),
            None if cap is None else round(cap * (100 if value else 1)),
            tree.get("covariate"),
        )


@dataclass(slots=True)
class Experiment:
    """A running test."""

    id: str
    seed: str
    variants: list[tuple[str, float]]
    expose_on: str | None
    metrics: list[Metric]
    dimensions: list[tuple[str, list[str]]]
    refund_ms: int
    lateness_ms: int

    @classmethod
    def read(cls, tree: dict[str, Any]) -> Experiment:
        """From its file."""
        on = tree["expose_on"]
        assert tree.get("coverage", 1.0) == 1.0
        assert not {"when", "namespace", "testers", "start", "end", "rollout", "version"} & tree.keys()
        dimensions = [
            (one, ["new", "returning"]) if one == "new_returning" else (one["id"], one["values"])
            for one in tree.get("dimensions", [])
        ]
        return cls(
            tree["id"],
            tree.get("seed", tree["id"]),
            [(one["id"], one["weight"]) for one in tree["variants"]],
            None if on == "message" else on["event"],
            [Metric.read(metric) for metric in tree["metrics"]],
            dimensions,
            ms(tree.get("refund_window", "0d")),
            ms(tree.get("lateness", "1d")),
        )

    def variant(self, user: str) -> str:
        """Variant of a user, as GrowthBook's SDKs choose it (hash version 2)."""
        place = fnv(str(fnv(self.seed + user))) % BUCKETS / BUCKETS
        start = 0.0
        for name, weight in self.variants:
            if start <= place < start + weight:
                return name
            start += weight
        raise AssertionError(user)


@dataclass(slots=True)
class Rules:
    """Everything that the recount needs to know."""

    campaigns: list[Campaign]
    experiments: list[Experiment]
    caps: list[tuple[int, int]]
    night: tuple[int, int]
    zone: str
    session_gap_ms: int
    offers_on: frozenset[str]
    alert_at: float
    cool_down_ms: int
    eligible_ms: int
    min_orders: int
    action: str

    @property
    def memory_ms(self) -> int:
        """How far back sends count for any cap, for an event as late as one may be."""
        windows = [per for _, per in [*self.caps, *(c.cap for c in self.campaigns if c.cap)]]
        return max(windows) + max(c.expires_ms for c in self.campaigns)


def read_rules(folder: Path) -> Rules:
    """Read the folder `config/`."""
    yaml = YAML(typ="safe")
    campaigns = [Campaign.read(yaml.load(path)) for path in sorted(folder.glob("campaigns/*.yaml"))]
    policy, churn = yaml.load(folder / "policy.yaml"), yaml.load(folder / "churn.yaml")
    start, end = (int(text[:2]) * 60 + int(text[3:]) for text in (policy["quiet_hours"][k] for k in ("from", "to")))
    return Rules(
        sorted(campaigns, key=lambda one: (-one.priority, one.id)),
        [Experiment.read(yaml.load(path)) for path in sorted(folder.glob("experiments/*.yaml"))],
        [(cap["max"], ms(cap["per"])) for cap in policy["frequency_caps"]],
        (start, end),
        policy["default_timezone"],
        ms(policy["session_gap"]),
        frozenset(policy["offers"]["decide_on"]),
        churn["alert_at"],
        ms(churn["cool_down"]),
        ms(churn["eligible_within"]),
        churn["min_orders"],
        churn["action"]["campaign"],
    )
