"""Counters of an experiment, written short: what tests of readers begin with."""

from collections.abc import Mapping

from models.experiments.fields import limbs, prefix

DAY = 14_670


def counted(short: Mapping[str, int], day: int = DAY) -> dict[str, int]:
    """Counters of one day's cohort.

    `short`: "a:exposed" for users, "a:clicked:users" for those with the event, "a:revenue:sum" and "a:revenue:sumsq".
    """
    found: dict[str, int] = {}
    for name, value in short.items():
        variant, metric, part = (*name.split(":"), "")[:3] if name.count(":") == 1 else name.split(":")
        if metric == "exposed":
            found |= limbs(prefix(day, "", variant) + "n", value)
            continue
        if part == "users" and f"{variant}:{metric}:sum" in short:
            continue
        for field in {"users": ("a", "aa"), "sum": ("a",), "sumsq": ("aa",)}[part]:
            found |= limbs(f"{prefix(day, '', variant)}{metric}|{field}", value)
    return found
