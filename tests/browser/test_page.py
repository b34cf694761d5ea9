"""The real page, in a real browser, over a real Redis that the test fills and changes."""

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.error import HTTPError

import pytest
import redis

from support.live_shop import CAMPAIGNS, LANES, LiveShop
from support.page import Browser, PageServer
from support.redis import RedisServer, redis_binary
from support.services import MissingServiceError, skip_or_fail

pytestmark = pytest.mark.browser

# What a person sees at the latest after Redis knows it.
LIVE_S = 2.0


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A Redis of its own: one test stops it."""
    try:
        binary = redis_binary()
    except MissingServiceError as error:
        skip_or_fail(error)
    with RedisServer(binary, fsync="no") as running:
        yield running


@pytest.fixture(scope="module")
def page(server: RedisServer) -> Iterator[PageServer]:
    with PageServer(server.url) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    try:
        browser = Browser()
    except MissingServiceError as error:
        skip_or_fail(error)
    with browser:
        yield browser


@pytest.fixture
def shop(server: RedisServer) -> Iterator[LiveShop]:
    """A shop in full swing."""
    client = redis.Redis.from_url(server.url)
    shop = LiveShop(client)
    shop.fill()
    yield shop
    client.close()


def eventually(holds: Callable[[], object], within_s: float) -> float:
    """Seconds until it holds; an error when it takes too long."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < within_s, f"not within {within_s} s"
        time.sleep(0.05)
    return time.monotonic() - start


def shows(browser: Browser, selector: str, text: str) -> bool:
    return browser.text(selector) == text


def opened(browser: Browser, page: PageServer, width: int = 1440, *, mobile: bool = False) -> Browser:
    """The page, loaded and connected, with what Redis holds."""
    browser.size(width, 1000, mobile=mobile)
    browser.open(page.url)
    eventually(lambda: browser.text("#headline"), 15)
    return browser


def test_the_numbers_are_those_in_redis(shop: LiveShop, page: PageServer, chromium: Browser) -> None:
    browser = opened(chromium, page)
    eventually(lambda: browser.text("#headline") == "All is well", LIVE_S)
    applied = sum(321_040 + 733 * lane - 1440 for lane in range(LANES))
    assert browser.text("#events-per-s") == "18,420"
    assert browser.text("#events") == f"{applied:,}"
    assert browser.text("#kairos-p99") == "21.4 ms"
    assert browser.text("#log-p99") == "640 ms"
    assert browser.text("#lag-clickstream") == "48"
    assert browser.text("#alerts-total") == "912"
    assert browser.text("#messages-total") == f"{sum(counts['decided'] for counts in CAMPAIGNS.values()):,}"
    assert browser.text("#clock-day") == "14 Mar 2010"
    assert "simulation" in browser.text("#clock-label")
    assert "learned since 3 Mar 2010" in browser.text("#model-churn")
    cart = "#campaign-abandoned-cart"
    assert [browser.text(f"{cart} [data-step={step}]") for step in ("decided", "sent", "clicked")] == [
        "4,210",
        "2,904",
        "402",
    ]
    assert browser.text(f"{cart} [data-reason=frequency_cap]") == "812"
    aa_check, cart_subject = browser.text("#experiment-aa-check"), browser.text("#experiment-cart-subject")
    assert "undecided" in aa_check
    assert "simulated" not in aa_check
    assert "simulated reactions" in cart_subject
    assert "+10.0 pts" in cart_subject
    assert "Regency cakestand 3 tier" in browser.text("#tail-messages")


def test_what_recommended_lists_bring(shop: LiveShop, page: PageServer, chromium: Browser) -> None:
    browser = opened(chromium, page)
    home = "#recommended [data-list=home] [data-label='Times shown']"
    eventually(lambda: browser.text(home) == "9,000", 30)  # read every few seconds only
    assert browser.text("#places [data-place='1'] .val") == "6.00 %"
    assert browser.text("#places [data-place='2'] .val") == "3.44 %"
    assert browser.run("return document.querySelectorAll('#places .dot').length") == 10
    assert "Attributed, not caused" in browser.text("main")
    assert "The one of the highest priority" in browser.text("main")
    assert not browser.console()


def test_what_a_bandit_over_offers_learned(
    shop: LiveShop, server: RedisServer, chromium: Browser, tmp_path: Path
) -> None:
    (tmp_path / "offers").mkdir()
    (tmp_path / "offers" / "plain.yaml").write_text("id: plain\nkind: item\ntext: '{item}'\n")
    (tmp_path / "policy.yaml").write_text("offers: {choose: bandit}\n")
    known = {
        "offer": "plain",
        "n": 812,
        "rewards": 160,
        "rate": 0.197,
        "low": 0.171,
        "high": 0.226,
        "share_e6": 710_000,
    }
    new = {"offer": "travel", "n": 0, "rewards": 0, "rate": None, "low": 0.0, "high": 1.0, "share_e6": 290_000}
    one = {"reward": "order", "within_ms": 7 * 86_400_000, "contextual": False, "arms": [new, known]}
    shop.snapshot("bandit", 12, {"sets": [one]})
    shop.count("offer:plain", {"first": 900, "viewed": 700, "clicked": 90, "ordered": 171})
    with PageServer(server.url, KAIROS_CONFIG_DIR=str(tmp_path)) as page:
        browser = opened(chromium, page)
        eventually(lambda: browser.text("[data-offer=plain] .val") == "71.0 %", 30)
        assert "160 of 812 times: 19.7 % (17.1 % to 22.6 %)" in browser.text("[data-offer=plain] .note")
        assert browser.text("[data-offer=travel] .note") == "nothing known yet"
        assert browser.text("[data-counted=plain] .note") == "seen 700, clicked 90, an order followed 171"
        browser.open("about:blank")


def test_a_change_in_redis_is_on_the_page_within_two_seconds(
    shop: LiveShop, page: PageServer, chromium: Browser
) -> None:
    browser = opened(chromium, page)
    eventually(lambda: browser.text("#events-per-s") == "18,420", LIVE_S)
    waited = []
    for rate in (3_001, 4_002, 5_003, 6_004, 7_005):
        shop.workers(rate=rate, alerts_total=rate)
        waited.append(eventually(partial(shows, browser, "#events-per-s", f"{rate:,}"), LIVE_S))
        assert browser.text("#alerts-total") == f"{rate:,}"
    shop.count("camp:abandoned-cart", {"decided": 5_555})
    eventually(lambda: browser.text("#campaign-abandoned-cart [data-step=decided]") == "5,555", LIVE_S)
    assert page.live()["totals"]["events_per_s"] == 7_005
    assert max(waited) < LIVE_S


def test_green_turns_red_when_a_lane_does_not_balance(shop: LiveShop, page: PageServer, chromium: Browser) -> None:
    browser = opened(chromium, page)
    eventually(lambda: browser.text("#proof-verdict") == "balances", LIVE_S)
    shop.lane(2, received=1)
    eventually(lambda: browser.text("#proof-verdict") == "does not balance", LIVE_S)
    assert browser.text("#headline") == "Needs attention"
    assert "lane 2" in browser.text("#status")
    assert "kairos audit" in browser.text("#status")
    shop.lane(2)
    eventually(lambda: browser.text("#headline") == "All is well", LIVE_S)


def test_no_error_in_the_console_and_no_request_to_another_host(
    shop: LiveShop, page: PageServer, chromium: Browser
) -> None:
    browser = opened(chromium, page)
    eventually(lambda: browser.text("#events-per-s"), LIVE_S)
    shop.workers(rate=9_999)
    eventually(lambda: browser.text("#events-per-s") == "9,999", LIVE_S)
    eventually(lambda: browser.run("return document.querySelectorAll('.plot canvas').length") == 2, 5)
    assert browser.console() == []
    asked = browser.requests()
    assert any("/_nicegui/" in address for address in asked)
    own = (page.url, page.url.replace("http", "ws", 1), "data:", "blob:")
    assert [address for address in asked if not address.startswith(own)] == []


@pytest.mark.parametrize("width", [375, 768, 1024, 1440])
def test_nothing_sticks_out_sideways(width: int, shop: LiveShop, page: PageServer, chromium: Browser) -> None:
    browser = opened(chromium, page, width, mobile=width == 375)
    eventually(lambda: browser.text("#experiment-cart-subject"), LIVE_S)
    assert browser.run("return window.innerWidth") == width
    assert browser.run("return document.documentElement.scrollWidth") <= width
    outside = browser.run(
        "return [...document.querySelectorAll('.kx *')].filter(e => !e.closest('.scroll')"
        " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []
    # On a phone nothing needs to be scrolled sideways at all.
    if width == 375:
        boxes = "[...document.querySelectorAll('.scroll')]"
        wide = f"return {boxes}.filter(e => e.scrollWidth > e.clientWidth + 1).length"
        assert browser.run(wide) == 0


def test_light_and_dark_follow_the_system_until_somebody_chooses(
    shop: LiveShop, page: PageServer, chromium: Browser
) -> None:
    def ground() -> object:
        return chromium.run("return getComputedStyle(document.body).backgroundColor")

    chromium.scheme("light")
    browser = opened(chromium, page)
    light = ground()
    browser.scheme("dark")
    assert (dark := ground()) != light
    browser.run("document.querySelector('#theme').click()")
    eventually(lambda: ground() == light, 2)
    opened(chromium, page)
    assert ground() == light
    browser.run("localStorage.clear()")
    opened(chromium, page)
    assert ground() == dark
    browser.scheme("light")


def test_names_from_outside_are_shown_and_never_run(shop: LiveShop, page: PageServer, chromium: Browser) -> None:
    from services.state.live import push_tail

    push_tail(shop.client, "alerts", [{"text": "<img src=x onerror='window.hit=1'>", "user": "<b>u</b>", "at": 1}])
    browser = opened(chromium, page)
    eventually(lambda: "<img src=x" in browser.text("#tail-alerts"), LIVE_S)
    assert "<b>u</b>" in browser.text("#tail-alerts")
    assert browser.run("return window.hit === undefined")


def test_nothing_yet_says_how_to_begin(shop: LiveShop, page: PageServer, chromium: Browser) -> None:
    shop.client.flushdb()
    browser = opened(chromium, page)
    eventually(lambda: browser.text("#headline") == "Nothing runs yet", LIVE_S)
    assert "kairos demo" in browser.text("#status")
    assert not browser.run("return document.querySelector('.body')?.checkVisibility() ?? false")


def test_a_silent_worker_is_missed(shop: LiveShop, page: PageServer, chromium: Browser) -> None:
    browser = opened(chromium, page)
    shop.client.delete("live:worker:decide:w1")
    eventually(lambda: browser.text("#headline") == "Needs attention", LIVE_S)
    assert "w1 (decide) has been silent since" in browser.text("#status")


def test_redis_goes_and_comes_back(server: RedisServer, shop: LiveShop, page: PageServer, chromium: Browser) -> None:
    browser = opened(chromium, page)
    eventually(lambda: browser.text("#headline") == "All is well", LIVE_S)
    server.stop()
    eventually(lambda: browser.text("#headline") == "Redis is away", 5)
    assert "KAIROS_REDIS__URL" in browser.text("#status")
    assert not browser.run("return document.querySelector('#events-per-s').checkVisibility()")
    for path in ("/readyz", "/api/live"):
        with pytest.raises(HTTPError) as refused:
            page.get(path)
        assert refused.value.code == 503
        refused.value.close()
    assert b"kairos_redis_up 0.0" in page.get("/metrics")
    assert json.loads(page.get("/healthz")) == {"status": "ok"}
    server.start()
    shop.fill()
    eventually(lambda: browser.text("#headline") == "All is well", 5)
    assert json.loads(page.get("/readyz")) == {"status": "ok"}


def test_the_unsubscribe_page_asks_and_refuses_what_it_did_not_sign(page: PageServer, chromium: Browser) -> None:
    from services.channels.tokens import Link, Tokens

    token = Tokens("change-me").sign("unsubscribe", Link("u1", "m1", "win-back"))
    chromium.open(f"{page.url}/u/{token}")
    assert chromium.text("h1") == "Stop these e-mails?"
    assert chromium.text("button") == "Unsubscribe"
    assert chromium.console() == []
    with pytest.raises(HTTPError) as refused:
        page.get(f"/u/{token[:-2]}xx")
    assert refused.value.code == 404
    refused.value.close()
