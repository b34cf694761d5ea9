"""Take the README's picture of the page: ``PYTHONPATH=.:tests python tests/browser/screenshot.py``.

The numbers are made up (`support.live_shop`); the page, Redis and the browser are real. With the address of a
running page as argument, that one is pictured instead, for example in the middle of `kairos demo`.
"""

import argparse
import time
from pathlib import Path

import redis

from support.live_shop import LiveShop
from support.page import Browser, PageServer
from support.redis import RedisServer

ROOT = Path(__file__).resolve().parents[2]


def picture(url: str, out: Path, *, scheme: str = "light", width: int = 1440, mobile: bool = False) -> None:
    """Save one picture of the whole page."""
    with Browser() as browser:
        browser.size(width, 1000, mobile=mobile)
        browser.scheme(scheme)
        browser.open(url)
        time.sleep(3)
        browser.picture(out)
        time.sleep(1)
        browser.picture(out)


def main() -> None:
    """Parse the arguments and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", help="a running page; default: one with made-up numbers")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "page.png")
    parser.add_argument("--seconds", type=int, default=20, help="how long the made-up shop runs before")
    parser.add_argument("--all", action="store_true", help="also dark, phone, empty and away, beside --out")
    arguments = parser.parse_args()
    if arguments.url:
        picture(arguments.url, arguments.out)
        return
    with RedisServer() as server, PageServer(server.url) as page:
        out: Path = arguments.out
        if arguments.all:
            picture(page.url, out.with_stem(out.stem + "-empty"))
        client = redis.Redis.from_url(server.url)
        shop = LiveShop(client)
        shop.fill()
        for second in range(arguments.seconds):
            shop.workers(rate=shop.wave(second), lag=second % 7)
            time.sleep(1)
        picture(page.url, out)
        if arguments.all:
            shop.workers()
            picture(page.url, out.with_stem(out.stem + "-dark"), scheme="dark")
            shop.workers()
            picture(page.url, out.with_stem(out.stem + "-phone"), width=375, mobile=True)
            picture(page.url, out.with_stem(out.stem + "-silent"))
            server.stop()
            time.sleep(1)
            picture(page.url, out.with_stem(out.stem + "-away"))
        client.close()


if __name__ == "__main__":
    main()
