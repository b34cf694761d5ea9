"""What happens behind the link in a mail: read its token, and publish the wish to `feedback`."""

from __future__ import annotations

import threading
from collections.abc import Callable

from models.errors import TransientError
from services.bus import Publisher
from services.channels.tokens import InvalidTokenError, Link, Tokens

CONFIRM_S = 10.0

__all__ = ["InvalidTokenError", "Unsubscriber"]


class Unsubscriber:
    """Publishes `Unsubscribed` for the user that a token names.

    Parameters
    ----------
    tokens : made the links.
    bootstrap : Kafka brokers; nothing is connected before the first wish.
    event_time_ms : event time to write, that of the shop (a replay's clock is not ours).
    """

    def __init__(self, tokens: Tokens, bootstrap: str, event_time_ms: Callable[[], int]) -> None:
        self._tokens = tokens
        self._event_time_ms = event_time_ms
        self._publisher = Publisher(
            bootstrap,
            client_id="kairos-page",
            linger_ms=0,
            delivery_timeout_ms=round(CONFIRM_S * 1000),
            request_timeout_ms=5_000,
        )
        self._one_at_a_time = threading.Lock()

    def read(self, token: str) -> Link:
        """Whom and what a token names; changes nothing.

        Raises
        ------
        InvalidTokenError
            Not a link of this service.
        """
        return self._tokens.read("unsubscribe", token)

    def unsubscribe(self, token: str) -> None:
        """Publish the wish; return when the log has confirmed it. Blocks: call it in a thread.

        Raises
        ------
        InvalidTokenError
            Not a link of this service.
        TransientError
            The log did not confirm; trying again is safe, a second wish changes nothing.
        """
        link = self.read(token)
        event = {
            "type": "track",
            "event": "Unsubscribed",
            "userId": link.user,
            # The same link always makes the same event, so mail clients may press it as often as they like.
            "messageId": f"unsubscribed-{link.message}",
            "timestamp": self._event_time_ms(),
            "properties": {"message_id": link.message, "campaign_id": link.campaign},
        }
        # One wish at a time, so that an error is the error of this one.
        with self._one_at_a_time:
            self._publisher.publish_event(event)
            self._publisher.flush(CONFIRM_S)

    def close(self) -> None:
        """Disconnect."""
        try:
            self._publisher.close(1.0)
        except TransientError:
            # Whoever waited for it was told already.
            return
