"""Put the page's process together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from nicegui import ui

from config.loader import load_definitions
from config.settings import Settings
from services.channels.tokens import Tokens
from services.dashboard.alerts import make_alerts
from services.dashboard.api import make_router
from services.dashboard.assignments import Assignments
from services.dashboard.lists import make_lists
from services.dashboard.model_plots import make_model_plots
from services.dashboard.page import FAVICON, STATIC, install_page
from services.dashboard.propensities import Propensities
from services.dashboard.reader import PageReader
from services.dashboard.recommendations import Recommender
from services.dashboard.reports import make_reports
from services.dashboard.unsubscribe import Unsubscriber
from services.dashboard.user_facts import Expectations
from services.state.live import LiveReader


def make_app(settings: Settings, now_ms: Callable[[], int]) -> FastAPI:
    """Make the application: page, JSON, health, metrics, unsubscribe. One per process, as NiceGUI is.

    Parameters
    ----------
    settings : where Redis and Kafka are, the definitions' folder, the key of the links.
    now_ms : wall clock.
    """
    live = LiveReader(settings.redis.url.get_secret_value(), settings.lanes)
    reader = PageReader(live, load_definitions(settings.config_dir, check_templates=False), now_ms)

    def shop_time_ms() -> int:
        page = reader.page
        if page is not None and page.clock.label and page.clock.at_ms is not None:
            return page.clock.at_ms
        return now_ms()

    unsubscriber = Unsubscriber(Tokens(settings.secret_key.get_secret_value()), settings.kafka.bootstrap, shop_time_ms)

    assignments, propensities = Assignments(settings, shop_time_ms), Propensities(settings)
    expectations = Expectations(settings)
    recommender = Recommender(settings)

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        await reader.start()
        yield
        await reader.stop()
        unsubscriber.close()
        assignments.close()
        propensities.close()
        expectations.close()
        recommender.close()

    # FastAPI's own documentation pages load their scripts from another host; the schema itself stays.
    app = FastAPI(title="Kairos", docs_url=None, redoc_url=None, lifespan=running)
    app.state.reader = reader
    answers = (assignments, propensities, live.reviews, live.rules, expectations)
    app.include_router(make_router(reader, unsubscriber, *answers))
    app.include_router(make_lists(recommender))
    app.include_router(make_alerts(live.alerts, now_ms))
    app.include_router(make_reports(settings))
    app.include_router(make_model_plots(settings))
    app.mount("/assets", StaticFiles(directory=STATIC), name="assets")
    install_page(reader)
    ui.run_with(app, title="Kairos", favicon=FAVICON, tailwind=False, dark=False, show_welcome_message=False)
    return app
