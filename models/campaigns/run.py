"""From a trigger to a message command, or to the record of why there is none.

Every path ends in one place, :func:`_decide`, so that consent, caps, quiet hours and experiments hold for all triggers.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from config.definitions import Campaign
from config.units import spell_duration
from models import fairness, uplift
from models.campaigns.arms import arm, left_out
from models.campaigns.caps import allowed
from models.campaigns.quiet import quiet_until
from models.campaigns.view import user_view
from models.decisions import Cause, ChurnAlert, MessageCommand, effect_id
from models.offers import answered
from models.offers.past import past_of
from models.offers.rank import rank_items
from models.profile import update
from models.profile.state import SENDS, Profile, Send, Timer
from models.reviews import REVIEWED
from models.wire import Input

if TYPE_CHECKING:
    from models.decide import Turn

STEP = "1"
COMMANDS = {"email": "SendEmail", "push": "SendPush", "log": "SendLog"}
ORDERED = "Order Completed"
DAY_MS = 86_400_000
ORDERED_WITHIN_MS = 7 * DAY_MS
MESSAGE_ITEMS = 4
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_FLAG_FIELDS = {1: "sent", 2: "opened", 4: "clicked"}
_FAILED_FIELDS = {"Message Failed": "failed", "Message Unknown": "unknown", "Message Expired": "expired"}


def counter_key(campaign: str) -> str:
    """Counter hash of a campaign."""
    return f"camp:{campaign}"


def on_event(turn: Turn, user: str, profile: Profile, event: Input) -> None:
    """Campaigns that wait for this event, and timers that it starts."""
    listening, properties = turn.brain.index.on_event(event.name).among(event.document)
    for campaign in listening:
        if event.at + campaign.expires_after_ms < turn.watermark_before:
            continue  # late: its moment has gone
        cause = Cause("event", event.message_id, event.name, event.at)
        _decide(turn, user, profile, campaign, cause, event.at, properties)
    waits: dict[str, Timer] = {}
    answered: dict[tuple[str, ...], bool] = {}  # many campaigns wait for the same
    for campaign in turn.brain.index.started_by(event.name):
        due, unless = event.at + (campaign.trigger.after_ms or 0), campaign.trigger.unless
        if unless not in answered:
            answered[unless] = _answered(profile, unless, event)
        if due > turn.watermark_before and not answered[unless]:
            waits[campaign.id] = Timer(due, "campaign", campaign.id, event.at, event.message_id)
    if waits:
        begin(profile, waits, event.at)


def begin(profile: Profile, waits: dict[str, Timer], at: int) -> None:
    """Begin waits at `at`, by campaign: an earlier one ends; one that has begun anew since stays, this one is late."""
    waiting = [timer for timer in profile.timers if timer.rule in waits and timer.kind == "campaign"]
    for timer in waiting:
        if timer.set_at > at:
            waits.pop(timer.rule, None)
    kept = [timer for timer in profile.timers if timer.rule not in waits or timer.kind != "campaign"]
    profile.timers = kept + list(waits.values())


def _answered(profile: Profile, unless: Iterable[str], event: Input) -> bool:
    """Whether something that ends a wait happened after `event`, though it came before it (from another topic)."""
    for name in unless:
        last = _last(profile, name)
        if last > event.at or (last == event.at and name != event.name):
            return True
    return False


def _last(profile: Profile, name: str) -> int:
    return profile.last_order_ms if name == ORDERED else profile.answers.get(name, 0)


def answer(profile: Profile, event: Input) -> None:
    """Remember when something that ends waits happened last; orders are in the profile anyway."""
    if event.name != ORDERED:
        profile.answers[event.name] = max(event.at, profile.answers.get(event.name, 0))


def cancel(turn: Turn, user: str, profile: Profile, event: Input, campaigns: Iterable[Campaign]) -> None:
    """Take back what this event answers: timers set before it and not yet due when it happened (by event time).

    A message already decided and held over the night is answered too, and says so.
    """
    rules = {campaign.id: campaign for campaign in campaigns}
    kept: list[Timer] = []
    for timer in profile.timers:
        if timer.rule not in rules or not timer.set_at <= event.at <= timer.due:
            kept.append(timer)
        elif timer.kind == "release":
            cause = Cause("timer", timer.occurrence, "quiet hours over", timer.set_at)
            _decide(turn, user, profile, rules[timer.rule], cause, event.at, {}, released=True, answered=True)
    profile.timers = kept


def reconsider(turn: Turn, user: str, profile: Profile) -> None:
    """Two users became one: waits of the one end that the other had answered, by event time."""
    kept: list[Timer] = []
    for timer in profile.timers:
        campaign = turn.brain.definitions.campaign_by_id.get(timer.rule)
        answers = [_last(profile, name) for name in campaign.trigger.unless] if campaign is not None else []
        answers = [at for at in answers if timer.set_at < at <= timer.due]
        if campaign is None or not answers:
            kept.append(timer)
        elif timer.kind == "release":
            cause = Cause("timer", timer.occurrence, "quiet hours over", timer.set_at)
            _decide(turn, user, profile, campaign, cause, min(answers), {}, released=True, answered=True)
    profile.timers = kept


def on_alert(turn: Turn, profile: Profile, alert: ChurnAlert) -> None:
    """The retention action that the alert names, if its campaign is there and on."""
    cause = Cause("alert", alert.id, "Churn Alert", alert.at)
    for campaign in turn.brain.index.on_alert:
        if campaign.id == alert.action.get("campaign"):
            extra = {"score": round(alert.score, 3), "why": alert.reasons[0].text if alert.reasons else ""}
            _decide(turn, alert.user, profile, campaign, cause, alert.at, {}, extra)


def on_timer(turn: Turn, user: str, profile: Profile, timer: Timer) -> None:
    """A delayed trigger, a message that was held over quiet hours, or the end of an offer's window."""
    if timer.kind == answered.KIND:
        answered.on_timer(turn, user, timer)
        return
    campaign = turn.brain.definitions.campaign_by_id.get(timer.rule)
    if campaign is None or not campaign.enabled:
        return
    if timer.kind == "release":
        cause = Cause("timer", timer.occurrence, "quiet hours over", timer.set_at)
        _decide(turn, user, profile, campaign, cause, timer.due, {}, released=True)
        return
    cause = Cause("timer", f"{timer.occurrence}@{timer.due}", campaign.trigger.event or "", timer.set_at)
    _decide(turn, user, profile, campaign, cause, timer.due, {})


def _decide(  # noqa: PLR0913 - one place for every path
    turn: Turn,
    user: str,
    profile: Profile,
    campaign: Campaign,
    cause: Cause,
    at: int,
    properties: dict[str, Any],
    extra: dict[str, Any] | None = None,
    *,
    released: bool = False,
    answered: bool = False,
) -> None:
    out, brain = turn.out, turn.brain
    policy = brain.definitions.policy
    if campaign.when and not released:
        condition = brain.conditions[campaign.when]
        facts = user_view(profile, at, condition.user_fields, brain.goals, brain.trials, brain.facts, brain.uplift)
        seen = {"event": cause.event, "properties": properties, "user": facts}
        if cause.event == REVIEWED and cause.kind == "event" and turn.review is not None:
            seen["review"] = turn.review
        if not condition.holds(seen):
            return
    message_id = effect_id(campaign.id, STEP, user, cause.message_id)
    zone = str(profile.attributes.get("timezone") or policy.default_timezone)
    key = counter_key(campaign.id)
    if not released:
        out.count(key, "decided")
    digest, marketing = bytes.fromhex(message_id)[:8], campaign.purpose == "marketing"
    if released:  # its place under the caps was taken when it was decided
        profile.sends = [send for send in profile.sends if send.digest != digest]
    reason = "answered" if answered else _suppressed(turn, profile, campaign, at)
    if reason is None and not released and uplift.too_small(turn, profile, campaign, at, digest):
        reason = "low_uplift"
    until: int | None = None
    if reason is None and campaign.quiet_hours != "ignore" and policy.quiet_hours is not None and not released:
        night = policy.quiet_hours
        until = quiet_until(at, zone, night.from_minute, night.to_minute, default=policy.default_timezone)
        if until is not None and campaign.quiet_hours == "drop":
            reason = "quiet_hours"
        elif until is not None:
            out.count(key, "held")
            profile.timers.append(Timer(until, "release", campaign.id, cause.at, cause.message_id))
            _remember(turn, profile, Send(until, campaign.id, digest, 0, marketing))
            return
    if reason is None:
        reason = left_out(turn, user, profile, campaign, at, cause, properties)
        uplift.decided(turn, user, profile, campaign, at, reason)
    variant = None
    if reason is None and campaign.experiment is not None:
        variant = arm(turn, user, profile, campaign.experiment, at, cause, properties)
    if marketing:
        fairness.note(turn, profile, "messages", favoured=reason is None)
    if reason is not None:
        out.count(key, f"suppressed:{reason}")
    else:
        _remember(turn, profile, Send(at, campaign.id, digest, 0, marketing))
    out.effects.append(
        MessageCommand(
            type=COMMANDS[campaign.channel] if reason is None else "MessageSuppressed",
            id=message_id,
            user=user,
            campaign=campaign.id,
            step=STEP,
            channel=campaign.channel,
            template=campaign.template,
            variant=variant,
            to=_address(profile, campaign.channel),
            purpose=campaign.purpose,
            decided_at=at,
            expires_at=turn.batch.broker_ms + campaign.expires_after_ms,
            locale=str(profile.attributes.get("locale") or "en-GB"),
            timezone=zone,
            data=_data(turn, profile, campaign, at, extra) if reason is None else {},
            reason=_sentence(campaign, cause) + (f"; not sent: {reason.replace('_', ' ')}" if reason else ""),
            cause=cause,
            suppressed=reason,
            experiment=campaign.experiment if variant is not None else None,
        )
    )


def _remember(turn: Turn, profile: Profile, send: Send) -> None:
    """Keep the send for caps and feedback."""
    profile.sends.append(send)
    forget_sends(turn, profile, send)


def forget_sends(turn: Turn, profile: Profile, send: Send | None = None) -> None:
    """Of many sends, those go first that no cap counts any more; `send`, the new one, stays."""
    sends = profile.sends
    if len(sends) <= SENDS:
        return
    definitions = turn.brain.definitions
    index = turn.brain.index
    # A late event may still decide a message as old as its campaign's expiry, and its caps look a window further back.
    at = turn.watermark_before if send is None else min(send.at, turn.watermark_before)
    since = at - index.longest_window_ms - index.longest_expiry_ms

    def counted(one: Send) -> bool:
        campaign = definitions.campaign_by_id.get(one.campaign)
        capped = campaign is not None and campaign.cap is not None
        return one.at > since and (capped or (one.marketing and bool(definitions.policy.frequency_caps)))

    free = len(sends) - SENDS
    kept = []
    for one in sends:
        if free and one is not send and not counted(one):
            free -= 1
        else:
            kept.append(one)
    profile.sends = kept


def _suppressed(turn: Turn, profile: Profile, campaign: Campaign, at: int) -> str | None:
    """Why this message may not go out now; None if it may."""
    if profile.consent.get("suppressed"):
        return "suppressed_address"
    if campaign.purpose == "marketing" and not profile.consent.get(campaign.channel, campaign.channel == "log"):
        return "no_consent"
    if campaign.channel != "log" and not _address(profile, campaign.channel):
        return "no_address"
    if campaign.items == "cart" and not profile.cart:
        return "empty_cart"
    sends = [(send.at, send.campaign, send.marketing) for send in profile.sends]
    return allowed(sends, at, campaign, turn.brain.definitions.policy)


def _address(profile: Profile, channel: str) -> str | None:
    name = {"email": "email", "push": "push_subscription"}.get(channel)
    found = profile.attributes.get(name) if name else None
    return found if isinstance(found, str) and found else None


def _data(turn: Turn, profile: Profile, campaign: Campaign, at: int, extra: dict[str, Any] | None) -> dict[str, Any]:
    recs, definitions = turn.brain.recs, turn.brain.definitions
    items: list[dict[str, Any]] = []
    if campaign.items == "cart":
        items = [{"id": item, "name": name, "price": price / 100} for item, name, price in profile.cart]
    elif campaign.items == "recommended":
        repeats = definitions.policy.offers.repeats == "allow"
        for one in rank_items(
            past_of(profile),
            recs,
            day=at // DAY_MS,
            size=MESSAGE_ITEMS,
            repeats=repeats,
            without=turn.brain.without,
            rules=turn.brain.rules,
        ):
            name, price_minor, _ = recs.items.get(one.item, ("", 0, ""))
            if name:
                items.append({"id": one.item, "name": name, "price": price_minor / 100, "reason": one.reason})
    data: dict[str, Any] = {
        "name": str(profile.attributes.get("name") or profile.attributes.get("first_name") or ""),
        "items": items,
        "currency": definitions.churn.currency,
        "orders": profile.orders,
    }
    return data | (extra or {})


def _sentence(campaign: Campaign, cause: Cause) -> str:
    at = datetime.fromtimestamp(cause.at // 1000, UTC)
    # Not strftime: it takes five times as long, and names months as the process's locale does.
    moment = f"{at.day} {_MONTHS[at.month - 1]} {at.year}, {at.hour:02}:{at.minute:02} UTC"
    if cause.kind == "alert":
        return f"{campaign.description or campaign.id}: churn alert on {moment}"
    if cause.event == "quiet hours over":
        return f"{campaign.description or campaign.id}: decided on {moment}, held over quiet hours"
    if cause.kind == "timer":
        waited = spell_duration(campaign.trigger.after_ms or 0)
        return f"{campaign.description or campaign.id}: '{cause.event}' on {moment} and nothing for {waited}"
    return f"{campaign.description or campaign.id}: '{cause.event}' on {moment}"


def feedback(turn: Turn, profile: Profile, event: Input) -> None:
    """What became of a message, counted once per message and stage."""
    campaign = event.properties.campaign_id
    if not campaign or campaign not in turn.brain.definitions.campaign_by_id:
        return
    key = counter_key(campaign)
    if event.name in _FAILED_FIELDS:
        turn.out.count(key, _FAILED_FIELDS[event.name])
    elif event.name == "Simulated Order":
        turn.out.count(key, "ordered_simulated")
    else:
        flag = update.feedback(profile, event)
        if flag:
            turn.out.count(key, _FLAG_FIELDS[flag])


def attribute_order(turn: Turn, profile: Profile, event: Input) -> None:
    """Count a real order for the messages delivered in the seven days before it (followed, not caused by)."""
    for send in profile.sends:
        if send.flags & 1 and not send.flags & 8 and 0 <= event.at - send.at <= ORDERED_WITHIN_MS:
            send.flags |= 8
            turn.out.count(counter_key(send.campaign), "ordered")
