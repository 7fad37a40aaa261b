"""A real browser without a window, driven over a pipe by the DevTools protocol: no driver program, no port, no network."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome")
"""What tools/setup.sh looks for, and installs the first of."""
_PATIENCE = 60.0
# No sandbox: in containers, and for root, there is none to be had. The pages are this project's own.
_OPTIONS = (
    "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--force-color-profile=srgb", "about:blank",
)  # fmt: skip


def program() -> str:
    """The browser of this machine. Errors: FileNotFoundError, which says how to get one."""
    for name in PROGRAMS:
        found = shutil.which(name)
        if found:
            return found
    raise FileNotFoundError(f"no browser ({', '.join(PROGRAMS)}): tools/setup.sh twin installs one")


@dataclass
class Page:
    """A page that was opened. requests: every address it asked for, its own first. said: errors and what its console was told."""

    browser: Browser
    session: str
    requests: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol."""
        return self.browser.call(method, params, session=self.session)

    def read(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def size(self, width: int, height: int = 800) -> None:
        """Make it so wide and high, in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def scheme(self, scheme: str) -> None:
        """Prefer light or dark."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self) -> bytes:
        """The whole page as PNG."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def pdf(self) -> bytes:
        """As it is printed, with the paper that its style sheet asks for."""
        answer = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        return base64.b64decode(answer["data"])


class Browser:
    """A browser that runs."""

    def __init__(self, process: subprocess.Popen[bytes], to: int, back: int) -> None:
        self._process, self._to, self._back = process, to, back
        self._numbers = itertools.count(1)
        self._unread = b""
        self._pages: dict[str, Page] = {}
        self._loaded: set[str] = set()

    def call(self, method: str, params: Mapping[str, Any], *, session: str = "") -> dict[str, Any]:
        """A command, and its answer. Errors: AssertionError when it is refused."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, file: Path, *, width: int = 1280) -> Page:
        """A page from a file, when it has loaded."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.size(width)
        self._loaded.discard(session)
        page.call("Page.navigate", url=file.resolve().as_uri())
        while session not in self._loaded:
            self._next()
        return page

    def _next(self) -> dict[str, Any]:
        """The next message; what it tells of a page is noted."""
        until = time.monotonic() + _PATIENCE
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._back], [], [], max(0.0, until - time.monotonic()))
            read = os.read(self._back, 1 << 20) if ready else b""
            assert read, f"the browser says nothing any more (exit code {self._process.poll()})"
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        page = self._pages.get(message.get("sessionId", ""))
        if page is not None:
            self._note(page, message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, page: Page, method: str, params: Mapping[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            page.requests.append(params["request"]["url"])
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            page.said.append(json.dumps(params))
        elif method == "Page.loadEventFired":
            self._loaded.add(page.session)


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser whose profile is in a folder, until the end."""
    to_read, to = os.pipe()
    back, back_write = os.pipe()

    def pipes() -> None:
        # It reads commands from file 3 and answers to file 4. By way of others, lest one overwrite the other.
        read, write = os.dup(to_read), os.dup(back_write)
        os.dup2(read, 3)
        os.dup2(write, 4)

    with (folder / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            [program(), f"--user-data-dir={folder / 'profile'}", *_OPTIONS],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            close_fds=False,
            preexec_fn=pipes,
        )
    os.close(to_read)
    os.close(back_write)
    running = Browser(process, to, back)
    try:
        yield running
    finally:
        if process.poll() is None:
            running.call("Browser.close", {})
        os.close(to)
        os.close(back)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
