"""A record that was forwarded to a lane before that was divided is forwarded once more, and not for ever."""

from models.brain import Brain
from models.wire import Record, lane_of
from support.lane import LaneRig, ms, shipped, track

NOON = ms("2010-03-01 12:00")
POSITION = [("kairos-lane", b"1"), ("kairos-epoch", b"5"), ("kairos-seq", b"9"), ("kairos-n", b"0")]


def forwarded(user: str) -> Record:
    headers = [*POSITION, ("kairos-origin", b"clickstream-1-7")]
    return Record(0, 0, user.encode(), track("Product Viewed", user, NOON), headers)


def user_of(lane: int) -> str:
    return next(user for number in range(1000) if lane_of(user := f"u{number}", 8) == lane)


def test_it_goes_to_the_lane_that_was_divided_off() -> None:
    rig = LaneRig(Brain(shipped()), lane=1, lanes=8)
    rig.feed("clickstream", forwarded(user_of(5)))
    sent = [output for output in rig.published.outputs if output.topic == "clickstream"]
    assert [(output.partition, dict(output.headers)["kairos-origin"]) for output in sent] == [(5, b"clickstream-1-7")]
    assert (rig.state.forwarded, rig.state.rejected) == (1, 0)


def test_and_nowhere_else() -> None:
    for lane, other in ((1, 2), (5, 1), (1, 6)):
        rig = LaneRig(Brain(shipped()), lane=lane, lanes=8)
        published = rig.feed("clickstream", forwarded(user_of(other)))
        assert [letter["reason"] for letter in published.on("dead-letters")] == ["misrouted"]
        assert (rig.state.forwarded, rig.state.rejected) == (0, 1)
