"""Which letters were sent again: one hash, each claimed once, and not kept for ever."""

from contextlib import closing

from services.state import keys
from services.state.redis_lane import connect
from services.state.redrives import Redrive, claim_redrives, forget_redrives, mark_sent, read_redrives
from support.redis import RedisServer


def test_claimed_once_and_forgotten_when_the_letter_is_gone(redis_server: RedisServer) -> None:
    with closing(connect(redis_server.url)) as client:
        client.delete(keys.REDRIVEN)
        old = {f"purchases-0-{n}": Redrive(1_000, "purchases-1", sent=False) for n in range(1_500)}
        assert claim_redrives(client, old, again=False) == set()
        assert claim_redrives(client, old, again=False) == old.keys()
        mark_sent(client, old)
        assert (
            claim_redrives(client, {"clickstream-2-7": Redrive(2_000, "clickstream-2", sent=False)}, again=False)
            == set()
        )
        assert forget_redrives(client, 1_000) == 0
        assert forget_redrives(client, 1_001) == 1_500
        assert read_redrives(client, ["purchases-0-3", "clickstream-2-7"]).keys() == {"clickstream-2-7"}
        client.delete(keys.REDRIVEN)
