"""`kairos restore --from-offsets`: look, refuse what cannot go well, mend what the log knows better."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial

from config.settings import Settings
from models.errors import FenceError
from models.learners.session import LearnSession
from services.jobs.offline import refuse_workers
from services.jobs.restore.found import Found, LaneGap, LearnGap
from services.jobs.restore.look import Progress, look_at_lanes, look_at_models
from services.jobs.restore.messages import Messages
from services.state.lane_marking import commit_marking
from services.state.lanes import read_fences
from services.state.learn_store import LearnStore
from services.state.redis_lane import Client, connect
from services.state.skip import skipped

POLL_S = 0.5


def _unseen(*_: object) -> None:
    """Progress that nobody watches."""


def restore(
    settings: Settings,
    now_ms: int,
    decide: Callable[[Found], bool] = lambda found: not found.holes,
    *,
    progress: Progress = _unseen,
) -> Found:
    """Look at a restored Redis, and make it ready for the workers, which fill the gap.

    Parameters
    ----------
    settings : where Kafka and Redis are.
    now_ms : wall clock.
    decide : called with what was found before anything is changed; False: nothing is. Where the log has holes, True
        gives up what lies in them.
    progress : called with (what is read, records read, records to read).

    Raises
    ------
    NotReadyError
        A worker runs.
    ConfigurationError
        The backup is of another number of lanes.
    TransientError
        Kafka or Redis is away. Run it again.
    """
    client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
    with closing(client):
        refuse_workers(settings, client)
        found = Found(look_at_lanes(settings, client, progress), models=look_at_models(settings, client))
        messages = Messages(settings, found.lanes, progress)
        found.messages = asyncio.run(messages.look())
        if not decide(found):
            return found
        for lane in found.lanes:
            _move_lane(client, lane, now_ms)
        for model in found.models:
            _move_model(client, model)
        asyncio.run(messages.mend(now_ms))
    return found


def _move_lane(client: Client, lane: LaneGap, now_ms: int) -> None:
    """Over the holes of its inputs. An input that was never read begins at the first record by itself."""
    places = {one.topic: one.inside for one in lane.inputs if one.position >= 0 and one.position != one.inside}
    if places:
        # Kafka's word on epochs counts, too: Redis may have forgotten the last ones.
        epoch = max(now_ms, lane.journal_epoch + 1)
        commit_marking(client, lane.lane, partial(skipped, lane=lane.lane, offsets=places, epoch=epoch))


def _move_model(client: Client, gap: LearnGap) -> None:
    if gap.position == gap.inside:
        return
    store = LearnStore(client)
    stored, session = store.load(gap.model), LearnSession(gap.model)
    session.restore(stored.data or b"")
    session.offset = gap.inside
    if not store.commit(gap.model, stored.offset, gap.inside, session.checkpoint(), None):
        raise FenceError(f"{gap.model}: a learner has moved the checkpoint")


def follow(
    settings: Settings, found: Found, progress: Progress, elapsed_s: Callable[[], float] = time.monotonic
) -> Mapping[int, float]:
    """Wait until the workers have filled the gap; answers after how many seconds each lane had.

    Parameters
    ----------
    found : of :func:`restore`. progress : called with (words, records applied, records in all).
    """
    goals = {lane.lane: [one.end for one in lane.inputs] for lane in found.lanes}
    starts = {lane.lane: [one.inside for one in lane.inputs] for lane in found.lanes}
    total = sum(one.waiting for lane in found.lanes for one in lane.inputs)
    began, done = elapsed_s(), dict[int, float]()
    client = connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)
    with closing(client):
        while len(done) < len(goals):
            left = 0
            for lane, fence in read_fences(client, sorted(goals)).items():
                at = [max(offset, start) for offset, start in zip(fence.offsets, starts[lane], strict=True)]
                missing = sum(max(0, goal - place) for goal, place in zip(goals[lane], at, strict=True))
                left += missing
                if not missing:
                    done.setdefault(lane, elapsed_s() - began)
            progress("the workers fill the gap", total - left, total)
            if len(done) < len(goals):
                time.sleep(POLL_S)
    return done
