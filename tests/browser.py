"""A real Chromium without a window, driven by its chromedriver over HTTP (W3C, "WebDriver")."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="there is no chromium with its chromedriver (Debian: chromium-driver)"
)

# WebDriver's name for the member that holds an element's id, and keys that are no characters.
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
TAB, ENTER, ESCAPE, RIGHT, CONTROL = "\ue004", "\ue007", "\ue00c", "\ue014", "\ue009"


class Browser:
    """One session of a browser."""

    def __init__(self, port: int, options: dict[str, Any]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
        self._root = "/session"
        begun = self._ask("POST", "", {"capabilities": {"alwaysMatch": options}})
        self._root = f"/session/{begun['sessionId']}"

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        text = None if method != "POST" else json.dumps({} if body is None else body)
        self._connection.request(method, self._root + path, text, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        value = json.loads(answer.read())["value"]
        assert answer.status == 200, value
        return value

    def begin(self, url: str) -> None:
        """Be as at first: nothing remembered for a site, a window of a usual size, the system light."""
        self.open("about:blank")
        self.devtools("Storage.clearDataForOrigin", origin=url, storageTypes="all")
        self.set_size(1280, 860)
        self.set_dark(False)
        self.messages()
        self.requested()

    def open(self, url: str) -> None:
        self._ask("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """Return what a function with this body returns in the page."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, script: str, *arguments: object) -> Any:
        """Wait until an expression is true in the page, and return it."""
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            value = self.run(f"return ({script})", *arguments)
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}; the page says {self.run('return document.body.innerText')!r}")

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def click(self, selector: str) -> None:
        element = self._ask("POST", "/element", {"using": "css selector", "value": selector})[_ELEMENT]
        self._ask("POST", f"/element/{element}/click")

    def press(self, *keys: str, held: str = "") -> None:
        """Press keys, one after the other, where the focus is; `held` is down meanwhile."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        if held:
            strokes = [{"type": "keyDown", "value": held}, *strokes, {"type": "keyUp", "value": held}]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def write(self, selector: str, text: str) -> None:
        """Put a text into a field, as a user who types it does."""
        self.run("const field = document.querySelector(arguments[0]); field.value = ''; field.focus()", selector)
        self.press(*text)

    def devtools(self, command: str, **parameters: object) -> Any:
        """Give a command of the Chrome DevTools Protocol."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def set_size(self, width: int, height: int, *, is_phone: bool = False) -> None:
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone
        )

    def set_dark(self, is_dark: bool) -> None:
        value = "dark" if is_dark else "light"
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def messages(self) -> list[str]:
        """Return what the console has said since it was last asked: of errors, those of loading among them."""
        return [f"{line['level']}: {line['message']}" for line in self._ask("POST", "/se/log", {"type": "browser"})]

    def requested(self) -> list[str]:
        """Return the addresses that pages have asked for anew, but for the browser's own pages."""
        lines = self._ask("POST", "/se/log", {"type": "performance"})
        told = [json.loads(line["message"])["message"] for line in lines]
        sent = [one["params"] for one in told if one["method"] == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent if not one["documentURL"].startswith("chrome:")]

    def picture(self) -> bytes:
        """Return a picture of what is seen, as PNG."""
        return base64.b64decode(self._ask("GET", "/screenshot"))

    def close(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            self._ask("DELETE", "")
        self._connection.close()


@contextlib.contextmanager
def running_browser(folder: Path) -> Iterator[Browser]:
    """Run a browser with an empty profile in `folder`, and its driver, until the block is left."""
    arguments = [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--lang=en",
        f"--user-data-dir={folder}",
    ]  # fmt: skip
    options = {
        "browserName": "chrome",
        "goog:chromeOptions": {"binary": str(CHROMIUM), "args": arguments},
        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
    }
    process = subprocess.Popen([str(DRIVER), "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    browser = None
    try:
        assert process.stdout is not None
        port = 0
        while not port:
            line = process.stdout.readline()
            assert line, "chromedriver has ended"
            if "started successfully on port" in line:
                port = int(line.strip().rstrip(".").rpartition(" ")[2])
        browser = Browser(port, options)
        yield browser
    finally:
        if browser is not None:
            browser.close()
        process.terminate()
        process.communicate()
