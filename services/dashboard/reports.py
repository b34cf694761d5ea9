"""Results of experiments for other services and for people, each by HTTP: as JSON, and as the report with its plots."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import msgspec
from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from config.settings import Settings
from models.errors import ConfigurationError, KairosError
from models.experiments.document import Document
from models.experiments.record import Record
from services.jobs.experiments.report import report
from services.jobs.experiments.running import result_in

_FRESH = {"Cache-Control": "no-store"}


class _Found(NamedTuple):
    card: Document
    record: Record | None


class _Fault(NamedTuple):
    status: int
    code: str
    detail: str


def make_reports(settings: Settings) -> APIRouter:
    """Routes of results; each is read when it is asked for."""
    router = APIRouter()

    def read(name: str) -> _Found | _Fault:
        try:
            return _Found(*result_in(settings, name))
        except ConfigurationError as error:
            code, _, said = error.message.partition(": ")
            return _Fault(404 if code == "unknown_experiment" else 409, code, said)
        except KairosError:
            return _Fault(503, "try_again", "Redis does not answer")

    @router.get("/v1/experiments/{experiment}", summary="Results of an experiment, with parts of the users")
    async def results(experiment: str) -> Response:
        found = await asyncio.to_thread(read, experiment)
        if isinstance(found, _Fault):
            told = {"error": found.code, "experiment": experiment, "detail": found.detail}
            return Response(msgspec.json.encode(told), found.status, _FRESH, "application/json")
        return Response(msgspec.json.encode(found.card), 200, _FRESH, "application/json")

    @router.get("/experiments/{experiment}", summary="The report of an experiment: plots, parts of the users")
    async def page(experiment: str) -> Response:
        found = await asyncio.to_thread(read, experiment)
        if isinstance(found, _Fault):
            return PlainTextResponse(f"{found.code}: {found.detail}", found.status, _FRESH)
        return HTMLResponse(await asyncio.to_thread(report, found.card, found.record), 200, _FRESH)

    return router
