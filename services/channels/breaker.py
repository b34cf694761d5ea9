"""A circuit breaker per provider: a dead one is left alone and probed, not knocked at by thousands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to open and for how long.

    Parameters
    ----------
    failures : so many in a row open it.
    open_s : first pause; it doubles with every failed probe, up to `open_max_s`.
    """

    failures: int = 5
    open_s: float = 1.0
    open_max_s: float = 60.0


class Breaker:
    """Closed -> (failures in a row) -> open -> (pause over) -> a probe -> closed, or open for twice as long.

    Time is an argument (seconds, monotonic), so that the same breaker runs in a test and in a replay.

    Examples
    --------
    >>> breaker = Breaker(BreakerPolicy(failures=2, open_s=10))
    >>> breaker.failed(0.0); breaker.failed(0.0); breaker.wait_s(1.0)
    9.0
    >>> breaker.wait_s(10.0), breaker.wait_s(10.0) > 0   # one probe; the next has to wait for its end
    (0.0, True)
    >>> breaker.succeeded(); breaker.wait_s(10.0)
    0.0
    """

    def __init__(self, policy: BreakerPolicy | None = None) -> None:
        self._policy = policy or BreakerPolicy()
        self._failures = 0
        self._pause_s = self._policy.open_s
        self._opens_at: float | None = None
        self.opened_total = 0

    @property
    def is_open(self) -> bool:
        """Whether calls are held back."""
        return self._opens_at is not None

    def wait_s(self, now: float) -> float:
        """Seconds to wait before asking again; 0 = go. While open, the one that gets 0 is the probe."""
        if self._opens_at is None:
            return 0.0
        if now < self._opens_at:
            return min(self._opens_at - now, self._pause_s)  # (now + pause) - now may be a little more
        # A probe that never reports back (its task was cancelled) must not keep the circuit open for ever.
        self._opens_at = now + self._pause_s
        return 0.0

    def succeeded(self) -> None:
        """Note that the provider answered (a refusal of one message is an answer, too)."""
        self._failures = 0
        self._pause_s = self._policy.open_s
        self._opens_at = None

    def failed(self, now: float) -> None:
        """Note that the provider was not there, or its answer was lost."""
        self._failures += 1
        if self._opens_at is not None:
            self._pause_s = min(self._pause_s * 2, self._policy.open_max_s)
        elif self._failures < self._policy.failures:
            return
        else:
            self.opened_total += 1
        self._opens_at = now + self._pause_s
