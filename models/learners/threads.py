"""How many cores a fit may take."""

from __future__ import annotations

from threadpoolctl import threadpool_limits


def one_thread() -> threadpool_limits:
    """Context in which scikit-learn keeps to one core.

    Workers share their machine: threads that wait for each other on two busy cores took 20 times as long as one alone.
    And sums of several threads may end in other bits from run to run, while learning is to depend on the examples.
    """
    return threadpool_limits(limits=1)
