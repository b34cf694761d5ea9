"""The HTTP surface around the page: the same as JSON, health, metrics, unsubscribe, and answers for other services."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi.responses import HTMLResponse

from models.errors import KairosError, TransientError
from services.dashboard.assignments import Assignments, UnknownExperimentError
from services.dashboard.metrics import CONTENT_TYPE, exposition
from services.dashboard.propensities import Propensities
from services.dashboard.reader import PageReader
from services.dashboard.render import render_unsubscribe
from services.dashboard.unsubscribe import InvalidTokenError, Unsubscriber
from services.dashboard.user_facts import Expectations
from services.state.reviews import ReviewReader
from services.state.rules import RuleReader

_FRESH = {"Cache-Control": "no-store"}
# The page behind a link in a mail: no script, no other host, not framed, its address (the token) not told.
_GUARDED = {
    **_FRESH,
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
}


async def _told(ask: Callable[[str], Any], user: str) -> Response:
    """Answer of a reader about a user."""
    try:
        found = await asyncio.to_thread(ask, user)
    except KairosError as error:
        told = {"error": "try_again" if isinstance(error, TransientError) else "not_readable"}
        return Response(msgspec.json.encode(told), 503, {**_FRESH, "Retry-After": "1"}, "application/json")
    if found is None:
        told = {"error": "unknown_user", "user": user}
        return Response(msgspec.json.encode(told), 404, _FRESH, "application/json")
    return Response(msgspec.json.encode(found), 200, _FRESH, "application/json")


def make_router(
    reader: PageReader,
    unsubscriber: Unsubscriber,
    assignments: Assignments,
    propensities: Propensities,
    reviews: ReviewReader,
    rules: RuleReader,
    expectations: Expectations,
) -> APIRouter:
    """Routes of the page's process, besides the page."""
    router = APIRouter()

    @router.get("/api/live", summary="The page as JSON")
    async def live() -> Response:
        page = reader.page or await reader.read()
        status = 503 if page.status.level == "away" else 200
        return Response(msgspec.json.encode(page), status, _FRESH, "application/json")

    @router.get("/healthz", summary="This process is up")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz", summary="This process can show something true")
    async def readyz(response: Response) -> dict[str, str]:
        page = reader.page or await reader.read()
        if page.status.level == "away":
            response.status_code = 503
            return {"status": "away", "reason": page.status.detail}
        return {"status": "ok"}

    @router.get("/metrics", summary="Prometheus metrics")
    async def metrics() -> Response:
        page = reader.page or await reader.read()
        return Response(exposition(page), 200, _FRESH, CONTENT_TYPE)

    @router.get("/v1/experiments/{experiment}/variant", summary="Variant of a user; exposes nobody")
    async def variant(experiment: str, user: Annotated[str, Query(min_length=1, max_length=200)]) -> Response:
        try:
            trial, found = await asyncio.to_thread(assignments.ask, experiment, user)
        except UnknownExperimentError:
            told = {"error": "unknown_experiment", "experiment": experiment}
            return Response(msgspec.json.encode(told), 404, _FRESH, "application/json")
        except TransientError:
            return Response(b'{"error":"try_again"}', 503, {**_FRESH, "Retry-After": "1"}, "application/json")
        body = {
            "experiment": experiment,
            "version": trial.experiment.version,
            "user": user,
            "variant": found.variant,
            "why": found.why,
            "exposed": found.exposed_at is not None,
            "exposed_at": found.exposed_at,
        }
        return Response(msgspec.json.encode(body), 200, _FRESH, "application/json")

    @router.get("/v1/propensities", summary="How likely a user is to reach each goal, and why")
    async def propensity(user: Annotated[str, Query(min_length=1, max_length=200)]) -> Response:
        return await _told(propensities.ask, user)

    @router.get("/v1/value", summary="Money and next order expected of a user, segment and portrait")
    async def value(user: Annotated[str, Query(min_length=1, max_length=200)]) -> Response:
        return await _told(expectations.ask, user)

    @router.get("/v1/segments", summary="Segments by behaviour and portraits by attributes, with their shares")
    async def segments() -> Response:
        return await _told(lambda _: expectations.segments(), "")

    @router.get("/v1/reviews", summary="What reviews say about products, best first, or about one")
    async def reviewed(
        product: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
        top: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        try:
            ranked = await asyncio.to_thread(reviews.ranked)
        except TransientError:
            return Response(b'{"error":"try_again"}', 503, {**_FRESH, "Retry-After": "1"}, "application/json")
        if product is not None:
            found = next((one for one in ranked if one.product == product), None)
            told = {"error": "not_reviewed", "product": product} if found is None else found
            body = msgspec.json.encode(told)
            return Response(body, 404 if found is None else 200, _FRESH, "application/json")
        both = {"products": len(ranked), "best": ranked[:top], "worst": ranked[::-1][:top]}
        return Response(msgspec.json.encode(both), 200, _FRESH, "application/json")

    @router.get("/v1/rules", summary="What is bought together, strongest first; of one product, what goes with it")
    async def together(
        product: Annotated[str, Query(max_length=64)] = "",
        top: Annotated[int, Query(ge=1, le=5000)] = 100,
    ) -> Response:
        try:
            found = await asyncio.to_thread(rules.ranked, product)
        except KairosError as error:
            told = {"error": "try_again" if isinstance(error, TransientError) else "not_readable"}
            return Response(msgspec.json.encode(told), 503, {**_FRESH, "Retry-After": "1"}, "application/json")
        body = {"rules": found[:top], "of": len(found)}
        return Response(msgspec.json.encode(body), 200, _FRESH, "application/json")

    @router.get("/v1/models", summary="Whether each score can be trusted now")
    async def models() -> Response:
        return await _told(lambda _: {"models": propensities.health()}, "")

    @router.get("/v1/fairness", summary="Whether groups of users are treated alike")
    async def fairness() -> Response:
        return await _told(lambda _: {"fairness": propensities.fairness()}, "")

    @router.get("/v1/uplift", summary="What each campaign with a control group changes, on the whole or for a user")
    async def uplift(user: Annotated[str | None, Query(min_length=1, max_length=200)] = None) -> Response:
        if user is None:
            return await _told(lambda _: {"campaigns": propensities.campaigns()}, "")
        return await _told(propensities.uplift, user)

    @router.get("/u/{token}", summary="Ask whether to unsubscribe; changes nothing", include_in_schema=False)
    async def ask(token: str) -> HTMLResponse:
        try:
            unsubscriber.read(token)
        except InvalidTokenError:
            return _answer("invalid", 404)
        return _answer("ask", 200, token)

    # Mail clients post `List-Unsubscribe=One-Click` here without cookies (RFC 8058); the body says no more.
    @router.post("/u/{token}", summary="Unsubscribe", include_in_schema=False)
    async def unsubscribe(token: str) -> HTMLResponse:
        try:
            await asyncio.to_thread(unsubscriber.unsubscribe, token)
        except InvalidTokenError:
            return _answer("invalid", 404)
        except TransientError:
            return _answer("later", 503)
        return _answer("done", 200)

    return router


def _answer(state: str, status: int, token: str = "") -> HTMLResponse:
    headers = {**_GUARDED, "Retry-After": "60"} if status == 503 else _GUARDED
    return HTMLResponse(render_unsubscribe(state=state, token=token), status, headers)
