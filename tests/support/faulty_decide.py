"""`python -m support.faulty_decide`: the role decide, whose core breaks in the middle of one marked event."""

import sys
from typing import Any

from models import decide
from streams.__main__ import main

MARKED = "the-core-breaks-here"
_apply = decide._apply


def _break_if_marked(turn: Any, profile: Any, event: Any) -> None:
    _apply(turn, profile, event)  # first: half of the batch is changed in memory when it breaks
    if event.properties.order_id == MARKED:
        raise ZeroDivisionError(MARKED)


if __name__ == "__main__":
    decide._apply = _break_if_marked
    sys.argv = [sys.argv[0], "decide"]
    main()
