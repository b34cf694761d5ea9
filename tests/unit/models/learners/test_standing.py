"""Places of the models: the rule of a promotion, and the way back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from models.errors import ConfigurationError
from models.learners.contest import Comparison
from models.learners.standing import KEPT_CHANGES, NotProvenError, Standing, told, unproven

GOOD = Comparison(champion=0, shadow=2, examples=900, positives=300, groups=64, difference=0.02, low=0.01, high=0.03)


def found(**changes: Any) -> Comparison:
    return msgspec.structs.replace(GOOD, **changes)


def tried() -> Standing:
    return Standing().with_shadow(2, 1_000, "trained")


def test_a_proven_shadow_is_promoted_and_comes_back() -> None:
    after = tried().promoted(GOOD, 2_000)
    assert (after.champion, after.shadow, after.former) == (2, 0, (0,))
    assert after.changes[-1].reason == told(GOOD)
    assert not after.changes[-1].forced
    back = after.rolled_back(3_000, "alerts doubled")
    assert (back.champion, back.shadow, back.former) == (0, 2, ())
    assert [change.what for change in back.changes] == ["shadow", "promote", "rollback"]
    with pytest.raises(ConfigurationError, match="nothing to go back to"):
        back.rolled_back(4_000)


@pytest.mark.parametrize(
    ("comparison", "reason"),
    [
        (None, "has not compared"),
        (found(shadow=1), "has not compared"),
        (found(champion=1), "has not compared"),
        (found(refused="damaged"), "could not load it: damaged"),
        (found(examples=499), "499 labelled examples"),
        (found(positives=19), "19 of the rarer label"),
        (found(positives=890), "10 of the rarer label"),
        (found(groups=29), "29 of 64 groups"),
        (found(low=0.0), "not significant"),
        (found(low=-0.01), "not significant"),
        (found(difference=-0.02, low=-0.03, high=-0.01), "not significant"),
        (found(low=None, high=None), "not significant"),
    ],
)
def test_what_is_not_proven_is_refused_unless_forced(comparison: Comparison | None, reason: str) -> None:
    standing = tried()
    assert reason in unproven(standing, comparison)
    with pytest.raises(NotProvenError, match=reason):
        standing.promoted(comparison, 2_000)
    forced = standing.promoted(comparison, 2_000, force=True)
    assert forced.champion == 2
    assert forced.changes[-1].forced
    assert reason in forced.changes[-1].reason


def test_there_must_be_a_shadow_that_is_not_the_champion() -> None:
    with pytest.raises(ConfigurationError, match="no shadow"):
        Standing().promoted(GOOD, 1, force=True)
    with pytest.raises(ConfigurationError, match="online serves already"):
        Standing().with_shadow(0, 1)
    assert tried().with_shadow(None, 2).shadow is None


def test_changes_are_kept_within_bounds() -> None:
    standing = Standing()
    for number in range(KEPT_CHANGES + 9):
        standing = standing.with_shadow(number + 1, number)
    assert len(standing.changes) == KEPT_CHANGES
    assert msgspec.json.decode(msgspec.json.encode(standing), type=Standing) == standing
