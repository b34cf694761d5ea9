"""Which variant a user gets: a hash, equal to that of the GrowthBook SDKs (hashVersion 2).

A browser or another service that uses such an SDK with the same seed, weights and coverage shows the same
variant.

References
----------
GrowthBook, "Build your own SDK": hashing, bucket ranges. Fowler, Noll, Vo: FNV-1a.
"""

from __future__ import annotations

from collections.abc import Sequence

from config.definitions import Experiment, Namespace

BUCKETS = 10_000
NAMESPACE_BUCKETS = 1000
_OUTSIDE = 255
_PRIME = 0x01000193
_START = 0x811C9DC5
_MASK = 0xFFFFFFFF


def fnv1a32(text: str, state: int = _START) -> int:
    """32-bit FNV-1a over UTF-16 code units, as JavaScript's `charCodeAt` gives them.

    `state` goes on from a prefix that was hashed before.

    Examples
    --------
    >>> fnv1a32("a") == 0xE40C292C
    True
    """
    if text.isascii():
        for unit in text.encode():
            state = ((state ^ unit) * _PRIME) & _MASK
        return state
    packed = text.encode("utf-16-le", "surrogatepass")
    for low, high in zip(packed[::2], packed[1::2], strict=True):
        state = ((state ^ (low | high << 8)) * _PRIME) & _MASK
    return state


def bucket_table(weights: Sequence[float], coverage: float) -> bytes:
    """Variant index of each of the 10,000 buckets, 255 for those outside the experiment.

    Variant i covers the first `coverage` of its stretch of the weights. Bounds are summed as floats in the
    order that the SDKs use, because a bucket may lie exactly on one.
    """
    table = bytearray([_OUTSIDE]) * BUCKETS
    cumulative = 0.0
    ranges = []
    for weight in weights:
        ranges.append((cumulative, cumulative + coverage * weight))
        cumulative += weight
    for bucket in range(BUCKETS):
        position = bucket / BUCKETS
        for index, (start, end) in enumerate(ranges):
            if start <= position < end:
                table[bucket] = index
                break
    return bytes(table)


def in_namespace(user: str, namespace: Namespace) -> bool:
    """Whether a user lies in a stretch of a namespace (hashed apart from the variants, in thousandths).

    Examples
    --------
    >>> from config.definitions import Namespace
    >>> half = Namespace.model_validate({"id": "checkout", "from": 0.0, "to": 0.5})
    >>> [in_namespace(user, half) for user in ("u1", "u2", "u3")]
    [False, True, True]
    """
    place = fnv1a32(f"{user}__{namespace.id}") % NAMESPACE_BUCKETS / NAMESPACE_BUCKETS
    return namespace.start <= place < namespace.end


class Assigner:
    """Assignment for one experiment, with everything worked out that does not depend on the user.

    Parameters
    ----------
    experiment : its seed, variants, coverage, namespace, testers and the roll-out's step decide, nothing else.

    Notes
    -----
    About 10 KB. One call is two short hashes and one look-up, no allocation that lasts.

    Examples
    --------
    >>> from config.definitions import Experiment
    >>> arms = [{"id": "a", "weight": 0.5}, {"id": "b", "weight": 0.5}]
    >>> metric = {"id": "m", "event": "Order Completed", "within": "7d"}
    >>> test = {"id": "x", "variants": arms, "expose_on": "message", "metrics": [metric]}
    >>> assigner = Assigner(Experiment.model_validate(test))
    >>> [assigner.variant(user) for user in ("u1", "u2", "u3", "u4")]
    ['a', 'a', 'a', 'b']
    """

    __slots__ = ("_namespace", "_prefix", "_table", "_testers", "_variants")

    def __init__(self, experiment: Experiment) -> None:
        self._prefix = fnv1a32(experiment.seed)
        self._table = bucket_table(experiment.shares, experiment.coverage)
        self._variants = tuple(variant.id for variant in experiment.variants)
        self._testers = experiment.testers
        self._namespace = experiment.namespace

    def variant(self, user: str) -> str | None:
        """Variant of the user; None for users who take no part (coverage, namespace)."""
        if not user:
            # The SDKs leave users without an id out.
            return None
        if self._testers and user in self._testers:
            return self._testers[user]
        if self._namespace is not None and not in_namespace(user, self._namespace):
            return None
        bucket = fnv1a32(str(fnv1a32(user, self._prefix))) % BUCKETS
        index = self._table[bucket]
        return None if index == _OUTSIDE else self._variants[index]
