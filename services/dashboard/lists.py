"""Recommended lists over HTTP: products for a user, and what the lists bring."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response

from models.errors import KairosError, TransientError
from models.offers.rankings import ASKED
from services.dashboard.recommendations import Recommender, UnknownListError
from services.state.recommendations import MOST

_FRESH = {"Cache-Control": "no-store"}


def make_lists(recommender: Recommender) -> APIRouter:
    """Routes of recommended lists."""
    router = APIRouter()

    @router.get("/v1/offers", summary="Products for a user, best first, of all or of the candidates that are given")
    async def ranked(
        user: Annotated[str, Query(min_length=1, max_length=200)],
        candidates: Annotated[str | None, Query(max_length=40_000, description="ids with commas between")] = None,
        size: Annotated[int, Query(ge=1, le=MOST)] = 10,
        shown_as: Annotated[str, Query(alias="list", description="name of the list that they are for")] = ASKED,
    ) -> Response:
        among = None if candidates is None else [one for one in candidates.split(",") if one]
        if among is not None and len(among) > MOST:
            return _said({"error": "too_many_candidates", "most": MOST}, 400)
        try:
            return _said(await asyncio.to_thread(recommender.ask, user, size, among, shown_as))
        except UnknownListError as error:
            return _said({"error": "unknown_list", "list": shown_as, "detail": error.remedy}, 400)
        except KairosError as error:
            return _fault(error)

    @router.get("/v1/recommendations", summary="What recommended lists bring: by list, place, day and product")
    async def brought() -> Response:
        try:
            return _said(await asyncio.to_thread(recommender.figures))
        except KairosError as error:
            return _fault(error)

    return router


def _said(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, _FRESH, "application/json")


def _fault(error: KairosError) -> Response:
    told = {"error": "try_again" if isinstance(error, TransientError) else "not_readable"}
    return Response(msgspec.json.encode(told), 503, {**_FRESH, "Retry-After": "1"}, "application/json")
