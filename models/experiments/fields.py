"""How counters of an experiment are named and how numbers of any size lie in them.

Redis counts in 64 bits and refuses to go beyond them in the middle of a transaction. A user's square alone may have 80
(:data:`VALUE_LIMIT`), so a change is cut into limbs of 26 bits, each in a counter of its own: it takes 2^35 changes of
one counter by the largest value there is until one of them is full.

    14975||general|n                                 users of day 14975 (since 1970) in variant general
    14975||general|revenue|a                         sum of their outcome; aa: of its square
    14975|country=Germany|general|revenue|aa^1       of those from Germany, second limb
    w|0.5,0.5                                        users who were exposed while these weights were in force
    w|0.3,0.7|step=2                                 the same of a bandit, with the version of its shares
    14975|step=2|general|n                           users of a day who came by this version (or step of a roll-out)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

VALUE_LIMIT = 10**12  # counted units that one user can bring a metric
DAY_MS = 86_400_000
LIMB_BITS = 26
_LIMB = 1 << LIMB_BITS
_LIMBS = 3

USERS = "n"
WEIGHTS = "w|"
MISMATCH = "mismatch|"
LATE = "late"
TWICE = "twice=yes"
STEP = "step="

# Sums of one metric, by what it has: outcome a (or numerator a, denominator b), covariate x, missing indicator m.
SUMS: dict[tuple[bool, bool], tuple[str, ...]] = {
    (False, False): ("a", "aa"),
    (True, False): ("a", "aa", "b", "ab", "bb"),
    (False, True): ("a", "aa", "ax", "am", "x", "xx", "m"),
    (True, True): ("a", "aa", "b", "ab", "bb", "ax", "am", "bx", "bm", "x", "xx", "m"),
}


def counter_key(experiment: str) -> str:
    """Counter hash of an experiment, by :attr:`config.experiment.Experiment.key`."""
    return f"exp:{experiment}"


def prefix(day: int, segment: str, variant: str) -> str:
    """What the names of a cohort's counters begin with."""
    return f"{day}|{segment}|{variant}|"


def limbs(name: str, value: int) -> Iterator[tuple[str, int]]:
    """A change as changes of 64-bit counters.

    Examples
    --------
    >>> list(limbs("aa", -5)), list(limbs("aa", 2**26 + 3)), list(limbs("aa", 2**80))
    ([('aa', -5)], [('aa', 3), ('aa^1', 1)], [('aa^2', 268435456)])
    """
    sign = -1 if value < 0 else 1
    rest = abs(value)
    for number in range(_LIMBS):
        part = rest if number == _LIMBS - 1 else rest & (_LIMB - 1)
        rest >>= LIMB_BITS
        if part:
            yield (f"{name}^{number}" if number else name), sign * part
        if not rest:
            return


def whole(counts: Mapping[str, int], name: str) -> int:
    """The number that lies in the limbs of a counter.

    Examples
    --------
    >>> whole(dict(limbs("aa", 10**24 - 1)), "aa") == 10**24 - 1
    True
    """
    found = counts.get(name, 0)
    for number in range(1, _LIMBS):
        found += counts.get(f"{name}^{number}", 0) << (LIMB_BITS * number)
    return found
