"""Work out a transaction on which the core fails: without the record, or without the timers, that it fails on.

Pure like the core itself: the same state and batch always give the same answer. What was left out stands in the journal
(`failed`, `parked`), so the audit leaves out the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from models.brain import Brain
from models.chunk import Batch, fail
from services.state.step import Done
from services.state.store import Loaded

Work = Callable[[Loaded, Sequence[str], Batch, Brain, Sequence[int]], Done]


def mend(
    work: Work,
    loaded: Loaded,
    users: Sequence[str],
    batch: Batch,
    brain: Brain,
    published: Sequence[int],
    fault: Exception,
) -> Done:
    """Call `work` with as little left out of `batch` as makes it succeed; `batch` says what that was.

    Parameters
    ----------
    work : :func:`services.state.step.work`, which raised `fault`. The rest are its arguments.

    Raises
    ------
    Exception
        It fails even with nothing but ticks and refused records in it.

    Notes
    -----
    First all timers are put aside: if it still fails, the record is at fault and goes; then the timers come back, and
    those at fault are found by halving. About 2 k log2(n) calls for k of n users.
    """
    batch.fault = repr(fault)
    due = tuple(loaded.due)

    def works(parked: tuple[str, ...]) -> Done | None:
        batch.parked = parked
        try:
            return work(loaded, users, batch, brain, published)
        except Exception:  # noqa: BLE001 - a fault of the core is what this is about
            return None

    def at_fault(some: tuple[str, ...]) -> tuple[str, ...]:
        """Those of `some` whose timers make it fail; all others are put aside meanwhile."""
        if works(tuple(user for user in due if user not in set(some))) is not None:
            return ()
        if len(some) == 1:
            return some
        half = len(some) // 2
        return at_fault(some[:half]) + at_fault(some[half:])

    if works(due) is None:
        if not batch.inputs:
            raise fault
        fail(batch, batch.fault)
        if works(due) is None:
            raise fault
    done = works(at_fault(due) if due else ())
    # Timers that fail only together with others: then all of them.
    done = done if done is not None else works(due)
    assert done is not None
    return done
