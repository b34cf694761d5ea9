"""`python -m support.hanging_decide`: the role decide, whose core never comes back from a marked event."""

import sys
import time
from typing import Any

from models import decide
from streams.__main__ import main

MARKED = "the-core-hangs-here"
_apply = decide._apply


def _hang_if_marked(turn: Any, profile: Any, event: Any) -> None:
    _apply(turn, profile, event)
    while event.properties.order_id == MARKED:
        time.sleep(1.0)


if __name__ == "__main__":
    decide._apply = _hang_if_marked
    sys.argv = [sys.argv[0], "decide"]
    main()
