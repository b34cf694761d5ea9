"""Records that another lane forwarded: each is taken once, whatever the order of their event times."""

from models.wire import Record, lane_of
from support.lane import LaneRig, order, shipped, track

AT = 1_262_304_000_000
USER = next(f"u{number}" for number in range(100) if lane_of(f"u{number}", 2) == 0)


def forwarded(n: int, value: bytes) -> Record:
    place = (("lane", 1), ("epoch", 5), ("seq", 3), ("n", n), ("origin", n))
    return Record(0, 0, USER.encode(), value, [(f"kairos-{name}", str(given).encode()) for name, given in place])


def test_late_ones_in_a_merged_batch_are_taken() -> None:
    rig = LaneRig(shipped(), lanes=2)
    late_last = [forwarded(0, order(USER, AT + 9_000)), forwarded(1, order(USER, AT + 1_000, mid="earlier"))]
    start, end = rig.write("purchases", *late_last)
    other = rig.write("clickstream", track("Product Viewed", USER, AT))
    rig.merged([("purchases", start, end), ("clickstream", *other)])  # applied in the order of event time
    assert rig.profile(USER).orders == 2
    assert rig.state.duplicate == 0


def test_published_again_they_are_duplicates() -> None:
    rig = LaneRig(shipped(), lanes=2)
    records = [forwarded(0, order(USER, AT)), forwarded(1, order(USER, AT + 1))]
    rig.feed("purchases", *records)
    rig.feed("purchases", *records)
    assert rig.profile(USER).orders == 2
    assert (rig.state.applied, rig.state.duplicate, rig.state.balances()) == (2, 2, True)
