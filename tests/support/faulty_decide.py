"""`python -m support.faulty_decide`: the role decide, whose core breaks on a marked event and on some users' timers."""

import sys
from typing import Any

from models import decide
from streams.__main__ import main

MARKED = "the-core-breaks-here"
UNLUCKY = frozenset(("u5", "u6", "u7", "u8", "u9"))
_apply, _fire = decide._apply, decide._fire


def _break_if_marked(turn: Any, profile: Any, event: Any) -> None:
    _apply(turn, profile, event)  # first: half of the batch is changed in memory when it breaks
    if event.properties.order_id == MARKED:
        raise ZeroDivisionError(MARKED)


def _break_if_unlucky(turn: Any, user: str, profile: Any, watermark: int) -> None:
    _fire(turn, user, profile, watermark)
    if user in UNLUCKY:
        raise ZeroDivisionError(user)


if __name__ == "__main__":
    decide._fire = _break_if_unlucky
    decide._apply = _break_if_marked
    sys.argv = [sys.argv[0], "decide"]
    main()
