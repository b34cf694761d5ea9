"""Post to a webhook once, and say what its answer means. An alert may be posted again: its id says so."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

import aiohttp

from models.webhook import wished_pause_s
from services.channels.base import Delivered, Failed, Transient

TIMEOUT_S = 15.0


class WebhookClient:
    """One session for all webhooks; make it in the event loop that will use it.

    Parameters
    ----------
    timeout_s : time limit of a call, from the connection to the answer's status.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": "Kairos"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, now_s: float
    ) -> Delivered | Failed | Transient:
        """Post once. Redirections are not followed: only the address that was declared is called.

        Only 2xx is success; 410 says "never again"; all else may pass.
        """
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                status = f"{answer.status} {answer.reason or ''}".strip()
                if 200 <= answer.status < 300:
                    return Delivered(status)
                if answer.status == 410:
                    return Failed(status)
                return Transient(status, wished_pause_s(answer.headers.get("Retry-After"), now_s))
        except TimeoutError:
            return Transient("no answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Transient(f"cannot be called: {type(error).__name__}")
