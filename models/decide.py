"""The heart: apply one batch to the profiles it touches and decide what follows.

Pure: no I/O, no clock, no unseeded randomness. The same states, batch and brain always give the same outcome, which is
what lets the audit replay the log and compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models import churn, fairness, goals, identity
from models.brain import NO_PLAN, Brain, Plan
from models.campaigns import run as campaigns
from models.campaigns.view import user_view
from models.chunk import Batch, forwarded_again, origin_of
from models.decisions import BasketExample, Cause, ChurnAlert, effect_id
from models.experiments import count, fields
from models.experiments.trial import Before, Trial, known_before
from models.forward import onward
from models.lane import LaneState
from models.offers import answered, rankings
from models.offers.deciding import decide_offers
from models.offers.past import Past, past_of
from models.outcome import Outcome, ScoreRow, cause_of, timer_letter
from models.profile import dedupe, update
from models.profile.awaited import GoalSample
from models.profile.codec import encode_profile
from models.profile.opened import Opened
from models.profile.rest import rest
from models.profile.state import Profile, day_bought, times_bought
from models.wire import Input, lane_of

# So many events at a time: their profiles fit into the processor's nearest memory, and one matrix product still scores
# many of them.
SLICE = 128


@dataclass(slots=True)
class Turn:
    """One call of :func:`decide`. `before`: known before the event at hand. `until`: watermark after the batch.

    `begun`: examples of goals. `rows`, `alerts`: moments to score, and what was found to be told of them. `review`: the
    newest one, as conditions see it.
    """

    batch: Batch
    lane: LaneState
    brain: Brain
    profiles: Opened
    out: Outcome
    rows: list[ScoreRow]
    watermark_before: int
    until: int
    before: Before | None = None
    review: dict[str, Any] | None = None
    begun: list[GoalSample] = field(default_factory=list)
    alerts: list[ChurnAlert] = field(default_factory=list)


def decide(profiles: Opened, fired: Sequence[str], batch: Batch, lane: LaneState, brain: Brain) -> Outcome:
    """Apply a batch.

    Parameters
    ----------
    profiles : of every user of the batch and of `fired`.
    fired : users with a timer due at the lane's watermark after this batch, earliest first.
    batch : decoded chunk (or an empty one: timers only).
    lane : state of the lane, changed in place (counts, watermarks).
    brain : policies and snapshots, frozen.

    Returns
    -------
    Everything that has to be written, in one transaction.
    """
    marks = lane.marks_after(batch)
    turn = Turn(batch, lane, brain, profiles, Outcome(), [], lane.watermark, min(marks, default=0))
    out, inputs = turn.out, batch.inputs
    again = forwarded_again(batch, lane)
    lane.received += batch.received
    lane.rejected += len(batch.rejected)
    lane.ticks += batch.ticks
    lane.applied += batch.ticks
    out.dead.extend(batch.rejected)
    last = {event.user: place for place, event in enumerate(inputs)}
    last |= {user: place for place, user in enumerate(fired, len(inputs))}
    # This loop and what it calls run on every event: see docs/performance.md before adding to them.
    touched, is_duplicate = out.profiles, dedupe.is_duplicate
    for first in range(0, len(inputs), SLICE):
        for event in inputs[first : first + SLICE]:
            if again and event in again:
                lane.duplicate += 1
                continue
            user = event.user
            profile = profiles[user]
            if profile is None:
                profile = _newcomer(turn, event)
                if profile is None:
                    continue
            touched[user] = profile
            if is_duplicate(profile, event.digest, event.record.broker_ms):
                lane.duplicate += 1
                continue
            lane.applied += 1
            _apply(turn, profile, event)
        _score(turn)
        _pack(turn, last, min(first + SLICE, len(inputs)))
    lane.watermarks = marks
    for place, user in enumerate(fired, len(inputs)):
        profile = profiles[user]
        if profile is None:
            identity.silent(turn, user)
            continue
        touched[user] = profile
        if user in batch.parked:
            _park(turn, user, profile, lane.watermark)
        else:
            _fire(turn, user, profile, lane.watermark)
        if (place - len(inputs)) % SLICE == SLICE - 1:
            _score(turn)
            _pack(turn, last, place + 1)
    _score(turn)
    for alert in turn.alerts:
        campaigns.on_alert(turn, touched[alert.user], alert)
    turn.alerts.clear()
    _pack(turn, last, len(inputs) + len(fired))
    out.close()
    return out


def _score(turn: Turn) -> None:
    """Score the moments since the last time. What alerts bring about comes after everything else of the batch."""
    if turn.begun:
        goals.score(turn)
        turn.begun.clear()
    if turn.rows:
        turn.alerts += churn.score(turn.out, turn.rows, turn.brain.churn, turn.brain.definitions.churn)
        turn.rows.clear()


def _pack(turn: Turn, last: Mapping[str, int], behind: int) -> None:
    """Pack the profiles that nothing at `behind` or later in the batch needs."""
    touched, profiles, packed = turn.out.profiles, turn.profiles, turn.out.packed
    alerted = {alert.user for alert in turn.alerts}
    for user in [user for user in touched if last[user] < behind and user not in alerted]:
        profile = touched.pop(user)
        del profiles[user]
        _index(turn, user, profile)
        packed[user] = encode_profile(profile)


def _newcomer(turn: Turn, event: Input) -> Profile | None:
    """A new profile for the event's user; None when the record is not this lane's.

    Only users without a profile are checked: whoever has one here was found to belong here.
    """
    if event.user in turn.profiles.moved:
        return identity.redirected(turn, event)
    batch, lane = turn.batch, turn.lane
    owner = lane_of(event.user, batch.lanes)
    if owner != batch.lane:
        if event.record.headers and origin_of(event.record) is not None and not _divided(batch, owner):
            lane.rejected += 1
            turn.out.reject(batch, event, "misrouted", f"forwarded once, belongs to partition {owner}")
        else:
            lane.forwarded += 1
            turn.out.forwards.append(onward(event, owner))
        return None
    profile = turn.profiles[event.user] = Profile(seen_since=event.record.broker_ms // 1000)
    return profile


def _divided(batch: Batch, owner: int) -> bool:
    """Whether `owner` was divided off this lane: what was forwarded here before that is forwarded once more."""
    return batch.lanes % 2 == 0 and owner == batch.lane + batch.lanes // 2


def _apply(turn: Turn, profile: Profile, event: Input) -> None:
    """One event: profile, experiments, triggers, offers, and a moment to score."""
    brain, name, at = turn.brain, event.name, event.at
    plan = brain.plans.get(name, NO_PLAN)
    if plan.visit:
        while profile.tick_due and profile.tick_due * 1000 <= at:
            _tick(turn, event.user, profile)  # the silence before this event is over: score it as it was
    elif plan.identity and event.type == name:
        identity.changed(turn, profile, event)
        return
    if brain.has_covariates and (plan.exposes or plan.starts or plan.viewed):
        turn.before = known_before(profile)
    profile.events += 1
    if plan.visit:
        update.touch(profile, at, brain.session_gap_ms)
    if plan.handler is not None:
        before_it = past_of(profile) if name == campaigns.ORDERED else None
        plan.handler(profile, event)
        if before_it is not None:
            _order(turn, profile, event, before_it)
    if plan.rare is not None:
        plan.rare(turn, profile, event)
    if plan.experiments:
        _experiments(turn, profile, event, plan)
    if plan.answers:
        campaigns.answer(profile, event)
        if profile.timers:
            campaigns.cancel(turn, event.user, profile, event, plan.answers)
    if plan.starts:
        campaigns.on_event(turn, event.user, profile, event)
    if profile.orders:
        _moment(turn, profile, event)
    goals.on_event(turn, profile, event, plan.goals, visit=plan.visit)
    if plan.offers:
        decide_offers(turn, event.user, profile, at, cause_of(event))


def _experiments(turn: Turn, profile: Profile, event: Input, plan: Plan) -> None:
    """Conversions before exposures: the event that exposes is not its own conversion."""
    out, watermark = turn.out, turn.watermark_before
    order = count.remember_order(profile, event, watermark, turn.brain.orders_ms) if plan.order else None
    if plan.metrics and profile.trials:
        count.convert(out, profile, event, plan.metrics, watermark, order)
    if plan.refunds:
        count.refund(out, profile, event, plan.refunds, watermark)
    if plan.exposes and plan.mark not in profile.settled:
        _expose(turn, profile, event, plan)
    if plan.viewed is not None:
        _viewed(turn, profile, event, plan.viewed)


def _expose(turn: Turn, profile: Profile, event: Input, plan: Plan) -> None:
    """First exposures. Users who can be exposed no more are marked, so that their next events cost nothing."""
    exposures, settled = profile.open_trials().exposures, True
    for trial in plan.exposes:
        if trial.code in exposures:
            continue
        if not trial.running(event.at):
            settled = settled and trial.over(turn.watermark_before)
            continue
        variant = trial.variant(event.user)
        if variant is None:
            continue
        if trial.condition is not None:
            facts = user_view(profile, event.at, trial.condition.user_fields)
            seen = {"event": event.name, "properties": event.document()["properties"], "user": facts}
            if not trial.condition.holds(seen):
                settled = False
                continue
        _first(turn, profile, event, trial, variant)
    if settled:
        profile.settled = [*(mark for mark in profile.settled if mark in turn.brain.marks), plan.mark]


def _first(turn: Turn, profile: Profile, event: Input, trial: Trial, variant: str) -> None:
    before = turn.before if turn.before is not None else known_before(profile)
    moment = count.Moment(event.user, event.at, cause_of(event), before, turn.watermark_before, event.document)
    count.expose(turn.out, profile, trial, variant, moment)


def _viewed(turn: Turn, profile: Profile, event: Input, trials: Mapping[str, Trial]) -> None:
    """An outside service tells which variant it showed: what was really shown counts."""
    trial = trials.get(event.properties.experiment_id or "")
    variant = None if trial is None else count.reported(trial, event)
    if trial is None or variant is None:
        return
    if trial.code in profile.exposures:
        count.shown(turn.out, profile, trial, variant)
    elif trial.experiment.expose_on.event == count.VIEWED and trial.running(event.at):
        if variant != trial.variant(event.user):
            turn.out.count(trial.key, fields.MISMATCH + variant)
        _first(turn, profile, event, trial, variant)


def _moment(turn: Turn, profile: Profile, event: Input) -> None:
    """A moment to score, and the next tick of silence."""
    rules = turn.brain.definitions.churn
    turn.rows.append(churn.row_of(event.user, profile, event.at, event, rules))
    before = profile.tick_due
    if before == 0 or event.name == campaigns.ORDERED:
        # Whoever had been given up and comes back waits for a label only: the grid of ticks begins anew.
        churn.schedule(profile, churn.slot_of(event.user), max(event.at, turn.watermark_before), rules)
        if before and not 0 < profile.tick_due < before:
            profile.tick_due = before


def _order(turn: Turn, profile: Profile, event: Input, before_it: Past) -> None:
    churn.returned(profile, event.at, turn.brain.definitions.churn)
    campaigns.attribute_order(turn, profile, event)
    if profile.timers:
        answered.on_order(turn, profile, event)
        rankings.on_order(turn, profile, event)
    items, categories = [], []
    for line in event.properties.products or ():
        item = update.item_id(line)
        if item is not None:
            quantity = 1 if line.quantity is None else int(line.quantity)
            items.append((item, (line.name or "")[:120], update.to_minor(line.price or 0.0), quantity))
            categories.append((line.category or "")[:64])
    if items:
        entries = list(before_it.bought.values())[::-1]
        turn.out.effects.append(
            BasketExample(
                id=effect_id("recs", "basket", event.user, event.message_id),
                user=event.user,
                at=event.at,
                order_id=str(event.properties.order_id or event.message_id),
                items=items,
                history=list(before_it.bought)[::-1],
                categories=categories if any(categories) else [],
                times=[times_bought(entry) for entry in entries],
                days=[day_bought(entry) for entry in entries],
                recent=list(before_it.recent)[::-1],
                orders=before_it.orders,
                first_day=before_it.first_day,
            )
        )


def _fire(turn: Turn, user: str, profile: Profile, watermark: int) -> None:
    """Everything of the user that is due at the watermark: delayed triggers, held messages, the tick of silence."""
    due = [timer for timer in profile.timers if timer.due <= watermark]
    if due:
        profile.timers = [timer for timer in profile.timers if timer.due > watermark]
        for timer in sorted(due, key=lambda timer: (timer.due, timer.rule)):
            campaigns.on_timer(turn, user, profile, timer)
    while profile.tick_due and profile.tick_due * 1000 <= watermark:
        _tick(turn, user, profile)


def _park(turn: Turn, user: str, profile: Profile, watermark: int) -> None:
    """Take out what is due and cannot be fired: told to `dead-letters`, or it would end the worker again and again."""
    due = [timer for timer in profile.timers if timer.due <= watermark]
    tick = profile.tick_due if profile.tick_due * 1000 <= watermark else 0
    profile.timers = [timer for timer in profile.timers if timer.due > watermark]
    if tick:
        profile.tick_due = 0  # the user's next event begins a new silence
    turn.out.dead.append(timer_letter(turn.batch, user, due, tick))


def _tick(turn: Turn, user: str, profile: Profile) -> None:
    """Time passes for a user: labels that fell due go to training, the score is renewed, an example is begun."""
    at, rules = profile.tick_due * 1000, turn.brain.definitions.churn
    churn.settle(turn.out, user, profile, at, rules)
    if profile.orders:
        row = churn.row_of(user, profile, at, Cause("timer", f"tick-{at}", "tick", at), rules)
        turn.rows.append(row)
        on_grid = (profile.tick_due - churn.slot_of(user)) % (rules.sample_every_ms // 1000) == 0
        if on_grid and row.alert:
            fairness.note(turn, profile, "scores", favoured=profile.score >= rules.alert_at)
        if on_grid and row.alert and profile.last_order_ms <= at:
            churn.take_sample(row)
    dedupe.rotate(profile, turn.batch.broker_ms)
    churn.schedule(profile, churn.slot_of(user), at, rules)
    rest(profile, at, turn.brain.index.longest_window_ms + turn.brain.index.longest_expiry_ms, turn.brain.orders_ms)
    if turn.brain.goals.goals or profile.awaited:
        goals.on_tick(turn, user, profile, churn.slot_of(user), at // 1000)


def _index(turn: Turn, user: str, profile: Profile) -> None:
    """Keep the timer index right: it may point too early (looked at and put later), never too late."""
    over = dedupe.overflow(profile)
    if over:
        turn.lane.dedupe_overflow += over
    wanted = profile.next_due_ms() if profile.timers else profile.tick_due * 1000
    indexed = profile.indexed_due_ms
    if wanted != indexed and (indexed == 0 or wanted == 0 or wanted < indexed or indexed <= turn.until):
        profile.indexed_due_ms = wanted
        turn.out.due[user] = wanted
