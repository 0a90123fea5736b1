"""The loop of review, learning and swap in a real browser, on a line that runs meanwhile."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import CHROMIUM, Browser
from relearning_line import RATE

from edgead.bundle.storage import open_bundle

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture
def browser(tmp_path):
    found = Browser("about:blank", tmp_path / "profile")
    yield found
    found.close()


@pytest.fixture
def line(tmp_path, taught, shift):
    """A line.toml that watches a folder with the frames of the shift; what each shows."""
    shutil.copytree(taught, tmp_path / "disc.edgead")
    for name in ("incoming", "made"):
        (tmp_path / name).mkdir()
    kinds = []
    for number, (kind, result) in enumerate(shift):
        cv2.imwrite(str(tmp_path / "made" / f"{number:03d}.png"), np.asarray(result.frame))
        kinds.append(kind)
    (tmp_path / "line.toml").write_text(
        f'[[camera]]\nname = "left"\nsource = "incoming"\nbundle = "disc.edgead"\nthreads = 1\n'
        f"every_frame = true\nrate_hz = 10\nfalse_reject_rate = {RATE}\n"
        '[records]\nfolder = "records"\nsample_every = 2\npart_seconds = 0\n'
    )
    return tmp_path / "line.toml", kinds


SHOWN = "document.getElementById('picture')?.src.match(/-([0-9]+)\\/[a-z.]+$/)?.[1]"
"""The number of the frame that waits to be marked."""


def test_review_learn_swap_and_go_back(watch, browser, line, tmp_path):
    path, kinds = line
    before = open_bundle(tmp_path / "disc.edgead").sha256
    process = watch("--config", path, "--serve", "127.0.0.1:0")
    url = re.search(r"http://[^\s,]+", process.wait_for_log("serve  "))[0]
    if not any("watch  left: " in said for said in process.log):
        process.wait_for_log("watch  left: ")
    for image in sorted((tmp_path / "made").iterdir()):
        image.rename(tmp_path / "incoming" / image.name)
    printed = [process.line() for _ in kinds]
    assert all("score" in one for one in printed)
    browser.call("Page.navigate", url=url)
    browser.wait("document.readyState == 'complete' && location.port")
    browser.do("localStorage.setItem('edgead.reviewer', 'Ada')")
    browser.call("Page.navigate", url=f"{url}#/review")
    marked = review_all(browser, kinds)
    assert len(marked) == len(set(marked)) > 40
    browser.do("location.hash = '#/learn'")
    browser.wait("document.querySelector('[name=learn]')")
    assert browser.do("document.querySelector('[data-state]').dataset.state") == "idle"
    browser.do("document.querySelector('[name=learn]').click()")
    browser.wait("document.querySelector('[data-state=running]')")
    ended = "document.querySelector('[data-state=ready], [data-state=failed], [data-state=worse]')"
    give_up = time.monotonic() + 240  # it is nice: on a busy machine it takes long
    while not browser.do(f"!!{ended}"):
        assert time.monotonic() < give_up
        time.sleep(0.1)
    assert browser.do(f"{ended}.textContent") == "The new bundle may be swapped in."
    cells = "[...document.querySelectorAll('table.learn tbody tr')].map(r => r.innerText)"
    told = [[int(n) for n in re.findall(r"(\d+) of (\d+) \(", row)[i]] for row in browser.do(cells)
            for i in (0, 1)]  # fmt: skip
    rejects, left, caught = (told[2 * n : 2 * n + 2] for n in range(3))
    assert rejects[1][0] < rejects[0][0] and left[1][0] < left[0][0] == left[0][1]
    assert caught[0] == caught[1]
    browser.do("document.querySelector('[name=swap]').click()")
    browser.wait("document.querySelector('[data-state=swapped]')")
    process.wait_for_log("1 of them with another bundle")
    new = open_bundle(tmp_path / "disc.edgead")
    assert new.manifest.provenance["parent"]["bundle_sha256"] == before
    again = shutil.copy(next((tmp_path / "incoming").iterdir()), tmp_path / "again.png")
    Path(again).rename(tmp_path / "incoming" / "again.png")
    line_after = process.line()  # the camera went on: no other start, no frame twice
    assert line_after["id"].rpartition("-")[0] == printed[0]["id"].rpartition("-")[0]
    assert line_after["threshold"] != printed[0]["threshold"]
    browser.do("document.querySelector('[name=back]').click()")
    browser.wait("document.querySelector('[data-state=back]')")
    assert open_bundle(tmp_path / "disc.edgead").sha256 == before


def review_all(browser: Browser, kinds: list[str]) -> list[int]:
    """Mark all that waits, by the buttons, as a person who is always right; which frames."""
    marked: list[int] = []
    browser.wait(f"{SHOWN} || document.getElementById('look')")
    while (shown := browser.do(SHOWN)) is not None:
        marked.append(int(shown))
        label = "defective" if kinds[marked[-1]] == "scratch" else "good"
        browser.do(f"document.getElementById('mark-{label}').click()")
        browser.wait(f"document.getElementById('look') || ({SHOWN} ?? {shown}) != {shown}")
    return marked
