"""Frequency caps: at most so many messages within any stretch of time, in whatever order they are decided."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Literal

from config.definitions import Campaign, Policy

Refusal = Literal["campaign_cap", "frequency_cap"]


def allowed(sends: Sequence[tuple[int, str, bool]], at_ms: int, campaign: Campaign, policy: Policy) -> Refusal | None:
    """Say whether one more message may go out.

    Parameters
    ----------
    sends : what the user was or will be sent, in any order: (epoch ms, campaign id, whether it is marketing).
    at_ms : when this one would go. It may lie before some of `sends` (a late event, a replay).
    campaign : the campaign that wants to write.
    policy : caps over all campaigns; they count and bind marketing messages only.

    Returns
    -------
    None if it may; else the code of the cap that forbids it.

    Notes
    -----
    For a cap of `max` per window, no half-open stretch [t, t + window) ever holds more than `max` messages.
    """
    if campaign.cap is not None:
        own = sorted(at for at, sender, _ in sends if sender == campaign.id)
        if not _fits(own, at_ms, campaign.cap.max, campaign.cap.per_ms):
            return "campaign_cap"
    if campaign.purpose == "marketing" and policy.frequency_caps:
        counted = sorted(at for at, _, marketing in sends if marketing)
        if not all(_fits(counted, at_ms, cap.max, cap.per_ms) for cap in policy.frequency_caps):
            return "frequency_cap"
    return None


def _fits(times: list[int], at_ms: int, most: int, per_ms: int) -> bool:
    """Whether every window that holds `at_ms` keeps to the cap when it is added to the sorted `times`."""
    low = bisect_left(times, at_ms - per_ms + 1)
    high = bisect_left(times, at_ms + per_ms)
    near = times[low:high]
    insort(near, at_ms)
    return all(near[i + most] - near[i] >= per_ms for i in range(len(near) - most))
