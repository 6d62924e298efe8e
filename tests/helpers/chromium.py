"""Pages in a real Chromium without a window, spoken to over a pipe: no network, no port.

Two pipes, its file descriptors 3 and 4, carry the messages of the DevTools protocol: JSON, each
ended by a zero byte (https://chromedevtools.github.io/devtools-protocol/).
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
SECONDS = 120  # for one answer, on a machine with much else to do
OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # which root and many containers cannot have; the pages are our own
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no name is found, so nothing is asked of a network
)
# Anchors without their place: what a link of the contents leads to has to be there.
DEAD = """[...document.querySelectorAll('a[href^="#"]')].map(a => a.getAttribute('href'))
  .filter(href => href.length > 1 && !document.getElementById(decodeURIComponent(href.slice(1))))"""


class Browser:
    """A Chromium that runs until its `with` ends.

    Raises:
        RuntimeError: a message was answered with an error, or a script of a page raised.
        TimeoutError: no answer came within `SECONDS`.
    """

    def __enter__(self) -> "Browser":
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command = [PROGRAM, *OPTIONS, f"--user-data-dir={self._home.name}/profile"]
        asked, self._to = os.pipe()
        self._from, answered = os.pipe()
        # Out of the way of 3 and 4, which they become in the child only.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (asked, answered)]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "HOME": self._home.name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            close_fds=False,  # would close 3 and 4; Python's other files are not inherited anyway
            preexec_fn=lambda: [os.dup2(end, fd) for end, fd in zip(ends, (3, 4), strict=True)],
        )
        for end in (asked, answered, *ends):
            os.close(end)
        self._rest, self._count, self.events = b"", 0, []
        return self

    def __exit__(self, *_) -> None:
        os.close(self._to)  # it ends by itself when nobody can ask it any more
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._from)
        self._home.cleanup()

    def open(self, path: Path) -> "Page":
        """A page of the file at `path`, loaded."""
        return Page(self, path)

    def ask(self, method: str, session: str | None = None, **params: Any) -> dict:
        """Send a message of the protocol; returns its result. Events meanwhile go to `events`."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self.next()).get("id") != self._count:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def next(self) -> dict:
        """The next message that Chromium sends."""
        until = time.monotonic() + SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(until - time.monotonic(), 0))
            if not ready:
                raise TimeoutError(f"Chromium has not answered for {SECONDS} seconds")
            if not (more := os.read(self._from, 1 << 20)):
                raise RuntimeError(f"Chromium ended with status {self.process.wait()}")
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


class Page:
    """A page of a file, as a reader's browser shows it: 1,280 pixels wide and light at first."""

    def __init__(self, browser: Browser, path: Path) -> None:
        self._browser = browser
        target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.resize(1280)
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while "Page.loadEventFired" not in (event["method"] for event in self._events()):
            browser.events.append(browser.next())

    def ask(self, method: str, **params: Any) -> dict:
        return self._browser.ask(method, self._session, **params)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        found = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(f"{script}: {found['exceptionDetails']['exception']['description']}")
        return found["result"].get("value")

    def resize(self, width: int, height: int = 900) -> None:
        """Show it in a window of this size in pixels; below 600 as a phone does."""
        self.width = width
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def darken(self, dark: bool = True) -> None:
        """Show it to a reader who prefers dark pages, or light ones again."""
        wanted = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[wanted])

    def overflow(self) -> int:
        """By how many pixels the content is wider than the window; 0 where all fits."""
        return max(self.evaluate("document.documentElement.scrollWidth") - self.width, 0)

    def dead_anchors(self) -> list[str]:
        """Links to places on the page that are not there."""
        return self.evaluate(DEAD)

    def requests(self) -> list[str]:
        """Addresses outside the page's own text that it asked for: files, and what would leave."""
        sent = (e["params"]["request"]["url"] for e in self._events("Network.requestWillBeSent"))
        return [url for url in sent if not url.startswith("data:")]

    def errors(self) -> list[str]:
        """What its console shows as errors: of scripts, and of what could not be loaded."""
        thrown = [
            event["params"]["exceptionDetails"]["text"]
            for event in self._events("Runtime.exceptionThrown")
        ]
        said = [
            str([argument.get("value") for argument in event["params"]["args"]])
            for event in self._events("Runtime.consoleAPICalled")
            if event["params"]["type"] in ("error", "assert")
        ]
        logged = [
            event["params"]["entry"]["text"]
            for event in self._events("Log.entryAdded")
            if event["params"]["entry"]["level"] == "error"
        ]
        return [*thrown, *said, *logged]

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Write what is in sight, or the whole page, as a PNG."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {**size, "scale": 1} if whole else None
        found = self.ask(
            "Page.captureScreenshot",
            captureBeyondViewport=whole, **({"clip": clip} if clip else {}),
        )  # fmt: skip
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self) -> bytes:
        """The page as printed."""
        found = self.ask("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        return base64.b64decode(found["data"])

    def _events(self, method: str | None = None) -> list[dict]:
        own = [e for e in self._browser.events if e.get("sessionId") == self._session]
        return [event for event in own if method in (None, event["method"])]
