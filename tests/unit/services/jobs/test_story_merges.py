"""A merge in a user's story."""

from models.forward import departing
from models.profile.state import Profile
from services.jobs.story import _line
from support.identities import alias
from support.lane import ms

AT = ms("2010-03-01 10:00")


def test_a_profile_that_came() -> None:
    came = departing("anon", Profile(events=1_200, orders=2, money_minor=1234), "ben", 0, AT, "x")
    line = _line("profiles", came.value, 0)
    assert line is not None
    assert (line.at, line.what, line.detail) == (AT, "Merged: anon", "1,200 events, 2 orders, 12.34")
    assert _line("profiles", b'{"type":"merge","userId":"ben"}', 0) is None


def test_the_alias_itself() -> None:
    line = _line("profiles", alias("anon", "ben", AT), 0)
    assert line is not None
    assert (line.at, line.what, line.detail) == (AT, "alias", "anon is ben")
