"""Customers of a shop who also come under a cookie's id, until an alias says who that was."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from services.demo.events import ShopEvent, iso, share
from services.demo.replay import Shop

COOKIE = "cookie-"
_USER = re.compile(rb'"userId":"[^"]*"')


class TwoIds:
    """A shop of which every third customer has two ids.

    Half of their events carry the cookie's id. At a moment of their own between `start_ms` and `end_ms` an alias comes;
    after it orders carry their own id only, everything else goes on as before. Some aliases come twice.
    """

    def __init__(self, shop: Shop, start_ms: int, end_ms: int, seed: int) -> None:
        self._shop, self._start_ms, self._span_ms, self._seed = shop, start_ms, end_ms - start_ms, seed
        self._known: set[str] = set()
        self.aliases = 0

    def until(self, end_ms: int) -> list[ShopEvent]:
        """Events before `end_ms` that were not handed out yet."""
        return [made for event in self._shop.until(end_ms) for made in self._events(event)]

    def _events(self, event: ShopEvent) -> Iterable[ShopEvent]:
        user = event.user
        if share(self._seed, f"two {user}") > 1 / 3 or b'"identify"' in event.value:
            return [event]
        found = []
        if event.at_ms - self._start_ms >= share(self._seed, f"when {user}") * self._span_ms:
            times = 0 if user in self._known else 2 if share(self._seed, f"twice {user}") < 0.2 else 1
            self._known.add(user)
            self.aliases += times
            found = [self._alias(event, number) for number in range(times)]
        may = user not in self._known or event.topic != "purchases"
        if may and share(self._seed, f"which {event.value!r}") < 0.5:
            event = _as_cookie(event)
        return [*found, event]

    def _alias(self, event: ShopEvent, number: int) -> ShopEvent:
        user = event.user
        said = {"type": "alias", "previousId": COOKIE + user, "userId": user, "messageId": f"alias-{user}-{number}"}
        value = json.dumps(said | {"timestamp": iso(event.at_ms)}).encode()
        return ShopEvent(event.at_ms, event.number, "profiles", user, value)


def _as_cookie(event: ShopEvent) -> ShopEvent:
    user = COOKIE + event.user
    return event._replace(user=user, value=_USER.sub(f'"userId":"{user}"'.encode(), event.value, count=1))


class Persons:
    """Who is who, by the aliases of a log as :func:`support.recount.events` reads it."""

    def __init__(self, raw: Iterable[dict[str, Any]]) -> None:
        self._raw = list(raw)
        self.aliases = {one["previousId"]: one["user"] for one in self._raw if one["type"] == "alias"}
        self.ids = {one["user"] for one in self._raw} | self.aliases.keys()
        self.log = [{**one, "user": self.of(one["user"])} for one in self._raw if one["type"] not in {"alias", "merge"}]

    def of(self, user: str) -> str:
        """Whose id it is."""
        return str(self.aliases.get(user, user))

    def exposed(self, exposed: Mapping[str, tuple[str, int, str]]) -> dict[str, tuple[str, int, str]]:
        """The earliest exposure of each person."""
        found: dict[str, tuple[str, int, str]] = {}
        for user, seen in exposed.items():
            known = found.get(self.of(user))
            if known is None or seen[1] < known[1]:
                found[self.of(user)] = seen
        return found
