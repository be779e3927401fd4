"""A headless Chromium with one page, driven through its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SOFTWARE_GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
"""WebGL on the CPU: a machine that runs tests has no screen and perhaps no GPU."""


def find_chromium() -> str | None:
    """Path of a Chromium on PATH."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page; everything waits for its answer."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._ids = socket, itertools.count(1)

    def send(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol and give its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=120))
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait_for(self, script: str, seconds: float = 90.0) -> Any:
        """Ask until the value of an expression is true, and give it."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            if time.monotonic() > end:
                raise TimeoutError(f"not true within {seconds} s: {script}")
            time.sleep(0.2)
        return value

    def press(self, key: str, code: int) -> None:
        """Press a key and let it go."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def drag(self, x: float, y: float, dx: float, dy: float) -> None:
        """Press the mouse at (x, y) [pixels], move it by (dx, dy) and let it go."""
        self._mouse("mouseMoved", x, y)
        self._mouse("mousePressed", x, y)
        for k in range(1, 6):
            self._mouse("mouseMoved", x + dx * k / 5, y + dy * k / 5)
        self._mouse("mouseReleased", x + dx, y + dy)

    def screenshot(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])

    def _mouse(self, kind: str, x: float, y: float) -> None:
        held = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held)


@contextmanager
def open_page(url: str, folder: Path, size: tuple[int, int] = (1280, 800)) -> Iterator[Page]:
    """Start Chromium on a page.

    Args:
        url: of the page.
        folder: an empty one for the profile and the log.
        size: of the window [pixels].
    """
    from websockets.sync.client import connect  # comes with viser

    path = find_chromium()
    if path is None:
        raise FileNotFoundError(f"none of {', '.join(NAMES)} is on PATH")
    log = folder / "chromium.log"
    command = [
        *(path, "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"),
        *("--remote-debugging-port=0", f"--user-data-dir={folder / 'profile'}", f"--window-size={size[0]},{size[1]}"),
        *(*SOFTWARE_GL, "about:blank"),
    ]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        address = _address(process, log)
        with urllib.request.urlopen(f"http://{address}/json/list", timeout=30) as answer:
            target = next(entry for entry in json.load(answer) if entry["type"] == "page")
        with connect(target["webSocketDebuggerUrl"], max_size=None) as socket:
            page = Page(socket)
            page.send("Page.navigate", url=url)
            yield page
    finally:
        process.terminate()
        process.wait(30)


def _address(process: subprocess.Popen[bytes], log: Path, seconds: float = 60.0) -> str:
    """Host and port that Chromium says it listens on."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"DevTools listening on ws://([^/]+)/", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"chromium does not answer: {log.read_text(errors='replace')[-500:]}")
