"""SIGTERM and SIGHUP as Ctrl-C: once, and only within the block."""

import os
import signal
from collections.abc import Iterator

import pytest

from services.embedded.signals import interrupted_by_signals

NUMBERS = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _ours_again() -> Iterator[None]:
    # From the start: whoever starts the tests with `nohup` has SIGHUP ignored.
    before = {number: signal.signal(number, signal.SIG_DFL) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_interrupts_and_the_second_is_ignored(number: signal.Signals) -> None:
    done: list[str] = []

    def work() -> None:
        try:
            os.kill(os.getpid(), number)
            done.append("went on")
        finally:
            for again in NUMBERS:
                os.kill(os.getpid(), again)
            done.append("cleaned up")

    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        work()
    assert done == ["cleaned up"]


def test_afterwards_everything_is_as_before() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    with interrupted_by_signals():
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]
    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM] * 2


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    with interrupted_by_signals():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
