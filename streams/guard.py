"""Stop a worker that would drain its topics into dead-letters: the limit that a bad deploy runs into.

A record that the core fails on is a fault of Kairos, and one such record goes to dead-letters alone. Many of them are a
deploy that must be taken back, and every further letter would only have to be sent again. A fault of a producer is none
of this: its records are refused by their reason for as long as it likes, and the others' records go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from models.errors import DeadLetterLimitError

BUCKETS = 10


@dataclass(frozen=True, slots=True)
class DeadLetterPolicy:
    """When to stop.

    Parameters
    ----------
    share : of the records in the window. window : so many records; a count, so that the limit means the same at one
        event a second and at twenty thousand.
    users : at least so many users have to be hit: one broken client that repeats its record stops nobody.
    in_a_row : records refused for whatever reason, of so many users, and none applied between them.
    """

    share: float = 0.01
    window: int = 10_000
    users: int = 20
    in_a_row: int = 1_000


@dataclass(slots=True)
class _Bucket:
    records: int = 0
    hit: set[str] = field(default_factory=set)


class DeadLetterGuard:
    """Counts over the last records of a worker.

    Examples
    --------
    >>> guard = DeadLetterGuard(DeadLetterPolicy(share=0.1, window=100, users=2))
    >>> guard.committed(5, [])
    >>> guard.failed(["anna"]); guard.failed(["anna"]); guard.failed(["anna"])
    >>> guard.failed(["ben"])
    Traceback (most recent call last):
    ...
    models.errors.DeadLetterLimitError: ... of 2 users among the last 6 records ...
    """

    def __init__(self, policy: DeadLetterPolicy | None = None) -> None:
        self.policy = policy or DeadLetterPolicy()
        self._window: deque[_Bucket] = deque([_Bucket()], maxlen=BUCKETS)
        self._refused = 0
        self._refused_keys: set[str] = set()

    def committed(self, applied: int, refused: Iterable[str]) -> None:
        """A batch was committed: `applied` records, and the keys of the refused ones."""
        keys = list(refused)
        self._count(applied + len(keys))
        if applied:
            self._refused = 0
            self._refused_keys.clear()
        if keys:
            self._refused += len(keys)
            self._refused_keys.update(keys[: self.policy.users])

    def failed(self, users: Iterable[str]) -> None:
        """The core failed on a record, or on the timers, of these users; nothing of it is committed yet.

        Raises
        ------
        DeadLetterLimitError
            That is one too many: the record stays in its topic, and the worker has to end.
        """
        self._window[-1].hit.update(users)
        hit: set[str] = set().union(*(bucket.hit for bucket in self._window))
        records = sum(bucket.records for bucket in self._window) + 1
        policy = self.policy
        if len(hit) >= policy.users and len(hit) > policy.share * records:
            raise DeadLetterLimitError(
                f"the core failed on records of {len(hit)} users among the last {records} records (limit: "
                f"{policy.users} users and {policy.share:.1%}): this looks like a bad deploy. The worker stops rather "
                "than drain its topics into dead-letters; nothing is lost. Take the deploy back, or mend it; then "
                "`kairos dead-letters redrive --reason failed`. (KAIROS_DEAD_LETTER_SHARE, KAIROS_DEAD_LETTER_USERS)"
            )

    def refuses_everything(self) -> str:
        """Why the worker has to end, where nothing at all is accepted any more; else nothing."""
        policy = self.policy
        if self._refused <= policy.in_a_row or len(self._refused_keys) < policy.users:
            return ""
        return (
            f"{self._refused} records of many users were refused in a row and none was applied: see `kairos "
            "dead-letters`. Was something deployed, here or at a producer? (KAIROS_DEAD_LETTER_LIMIT)"
        )

    def _count(self, records: int) -> None:
        last = self._window[-1]
        if last.records >= self.policy.window / BUCKETS:
            last = _Bucket()
            self._window.append(last)
        last.records += records
