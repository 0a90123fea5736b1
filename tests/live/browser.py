"""A real browser, driven through Chromium's DevTools pipe: no other package is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

LONGEST_S = 120  # of anything that is waited for: only a defect takes so long
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


class Browser:
    """Chromium without a window, at one page. Messages are JSON that ends in a zero byte.

    Source: https://chromedevtools.github.io/devtools-protocol, ``--remote-debugging-pipe``: the
    browser reads from descriptor 3 and writes to 4.
    """

    def __init__(self, url: str, profile: Path) -> None:
        to_browser, self._to = os.pipe()
        self._from, from_browser = os.pipe()
        words = (
            f"--headless --no-sandbox --disable-gpu --user-data-dir={profile} --no-first-run "
            f"--disable-quic --disable-background-networking --disable-component-update "
            f"--disable-sync"
        )
        script = f'exec "$0" {words} --remote-debugging-pipe 3<&{to_browser} 4>&{from_browser}'
        assert CHROMIUM is not None
        self._process = subprocess.Popen(
            ["bash", "-c", script, CHROMIUM],
            pass_fds=(to_browser, from_browser),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._reader = os.fdopen(self._from, "rb", buffering=0)
        self._number = 0
        self._left = b""
        self._session = ""
        target = self.call("Target.createTarget", url=url)["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask and wait for the answer; events are passed over."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._left:
                more = self._reader.read(65536)
                assert more, "the browser is gone"
                self._left += more
            text, _, self._left = self._left.partition(b"\0")
            answer = json.loads(text)
            if answer.get("id") == self._number:
                assert "result" in answer, answer
                return answer["result"]

    def do(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until a JavaScript expression is true in the page, also over a reload of it."""
        give_up_s = time.monotonic() + LONGEST_S
        while not self.do(f"Boolean({condition})"):
            if time.monotonic() > give_up_s:
                words = self.do("document.body.innerText")
                raise AssertionError(f"never true: {condition}; the page says: {words}")
            # The page looks again after each of its frames; a page that goes away answers, too.
            self.do("new Promise(done => setTimeout(done, 20))")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._reader.close()
        os.close(self._to)
