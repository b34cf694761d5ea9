"""Move a lane on over records that the log does not hold any more, because an operator said so."""

from __future__ import annotations

from collections.abc import Mapping

from config.topics import INPUT_NAMES
from models.lane import decode_fence, decode_state
from services.state.step import SKIP, marking
from services.state.store import Change


def skipped(fence: bytes | None, state: bytes | None, lane: int, offsets: Mapping[str, int], epoch: int) -> Change:
    """Next transaction of a lane whose inputs go on at `offsets`; what lies between is lost, and the journal says so.

    Parameters
    ----------
    offsets : input -> next offset; inputs that are left out stay. epoch : above any published one.
    """
    inputs = len(INPUT_NAMES)
    before, found = decode_fence(fence, inputs), decode_state(state, inputs)
    places = {INPUT_NAMES.index(name): offset for name, offset in offsets.items()}
    after = before.step(places)
    found.epoch = max(found.epoch + 1, epoch)
    sources = [(INPUT_NAMES[index], before.offsets[index], offset) for index, offset in sorted(places.items())]
    return marking(lane, SKIP, found, after, sources=sources)[0]
