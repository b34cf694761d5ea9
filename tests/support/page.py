"""The real page as a process, and a real browser without a window to look at it."""

import json
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from support.ports import LOOPBACK, free_port
from support.process import ChildProcess
from support.services import MissingServiceError

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)


class PageServer:
    """`python -m services.dashboard` on a free port.

    Parameters
    ----------
    redis_url
        Redis that it reads.
    settings
        Further `KAIROS_...` variables.
    """

    def __init__(self, redis_url: str, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._directory = Path(tempfile.mkdtemp(prefix="kairos-page-"))
        self._process = ChildProcess("The page", self._directory / "page.log")
        self._settings = {
            "KAIROS_REDIS__URL": redis_url,
            "KAIROS_HTTP__HOST": LOOPBACK,
            "KAIROS_HTTP__PORT": str(self.port),
            **settings,
        }

    def start(self, timeout_s: float = 60.0) -> Self:
        """Start it and wait until it answers."""
        assignments = [f"{name}={value}" for name, value in self._settings.items()]
        command = ["/usr/bin/env", "-C", str(ROOT), *assignments, sys.executable, "-m", "services.dashboard"]
        self._process.start(command, self._answers, timeout_s)
        return self

    def get(self, path: str) -> bytes:
        """Body of a GET."""
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:
            body: bytes = answer.read()
        return body

    def live(self) -> dict[str, Any]:
        """The page as JSON."""
        page: dict[str, Any] = json.loads(self.get("/api/live"))
        return page

    def log(self) -> str:
        """What it wrote."""
        return self._process.log_tail(200)

    def close(self) -> None:
        """End it."""
        self._process.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answers(self) -> bool:
        try:
            return b"ok" in self.get("/healthz")
        except OSError:
            return False


class Browser:
    """Headless Chromium with a fresh profile; notes its console and every request it makes."""

    def __init__(self, width: int = 1440, height: int = 1000) -> None:
        program, driver = (
            shutil.which("chromium") or shutil.which("google-chrome"),
            shutil.which("chromedriver"),
        )
        if program is None or driver is None:
            raise MissingServiceError("no chromium and chromedriver: apt-get install chromium chromium-driver")
        self._profile = tempfile.mkdtemp(prefix="kairos-chromium-")
        options = Options()
        options.binary_location = program
        for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={self._profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(driver))

    def size(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Make the page this large (a window cannot be as narrow as a phone)."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 2 if mobile else 1, "mobile": mobile},
        )

    def scheme(self, name: str) -> None:
        """Prefer "light" or "dark", as the system's setting would."""
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": name}]}
        )

    def open(self, url: str) -> None:
        """Load a page; what was noted before is dropped."""
        self.requests()
        self.console()
        self.driver.get(url)

    def text(self, selector: str) -> str:
        """Visible text of the first element that fits, empty without one."""
        found = self.driver.execute_script(
            "const e = document.querySelector(arguments[0]); return e ? e.innerText : ''", selector
        )
        return str(found).strip()

    def run(self, script: str) -> Any:
        """Result of a piece of JavaScript."""
        return self.driver.execute_script(script)

    def console(self) -> list[str]:
        """Errors and warnings of the console since the last call."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [f"{entry['level']}: {entry['message']}" for entry in entries if entry["level"] in {"SEVERE", "WARNING"}]

    def requests(self) -> list[str]:
        """Addresses asked for since the last call (also of web sockets)."""
        logged = self.driver.get_log("performance")  # type: ignore[no-untyped-call]
        messages = [json.loads(entry["message"])["message"] for entry in logged]
        asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return asked + [m["params"]["url"] for m in messages if m["method"] == "Network.webSocketCreated"]

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Save a PNG, of the whole page or of what fits the window."""
        if whole:
            height = self.run("return Math.ceil(document.querySelector('.kx, main').getBoundingClientRect().height)")
            width = self.run("return window.innerWidth")
            ratio = self.run("return window.devicePixelRatio")
            self.driver.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": int(height), "deviceScaleFactor": ratio, "mobile": ratio > 1},
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))

    def close(self) -> None:
        """End it and remove its profile."""
        self.driver.quit()
        shutil.rmtree(self._profile, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
