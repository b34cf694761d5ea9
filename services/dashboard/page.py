"""The page: NiceGUI elements that take their content from the newest :class:`PageContext`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from nicegui import ui

from services.dashboard.context import PageContext, Sample
from services.dashboard.reader import HISTORY_MS, PageReader
from services.dashboard.render import PARTS, render

STATIC = Path(__file__).with_name("static")
LOOK_EVERY_S = 0.25

FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><g fill="none" stroke="#5b6bff">'
    '<circle cx="16" cy="16" r="13" stroke-width="2.4" opacity=".35"/>'
    '<path d="M16 3a13 13 0 0 1 13 13" stroke-width="3" stroke-linecap="round"/></g>'
    '<circle cx="16" cy="16" r="3.6" fill="#5b6bff"/></svg>'
)
# The theme is the browser's own business: it follows the system until somebody chooses.
THEME_SCRIPT = """<script>
(() => {
  try {
    const t = localStorage.getItem("kairos-theme");
    if (t) document.documentElement.dataset.theme = t;
  } catch (e) {}
})();
window.kairosTheme = () => {
  const root = document.documentElement;
  const theme = root.dataset.theme;
  const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("kairos-theme", root.dataset.theme); } catch (e) {}
};
</script>"""
THEME_ICON = (
    '<svg viewBox="0 0 20 20" aria-hidden="true"><circle cx="10" cy="10" r="7" fill="none" '
    'stroke="currentColor" stroke-width="1.6"/><path d="M10 3a7 7 0 0 1 0 14z" fill="currentColor"/></svg>'
)

_GREY = "#8b93a5"
_RULE = "rgba(139,147,165,.18)"
_BLUE, _BLUE_WASH, _CLEAR = "#5b6bff", "rgba(91,107,255,.22)", "rgba(91,107,255,0)"
_TEAL = "#1fa58a"


class _Rendered:
    """HTML of the newest page, made once for all who look."""

    def __init__(self, reader: PageReader) -> None:
        self._reader = reader
        self._page: PageContext | None = None
        self._parts: dict[str, str] = {}

    def newest(self) -> tuple[PageContext, dict[str, str]] | None:
        page = self._reader.page
        if page is None:
            return None
        if page is not self._page:
            self._page, self._parts = page, {part: render(part, page) for part in PARTS}
        return page, self._parts


def install_page(reader: PageReader) -> None:
    """Register the page at `/`."""
    rendered = _Rendered(reader)
    style = hashlib.sha256((STATIC / "kairos.css").read_bytes()).hexdigest()[:12]

    @ui.page("/", title="Kairos")
    def page() -> None:
        ui.add_head_html(THEME_SCRIPT)
        ui.add_head_html(f'<link rel="stylesheet" href="/assets/kairos.css?v={style}">')
        view = _View()
        view.show(rendered.newest())
        ui.timer(LOOK_EVERY_S, lambda: view.show(rendered.newest()))


class _View:
    """One browser's page. Only what changed is pushed to it."""

    def __init__(self) -> None:
        self._shown: PageContext | None = None
        self._plotted: tuple[Sample, ...] = ()
        self._parts: dict[str, ui.html] = {}
        with ui.element("div").classes("kx"):
            with ui.element("header").classes("top"):
                self._part("header", "ident")
                with ui.element("nav").classes("tools"):
                    ui.link("JSON", "/api/live").classes("tool").props('title="This page as JSON"')
                    with (
                        ui.element("button")
                        .classes("tool round")
                        .props('type="button" aria-label="Light or dark" title="Light or dark" id="theme"')
                        .on("click", js_handler="() => kairosTheme()")
                    ):
                        ui.html(THEME_ICON, sanitize=False)
            self._part("status")
            with ui.element("main").classes("body") as self._body:
                self._part("figures", "card")
                with ui.element("div").classes("split"):
                    with ui.element("section").classes("card plots"):
                        ui.html(
                            '<header class="head"><h2>Throughput</h2><span class="aside">events per second, '
                            "last five minutes</span></header>",
                            sanitize=False,
                        )
                        self._throughput = _chart([_area()], "plot tall", "Events per second")
                        ui.html(
                            '<header class="head sub"><h2>Latency in Kairos</h2><span class="aside">'
                            '<i class="key teal"></i>p99 <i class="key grey"></i>p50, milliseconds</span>'
                            "</header>",
                            sanitize=False,
                        )
                        lines = [_line("p99", _TEAL), _line("p50", _GREY)]
                        self._latency = _chart(lines, "plot", "Latency in Kairos")
                    with ui.element("div").classes("stack"):
                        self._part("lag", "card grow")
                        self._part("workers", "card")
                self._part("tails", "tails")
                self._part("alerts", "card")
                self._part("funnels", "card")
                self._part("experiments", "card")
                with ui.element("div").classes("split"):
                    self._part("recommended", "card")
                    self._part("bandit", "card")
                with ui.element("div").classes("split"):
                    self._part("proof", "card")
                    with ui.element("div").classes("stack"):
                        self._part("models", "card")
                        self._part("segments", "card")
                with ui.element("div").classes("split"):
                    self._part("together", "card")
                    self._part("reviews", "card")
            ui.html(
                'Times are UTC. The same as <a href="/api/live">JSON</a> and <a href="/metrics">metrics</a>.',
                sanitize=False,
                tag="footer",
            ).classes("foot")

    def _part(self, name: str, classes: str = "") -> None:
        # Templates escape everything that comes from outside, so the browser need not clean it again.
        self._parts[name] = ui.html("", sanitize=False).classes(f"part {classes}".strip())

    def show(self, newest: tuple[PageContext, dict[str, str]] | None) -> None:
        """Bring the browser up to date."""
        if newest is None or newest[0] is self._shown:
            return
        page, parts = newest
        self._shown = page
        for name, element in self._parts.items():
            if element.content != parts[name]:
                element.set_content(parts[name])
        self._body.set_visibility(page.status.level != "away" and bool(page.workers or page.totals.events))
        if page.history != self._plotted:
            self._plotted = page.history
            self._plot(page.history)

    def _plot(self, history: tuple[Sample, ...]) -> None:
        if not history:
            return
        end = history[-1].at_ms
        for chart, columns in (
            (self._throughput, [[(s.at_ms, round(s.events_per_s, 1)) for s in history]]),
            (self._latency, [[(s.at_ms, s.p99_ms) for s in history], [(s.at_ms, s.p50_ms) for s in history]]),
        ):
            chart.options["xAxis"]["min"], chart.options["xAxis"]["max"] = end - HISTORY_MS, end
            for series, points in zip(chart.options["series"], columns, strict=True):
                series["data"] = points
            chart.update()


def _chart(series: list[dict[str, Any]], classes: str, title: str) -> ui.echart:
    return ui.echart(_plot(series)).classes(classes).props(f'role="img" aria-label="{title}"')


def _plot(series: list[dict[str, Any]]) -> dict[str, Any]:
    axis_label = {"color": _GREY, "fontSize": 11, "hideOverlap": True}
    return {
        "animation": False,
        "textStyle": {"fontFamily": 'Inter, "Segoe UI", Roboto, system-ui, sans-serif'},
        "useUTC": True,
        "grid": {"left": 8, "right": 12, "top": 12, "bottom": 4, "containLabel": True},
        "xAxis": {
            "type": "time",
            "splitNumber": 4,
            "axisLine": {"lineStyle": {"color": _RULE}},
            "axisTick": {"show": False},
            "axisLabel": {**axis_label, "formatter": "{HH}:{mm}"},
            "minInterval": 60_000,
        },
        "yAxis": {
            "type": "value",
            "min": 0,
            "splitNumber": 3,
            "axisLabel": axis_label,
            "splitLine": {"lineStyle": {"color": _RULE}},
        },
        "tooltip": {
            "trigger": "axis",
            "backgroundColor": "rgba(21,24,35,.94)",
            "borderWidth": 0,
            "textStyle": {"color": "#fff", "fontSize": 12},
        },
        "series": series,
    }


def _line(name: str, color: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "line",
        "showSymbol": False,
        "smooth": 0.2,
        "lineStyle": {"width": 2, "color": color},
        "itemStyle": {"color": color},
        "data": [],
    }


def _area() -> dict[str, Any]:
    wash = {
        "type": "linear",
        "x": 0,
        "y": 0,
        "x2": 0,
        "y2": 1,
        "colorStops": [{"offset": 0, "color": _BLUE_WASH}, {"offset": 1, "color": _CLEAR}],
    }
    return {**_line("events/s", _BLUE), "areaStyle": {"color": wash}}
