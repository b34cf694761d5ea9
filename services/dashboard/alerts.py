"""Alerts for other services, by HTTP: list them, ask for one, acknowledge it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from models.errors import KairosError, TransientError
from services.state.alerts import AlertStore, ToldAlert

_FRESH = {"Cache-Control": "no-store"}


class Acknowledgement(BaseModel):
    """Who acknowledges an alert, and what they note."""

    model_config = ConfigDict(extra="forbid")

    by: str = Field(min_length=1, max_length=200)
    note: str = Field(default="", max_length=2_000)


async def _answer(ask: Callable[[], Any], alert: str = "") -> Response:
    try:
        found = await asyncio.to_thread(ask)
    except KairosError as error:
        told = {"error": "try_again" if isinstance(error, TransientError) else "not_readable"}
        return Response(msgspec.json.encode(told), 503, {**_FRESH, "Retry-After": "1"}, "application/json")
    if found is None:
        unknown = {"error": "unknown_alert", "alert": alert}
        return Response(msgspec.json.encode(unknown), 404, _FRESH, "application/json")
    return Response(msgspec.json.encode(found), 200, _FRESH, "application/json")


def make_alerts(store: AlertStore, now_ms: Callable[[], int]) -> APIRouter:
    """Routes of alerts."""
    router = APIRouter()

    @router.get("/v1/alerts", summary="The newest alerts; open: nobody acknowledged them, and they are not over")
    async def newest(
        user: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
        top: Annotated[int, Query(ge=1, le=5_000)] = 100,
        only_open: Annotated[bool, Query(alias="open")] = False,
    ) -> Response:
        def ask() -> dict[str, object]:
            found = [one for one in store.newest(user) if one.open or not only_open]
            return {"alerts": found[:top], "of": len(found)}

        return await _answer(ask)

    @router.get("/v1/alerts/{alert}", summary="One alert")
    async def one(alert: str) -> Response:
        return await _answer(lambda: store.find(alert), alert)

    # Only JSON is taken as a body: a form of another site, which browsers post without asking, is not.
    @router.post(
        "/v1/alerts/{alert}/acknowledge", summary="Say that somebody takes care of it; whoever was first stands"
    )
    async def acknowledge(alert: str, said: Acknowledgement) -> Response:
        def ask() -> ToldAlert | None:
            stands = store.acknowledge(alert, said.by, said.note, now_ms())
            return None if stands is None else store.find(alert)

        return await _answer(ask, alert)

    return router
