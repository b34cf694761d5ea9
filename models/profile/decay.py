"""Exponentially decayed counters: views, adds, orders and spend, each at half-lives of 1, 7 and 30 days."""

from __future__ import annotations

import struct

from models.profile.state import Profile

HALF_LIVES_S = (86_400, 7 * 86_400, 30 * 86_400)
VIEWS, ADDS, ORDERS, SPEND = range(4)
_PACKED = struct.Struct("<12f")
_ZERO = (0.0,) * 12
_D1, _D7, _D30 = (-1.0 / half_life for half_life in HALF_LIVES_S)


def bump(profile: Profile, kind: int, amount: float, at: int) -> None:
    """Add `amount` that happened at second `at` to the three counters of `kind`.

    A late event is decayed by its own age, so that the order of arrival changes nothing (but rounding to 32 bits).
    """
    passed = at - profile.decayed_at
    i = 3 * kind
    if not profile.decayed:
        values = list(_ZERO)
    elif passed > 0:
        f1, f7, f30 = 2.0 ** (passed * _D1), 2.0 ** (passed * _D7), 2.0 ** (passed * _D30)
        # Written out: half the time of slices, and this runs on every view.
        v1, v7, v30, a1, a7, a30, o1, o7, o30, s1, s7, s30 = _PACKED.unpack(profile.decayed)
        values = [v1 * f1, v7 * f7, v30 * f30, a1 * f1, a7 * f7, a30 * f30]
        values += [o1 * f1, o7 * f7, o30 * f30, s1 * f1, s7 * f7, s30 * f30]
    else:
        values = list(_PACKED.unpack(profile.decayed))
    if passed > 0:
        profile.decayed_at = at
        values[i] += amount
        values[i + 1] += amount
        values[i + 2] += amount
    else:
        values[i] += amount * 2.0 ** (-passed * _D1)
        values[i + 1] += amount * 2.0 ** (-passed * _D7)
        values[i + 2] += amount * 2.0 ** (-passed * _D30)
    profile.decayed = _PACKED.pack(*values)


def total(one: Profile, other: Profile) -> tuple[int, bytes]:
    """Counters of both together, as of the later of their times."""
    held = [profile for profile in (one, other) if profile.decayed]
    at = max((profile.decayed_at for profile in held), default=max(one.decayed_at, other.decayed_at))
    sums = [0.0] * 12
    for profile in held:
        factors = [0.5 ** ((at - profile.decayed_at) / half_life) for half_life in HALF_LIVES_S]
        for i, value in enumerate(_PACKED.unpack(profile.decayed)):
            sums[i] += value * factors[i % 3]
    return at, _PACKED.pack(*sums) if held else b""


def forget(profile: Profile, at: int) -> None:
    """Drop the counters of which less than a thousandth is left at second `at`: ten half-lives without any event."""
    if not profile.decayed:
        return
    kept = [at - profile.decayed_at < 10 * half_life for half_life in HALF_LIVES_S]
    values = [value if kept[i % 3] else 0.0 for i, value in enumerate(_PACKED.unpack(profile.decayed))]
    profile.decayed = _PACKED.pack(*values) if any(values) else b""


def read_all(profile: Profile, at: int) -> list[float]:
    """All twelve counters as of second `at`: views, adds, orders and spend, each at the three half-lives."""
    if not profile.decayed:
        return list(_ZERO)
    passed = max(0, at - profile.decayed_at)
    factors = [2.0 ** (-passed / half_life) for half_life in HALF_LIVES_S]
    return [value * factors[i % 3] for i, value in enumerate(_PACKED.unpack(profile.decayed))]


def read(profile: Profile, kind: int, at: int) -> tuple[float, float, float]:
    """Counters of `kind` as of second `at`, one for each half-life.

    Examples
    --------
    >>> profile = Profile()
    >>> bump(profile, VIEWS, 1.0, 1_000_000)
    >>> round(read(profile, VIEWS, 1_000_000 + 86_400)[0], 3)
    0.5
    """
    if not profile.decayed:
        return 0.0, 0.0, 0.0
    values = _PACKED.unpack(profile.decayed)[3 * kind : 3 * kind + 3]
    passed = max(0, at - profile.decayed_at)
    first, second, third = (v * 0.5 ** (passed / h) for v, h in zip(values, HALF_LIVES_S, strict=True))
    return first, second, third
