"""What the page is told of the latest events."""

from models.chunk import Batch
from models.forward import departing
from models.profile.state import Profile
from models.wire import Input, Record, decode
from streams.metrics import DecideMeter
from support.identities import alias
from support.lane import BROKER_MS, LaneRig, ms, shipped

AT = ms("2010-03-01 10:00")


def test_an_alias_is_told_and_the_record_of_a_merge_is_not() -> None:
    came = departing("anon", Profile(events=1), "ben", 0, AT, "x")
    records = [Record(0, BROKER_MS, b"ben", came.value, came.headers), Record(1, BROKER_MS, b"", alias("a", "b", AT))]
    inputs = [decode(record, "profiles", 0) for record in records]
    rig, meter = LaneRig(shipped()), DecideMeter()
    rig.feed("profiles", alias("a", "b", AT))
    batch = Batch(0, 1, inputs=[event for event in inputs if isinstance(event, Input)])
    meter.committed(0, batch, rig.done[-1], ())
    (told,) = meter.take_tails()["events"]
    assert (told["text"], told["ts"], told["user"]) == ("alias", AT, "a")
