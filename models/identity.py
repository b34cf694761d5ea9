"""Two users turn out to be one: a profile goes to the other id's lane, and a redirect stays. See docs/identity.md.

An alias is applied where the profile lies that is given up. It goes to the other lane as an internal record through the
outbox, like any record of another lane: once, in order, before all that is forwarded behind it. Also within one lane,
so that there is one way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import churn
from models.campaigns import run as campaigns
from models.decisions import Cause, effect_id
from models.errors import IncompatibleSnapshotError
from models.experiments.unite import unite
from models.forward import Hop, departing, departure_of, hops_of
from models.forward import redirected as forwarded
from models.profile import dedupe
from models.profile.codec import decode_profile
from models.profile.merge import merge
from models.profile.moved import Moved
from models.profile.state import Profile
from models.wire import ALIASED, Input, lane_of

if TYPE_CHECKING:
    from models.decide import Turn

MAX_HOPS = 64
LOOK_AGAIN_MS = 2 * 86_400_000


def changed(turn: Turn, profile: Profile, event: Input) -> None:
    """An alias of this user, or a profile that comes to be merged into this one."""
    if event.type == ALIASED:
        _leave(turn, profile, event)
    else:
        _join(turn, profile, event)


def _leave(turn: Turn, profile: Profile, event: Input) -> None:
    """Send the profile away and leave a redirect; a user of whom nothing is known leaves only that."""
    user, to, out = event.user, event.named_user(), turn.out
    if to == user:
        return  # it came through a redirect: they are one already
    for alert in [alert for alert in turn.alerts if alert.user == user]:  # of before, in this batch
        turn.alerts.remove(alert)
        campaigns.on_alert(turn, profile, alert)
    redirect = Moved(
        to=to, at=event.at, seen=profile.seen, seen_before=profile.seen_before, seen_since=profile.seen_since
    )
    if profile.events:
        profile.indexed_due_ms = 0
        ident = effect_id("identity", "merge", user, event.message_id)
        out.forwards.append(departing(user, profile, to, lane_of(to, turn.batch.lanes), event.at, ident))
    turn.rows[:] = [row for row in turn.rows if row.profile is not profile]  # the score is that of who they are now
    out.profiles.pop(user, None)
    turn.profiles[user] = None
    turn.profiles.moved[user] = out.moved[user] = redirect
    out.offers[user] = None
    _look_again(turn, user, redirect)


def _look_again(turn: Turn, user: str, redirect: Moved) -> None:
    """Have the ids forgotten when they are old enough."""
    redirect.indexed_due_ms = 0
    if redirect.seen or redirect.seen_before:
        redirect.indexed_due_ms = max(turn.lane.watermark, redirect.at) + LOOK_AGAIN_MS
    turn.out.due[user] = redirect.indexed_due_ms


def silent(turn: Turn, user: str) -> None:
    """A user without profile is due: nobody, or a redirect that may forget ids."""
    redirect = turn.profiles.moved.get(user)
    if redirect is None:
        turn.out.due[user] = 0
        return
    dedupe.rotate(redirect, turn.batch.broker_ms)
    turn.out.moved[user] = redirect
    _look_again(turn, user, redirect)


def redirected(turn: Turn, event: Input) -> Profile | None:
    """An event of somebody who is called otherwise now: forward it. Aliases may run in a circle, records may not.

    Returns
    -------
    A new profile, if the circle is closed here and this is where it is broken: the alias that happened last has no
    effect, in whatever order they came. Else None.
    """
    user, batch, lane, out = event.user, turn.batch, turn.lane, turn.out
    redirect = turn.profiles.moved[user]
    hops, here = hops_of(event), (user, redirect.to, redirect.at)
    if here in hops:
        if max(hops[hops.index(here) :], key=_latest) == here:
            return _revive(turn, event, redirect)
    else:
        if dedupe.is_duplicate(redirect, event.digest, event.record.broker_ms):
            lane.duplicate += 1
            return None
        lane.dedupe_overflow += dedupe.overflow(redirect)
        out.moved[user] = redirect
        if not redirect.indexed_due_ms:
            _look_again(turn, user, redirect)
        if event.type == ALIASED and event.named_user() == redirect.to:
            lane.applied += 1  # said before
            return None
        hops = [hop for hop in hops if hop[0] != user] + [here]
        if len(hops) > MAX_HOPS:
            lane.rejected += 1
            out.reject(batch, event, "misrouted", f"merged {MAX_HOPS} times over and still not there")
            return None
    lane.forwarded += 1
    out.forwards.append(forwarded(event, lane_of(redirect.to, batch.lanes), redirect.to, hops))
    return None


def _latest(hop: Hop) -> tuple[int, str]:
    return hop[2], hop[0]


def _revive(turn: Turn, event: Input, redirect: Moved) -> Profile:
    """The user is one again; what was known of them is on its way round the circle.

    So are the ids seen. Those that the redirect knows are of records that went on, and come back.
    """
    user = event.user
    since = event.record.broker_ms // 1000
    profile = turn.profiles[user] = Profile(seen_since=since, indexed_due_ms=redirect.indexed_due_ms)
    del turn.profiles.moved[user]
    turn.out.moved.pop(user, None)
    return profile


def _join(turn: Turn, profile: Profile, event: Input) -> None:
    """Merge what comes into the profile; counters, waits and the score follow."""
    user, out, brain = event.user, turn.out, turn.brain
    try:
        told, packed = departure_of(event.record.value)
        source = decode_profile(packed)
    except IncompatibleSnapshotError as error:
        raise ValueError(str(error)) from error  # this record is at fault, not what is stored here
    both = merge(profile, source, user, brain.session_gap_ms)
    trials = brain.trials.values()
    unite(out, trials, profile.open_trials(), source.open_trials(), both.open_trials(), user)
    for row in turn.rows:
        if row.profile is profile:
            row.profile = both
    turn.profiles[user] = out.profiles[user] = both
    campaigns.reconsider(turn, user, both)
    campaigns.forget_sends(turn, both)
    _score(turn, user, both, (profile, source), Cause("event", event.message_id, "merge", told.merged_at))


def _score(turn: Turn, user: str, profile: Profile, halves: tuple[Profile, Profile], cause: Cause) -> None:
    """An order of either half answers the examples of both; the score is renewed, the ticks are those of this id."""
    rules = turn.brain.definitions.churn
    for half in halves:
        if half.orders:
            churn.returned(profile, half.first_order * 1000, rules)
            churn.returned(profile, half.last_order_ms, rules)
    at, before = max(cause.at, profile.last_seen_ms), profile.tick_due
    churn.schedule(profile, churn.slot_of(user), max(at, turn.watermark_before), rules)
    if before and not 0 < profile.tick_due < before:
        profile.tick_due = before
    if profile.orders:
        turn.rows.append(churn.row_of(user, profile, at, cause, rules))
