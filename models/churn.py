"""Churn in the stream: score on events and on ticks while a user is silent, alerts, and examples to learn from.

All moments of a batch are scored in one matrix product; alerts are then decided in the order of the moments.
"""

from __future__ import annotations

import xxhash

from config.definitions import Churn
from models.decisions import Cause, ChurnAlert, ChurnExample, Reason, effect_id
from models.features.churn import RECENT_HALF_LIFE_DAYS, as_matrix, raw_churn, reasons
from models.learners.batch import ChurnScorer
from models.outcome import Outcome, ScoreRow
from models.profile.state import MILLION, Profile, Sample
from models.wire import Input

DAY_S = 86_400


def row_of(user: str, profile: Profile, at: int, cause: Cause | Input, rules: Churn) -> ScoreRow:
    """Features of a user at `at` (ms). An alert is possible only while the user is not lost already."""
    last = profile.last_order_ms
    days, money = profile.purchase_days, profile.money_minor
    x = raw_churn(profile.first_order * 1000, last, days, money, profile.recent_purchases, at)
    eligible = profile.orders >= rules.min_orders and at - last <= rules.eligible_within_ms
    return ScoreRow(user, profile, at, x, cause, eligible)


def grid_due(user_slot: int, after_s: int, every_s: int) -> int:
    """First second after `after_s` on the user's own grid of ticks.

    `user_slot` spreads users over the interval, so that they do not all tick at midnight.

    Examples
    --------
    >>> grid_due(10, 100, 60), grid_due(10, 130, 60)
    (130, 190)
    """
    offset = user_slot % every_s
    return (after_s - offset) // every_s * every_s + every_s + offset


def slot_of(user: str) -> int:
    """Where the user's ticks lie within the interval, spread evenly."""
    return xxhash.xxh3_64_intdigest(user.encode()) & 0x7FFFFFFF


def schedule(profile: Profile, slot: int, at: int, rules: Churn) -> None:
    """Set the next tick: on the user's grid while a score can still change, and when a label falls due."""
    now_s = at // 1000
    due = 0
    if profile.orders and at - profile.last_order_ms <= rules.eligible_within_ms:
        due = grid_due(slot, now_s, rules.sample_every_ms // 1000)
    if profile.samples:
        label_due = profile.samples[0].at + rules.horizon_ms // 1000
        due = label_due if due == 0 else min(due, label_due)
    profile.tick_due = due


def returned(profile: Profile, at: int, rules: Churn) -> None:
    """An order at `at` (ms): every sample whose horizon holds it has its answer. It is told when the label is due."""
    second, horizon_s = at // 1000, rules.horizon_ms // 1000
    for sample in profile.samples:
        if sample.at <= second < sample.at + horizon_s:
            sample.returned = True


def settle(out: Outcome, user: str, profile: Profile, at: int, rules: Churn) -> None:
    """Send every example whose horizon is over at `at` (ms) to training, oldest first."""
    horizon_s = rules.horizon_ms // 1000
    while profile.samples and (profile.samples[0].at + horizon_s) * 1000 <= at:
        sample = profile.samples.pop(0)
        out.effects.append(
            ChurnExample(
                id=effect_id("churn", "example", user, str(sample.at)),
                user=user,
                at=sample.at * 1000,
                due=(sample.at + horizon_s) * 1000,
                known_at=at,
                label=0 if sample.returned else 1,
                x=sample.x,
                spent_minor=max(0, profile.money_minor - sample.x[2]) if sample.returned else 0,
                next_order_days=next_order_days(sample, profile.samples, profile) if sample.returned else None,
            )
        )


def next_order_days(sample: Sample, later: list[Sample], profile: Profile) -> int:
    """Days from an example to the first order after it, told from what is known when its horizon is over.

    Parameters
    ----------
    later : the user's examples after it, oldest first: each knows on how many days the user had ordered, and when last.

    Notes
    -----
    Nothing is stored for it. The first later state with more purchase days holds the order. With one day more the date
    is exact. With n more, the last of them is known, and how far the others lie before it follows from the decayed
    count of purchase days, as if they were evenly spread: of two the first is known to a day or two.
    """
    day, days = sample.at // DAY_S, sample.x[1]
    states = [(one.at // DAY_S, one.x) for one in later]
    last_day = profile.last_order_ms // 1000 // DAY_S
    states.append((last_day, [0, profile.purchase_days, 0, 0, round(profile.recent_purchases * 100)]))
    since, before = day, sample.x
    for seen, x in states:
        more = x[1] - days
        if more > 0:
            last = seen - x[0]
            if more == 1 or last <= since:
                return max(0, last - day)
            silent = last - (since - before[0])
            others = (x[4] - before[4] * 2.0 ** (-silent / RECENT_HALF_LIFE_DAYS)) / 100.0 - 1.0
            return max(0, last - _spread(others, more - 1, last - since) - day)
        since, before = seen, x
    return max(0, last_day - day)  # on a day that had an order already


def _spread(decayed: float, count: int, most: int) -> int:
    """How many days before the last purchase day the first of `count` others lies, at most `most`, if evenly spread.

    Parameters
    ----------
    decayed : their decayed count at the last one.

    Examples
    --------
    >>> _spread(0.5, 1, 90), _spread(0.5 + 0.25, 2, 130), _spread(0.1, 1, 14)
    (60, 120, 14)
    """
    low, high = 0.0, most / count
    for _ in range(20):
        middle = (low + high) / 2
        if sum(2.0 ** (-middle * place / RECENT_HALF_LIFE_DAYS) for place in range(1, count + 1)) > decayed:
            low = middle
        else:
            high = middle
    return min(most, round(high * count))


def take_sample(row: ScoreRow) -> None:
    """Keep the features of this moment until their label is known."""
    at = row.at // 1000
    samples = row.profile.samples
    if not samples or samples[-1].at < at:
        samples.append(Sample(at, row.x))


def score(out: Outcome, rows: list[ScoreRow], model: ChurnScorer, rules: Churn) -> list[ChurnAlert]:
    """Score every row and raise alerts with hysteresis and cool-down; returns the new alerts."""
    if not rows:
        return []
    alerts: list[ChurnAlert] = []
    clear_below, alert_at = rules.clear_below, rules.alert_at
    # Rounded: what is stored and compared later must not hang on the last bits of a matrix product.
    scores = model.score(as_matrix([row.x for row in rows])).round(6)
    millionths = (scores * MILLION).round().astype(int).tolist()
    for row, p, p_e6 in zip(rows, scores.tolist(), millionths, strict=True):
        profile = row.profile
        profile.score_e6 = p_e6
        if p < clear_below:
            profile.alerted = False
        elif p >= alert_at and row.alert and not profile.alerted:
            if profile.last_alert and row.at - profile.last_alert * 1000 < rules.cool_down_ms:
                continue
            profile.alerted = True
            profile.last_alert = row.at // 1000
            alerts.append(_alert(row, p, model, rules))
    out.effects.extend(alerts)
    return alerts


def _alert(row: ScoreRow, p: float, model: ChurnScorer, rules: Churn) -> ChurnAlert:
    cause = row.cause if isinstance(row.cause, Cause) else Cause("event", row.cause.message_id, row.cause.name, row.at)
    shares = model.contributions(row.x)
    return ChurnAlert(
        id=effect_id("churn", "alert", row.user, f"{cause.message_id}@{row.at}"),
        user=row.user,
        at=row.at,
        score=p,
        learned=model.learned,
        horizon_ms=rules.horizon_ms,
        reasons=[Reason(text, text, round(share, 6)) for text, share in reasons(shares, row.x)],
        action={} if rules.action is None else {"campaign": rules.action.campaign},
        cause=cause,
        snapshot=model.version,
        model=model.name,
    )
