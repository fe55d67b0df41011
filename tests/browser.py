"""A headless Chromium, asked through its own protocol what a person would see; tests without one are skipped."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.websocket import WebSocketClientConnection, websocket_connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")


class Page:
    """A page of a browser."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: WebSocketClientConnection) -> None:
        self._loop, self._connection, self._numbers = loop, connection, itertools.count(1)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the answer to a call of the DevTools protocol."""
        number = next(self._numbers)

        async def answered() -> dict[str, Any]:
            await self._connection.write_message(json.dumps({"id": number, "method": method, "params": params}))
            while True:
                message = json.loads(str(await self._connection.read_message()))
                if message.get("id") == number:
                    return dict(message["result"])

        return self._loop.run_until_complete(asyncio.wait_for(answered(), 60))

    def open(self, address: str, *, width: int) -> None:
        """Open an address in a window of that width."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=address)
        self.wait_for("document.readyState == 'complete'")

    def ask(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + 60
        while not self.ask(expression):
            assert time.monotonic() < end, f"never true: {expression}\n{self.ask('document.body.innerText')}"
            time.sleep(0.1)

    def type(self, text: str) -> None:
        """Type text and Enter, into what has the focus."""
        self.call("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
            )


@contextlib.contextmanager
def browser_page() -> Iterator[Page]:
    """Yield a page of a browser that was started for it."""
    profile = Path(tempfile.mkdtemp())
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        [str(CHROMIUM), *flags, "about:blank"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    loop = asyncio.new_event_loop()
    try:
        port_file, end = profile / "DevToolsActivePort", time.monotonic() + 60
        while not (port_file.exists() and port_file.read_text()):
            assert time.monotonic() < end, "Chromium does not start"
            time.sleep(0.1)
        port = port_file.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            target = next(one for one in json.load(answer) if one["type"] == "page")

        async def connected() -> WebSocketClientConnection:
            return await websocket_connect(target["webSocketDebuggerUrl"])

        yield Page(loop, loop.run_until_complete(connected()))
    finally:
        process.terminate()
        process.wait()
        loop.close()
        shutil.rmtree(profile, ignore_errors=True)
