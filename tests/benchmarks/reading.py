"""How long a shop waits for a ranking: HTTP to the page's process, Redis behind it, one question after the other."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis
from benchmarks.learning import Learning

from models.learners.envelope import Envelope
from models.offers.past import Past
from models.offers.recs import NAME, SCHEMA
from models.profile.codec import encode_profile
from models.profile.state import Goods, Profile, day_bought
from models.wire import lane_of
from services.state import keys
from support.page import PageServer
from support.ports import LOOPBACK

LANES = 4
CANDIDATES = 100
QUESTIONS = 3_000
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Reading:
    """Wall clock of an answer, milliseconds: half of them below, 99 % below."""

    p50_ms: float
    p99_ms: float


def measure(
    redis_url: str,
    client: redis.Redis,
    shop: Learning,
    tell: Callable[[str], object],
) -> Reading:
    """Ask for a ranking of a hundred given products, again and again, each time for another customer."""
    tell(f"Rankings of {CANDIDATES} given products over HTTP ...")
    envelope = Envelope(
        name=NAME, schema=SCHEMA, library="", version=1, created_ms=0, meta={}, payload=shop.payload
    )  # fmt: skip
    client.set(keys.snapshot(NAME, 1), envelope.to_bytes())
    client.set(keys.snapshot_latest(NAME), 1)
    for number, past in enumerate(shop.pasts):
        user = f"reader-{number}"
        client.set(keys.profile(lane_of(user, LANES), user), encode_profile(_profile(past)))
    rng, found = random.Random(11), []
    with PageServer(redis_url, KAIROS_LANES=str(LANES)) as page:
        line = http.client.HTTPConnection(LOOPBACK, page.port, timeout=30)
        for _ in range(QUESTIONS + QUESTIONS // 10):
            given = ",".join(f"item-{rng.randrange(shop.items)}" for _ in range(CANDIDATES))
            begun = time.perf_counter_ns()
            line.request("GET", f"/v1/offers?user=reader-{rng.randrange(len(shop.pasts))}&candidates={given}")
            answer = json.loads(line.getresponse().read())
            found.append((time.perf_counter_ns() - begun) / 1e6)
            if not (answer["known"] and len(answer["items"]) == 10):
                raise AssertionError(f"no ranking: {answer}")
        line.close()
    found = sorted(found[QUESTIONS // 10 :])
    return Reading(found[len(found) // 2], found[len(found) * 99 // 100])


def _profile(past: Past) -> Profile:
    bought = dict(reversed(list(past.bought.items())))
    last_s = max(map(day_bought, bought.values()), default=past.first_day) * DAY_S
    return Profile(
        events=1,
        orders=past.orders,
        first_order=past.first_day * DAY_S,
        first_seen=past.first_day * DAY_S,
        last_seen_ms=last_s * 1000,
        last_order_ms=last_s * 1000,
        session_start=last_s,
        recent=list(past.recent)[::-1],
        goods=Goods(bought),
    )
