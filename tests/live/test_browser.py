"""The page in a real browser, where there is one: Chromium without a window."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

from edgead.live.access import Address
from edgead.live.server import PageServer
from edgead.live.source import Moment, Reading

from .browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

DRAWN = "document.getElementById('chart').plot.data"
PIXELS = """(() => {
  const canvas = document.createElement('canvas'), view = document.getElementById('view');
  canvas.width = 90; canvas.height = 70;
  const pen = canvas.getContext('2d');
  pen.drawImage(view, 0, 0);
  return Array.from(pen.getImageData(0, 0, 90, 70).data);
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Browser("about:blank", tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


def go(browser, page):
    browser.call("Page.navigate", url=f"http://{page.host}/")
    browser.wait(f"location.port == {page.server.address.port}")
    browser.wait("document.readyState == 'complete'")
    browser.wait("document.querySelector('#verdict, input[type=password]')")


def text(browser, name):
    return browser.do(f"document.getElementById('{name}').textContent")


def test_it_shows_verdict_picture_and_history(browser, page, frames):
    page.feed(*frames[:4])
    go(browser, page)
    browser.wait("document.getElementById('view').naturalWidth")
    assert text(browser, "verdict") == "ANOMALOUS"
    assert text(browser, "source").startswith("camera 7 · tiny · CPU")
    assert text(browser, "rate-now") == "5 %"
    assert text(browser, "rate-note") == "39 calibration images promise 2.5 % at best"
    results = [page.detector.score(frame) for frame in frames[:4]]
    good = [None if r.is_anomalous else r.score for r in results]
    hot = [r.score if r.is_anomalous else None for r in results]
    limits = [page.detector.threshold] * 4
    assert browser.do(DRAWN) == [[0, 1, 2, 3], good, hot, limits]
    page.feed(frames[0])  # and goes on
    browser.wait(f"{DRAWN}[0].length == 5")
    browser.wait("document.getElementById('verdict').textContent == 'good'")


def test_the_heatmap_can_be_taken_off(browser, page, frames):
    def far_from_frame():
        pixels = browser.do(PIXELS)
        shown = np.reshape(pixels, (70, 90, 4)).astype(int)
        return np.abs(shown[:, :, 2::-1] - frames[3]).mean()

    page.feed(frames[3])
    go(browser, page)
    browser.wait("document.getElementById('view').naturalWidth")
    with_heatmap = far_from_frame()
    before = browser.do("document.getElementById('view').src")
    browser.do("document.getElementById('heatmap').click()")
    browser.wait(f"document.getElementById('view').src != '{before}'")
    browser.wait("document.getElementById('view').complete")
    assert far_from_frame() < 6 < with_heatmap


def test_the_slider_sets_the_rate_and_stays_within_what_can_be_promised(browser, page, frames):
    page.feed(*frames[:2])
    go(browser, page)
    browser.wait("!document.getElementById('rate').disabled")
    slider = "document.getElementById('rate')"
    moves = ((8, 0.2), (0, 1 / 40), (999, 0.5))
    for number, (value, rate) in enumerate(moves, 1):  # beyond its ends it stays at the end
        browser.do(
            f"{slider}.value = {value}, {slider}.dispatchEvent(new Event('input')),"
            f"{slider}.dispatchEvent(new Event('change'))"
        )
        browser.wait(f"{slider}.dataset.set == {number}")
        assert page.detector.false_reject_rate == rate
    browser.wait("document.getElementById('rate-now').textContent == '50 %'")


def test_it_says_when_the_watch_is_gone(browser, make_page, frames):
    page = make_page()
    page.feed(frames[0])
    go(browser, page)
    browser.wait("document.getElementById('view').naturalWidth")
    page.server.close()
    browser.wait("document.getElementById('alarm').textContent == 'no connection to edgead watch'")


def test_it_asks_for_the_token_and_then_shows_the_page(browser, make_page, frames):
    page = make_page(host="0.0.0.0")
    token = re.search("token (.*)", page.log[0][1])[1]
    page.feed(frames[3])
    go(browser, page)
    assert browser.do("document.querySelectorAll('input[type=password]').length") == 1
    for word in ("wrong", token):
        browser.do(
            f"document.getElementById('token').value = '{word}', window.old = true,"
            "document.forms[0].requestSubmit()"
        )
        browser.wait("!window.old && document.readyState == 'complete'")
        asks = browser.do("document.querySelectorAll('input[type=password]').length")
        assert asks == int(word != token)
    browser.wait("document.getElementById('verdict')?.textContent == 'ANOMALOUS'")
    assert token not in browser.do("document.documentElement.outerHTML")
    assert browser.do("document.cookie") == ""  # no script sees it


def test_any_name_is_text_in_one_place_that_does_not_widen_the_page(browser, page, frames):
    name = os.fsdecode(b"<img src=x onerror=window.ran=1>\xff\n\xe2\x80\xae" + b"x" * 180)
    go(browser, page)
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.call("Emulation.setDeviceMetricsOverride", **size)
    try:
        page.slot.put(Reading(Moment.now(), frames[0], name))
        page.loop.run(iter([False, True]).__next__)
        browser.wait("document.getElementById('detail').textContent")
        shown = text(browser, "detail")
        assert shown.endswith(r"onerror=window.ran=1>\u{dcff}\u{a}\u{202e}" + "x" * 180)
        assert not browser.do("'ran' in window")
        assert browser.do("document.documentElement.scrollWidth") == 390
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


ON_SCREEN = """[...document.querySelectorAll('.tile')].filter(tile => {
  const at = tile.getBoundingClientRect();
  return at.height && at.top >= 0 && at.bottom <= innerHeight && at.right <= innerWidth;
}).length"""
PICTURES = """[...new Set(performance.getEntriesByType("resource").map(e => new URL(e.name))
  .filter(url => url.pathname == '/frame.jpg')
  .map(url => url.searchParams.get('camera')))].sort()"""


def test_64_cameras_fit_on_one_screen_and_only_what_is_seen_is_fetched(browser, page, frames):
    page.feed(frames[3])
    page.board._heard_s.extend([1e6, 2e6, 3e6])  # verdicts that far apart: none is late
    server = PageServer(Address("127.0.0.1", 0), lambda *said: None)
    names = [f"station-{number:02}" for number in range(64)]
    boards = dict.fromkeys(names, page.board)
    server.start(boards)
    try:
        for size in ((1280, 800), (820, 1180), (390, 400)):
            view = dict(zip(("width", "height"), size, strict=True))
            browser.call(
                "Emulation.setDeviceMetricsOverride", **view, deviceScaleFactor=1, mobile=False
            )
            browser.call("Page.navigate", url="about:blank")
            browser.call("Page.navigate", url=server.address.url)
            browser.wait("document.querySelectorAll('.tile').length == 64")
            browser.wait("document.querySelector('.tile img').naturalWidth")
            assert text(browser, "overview") == "64 cameras: 64 anomalous, 0 with a warning"
            if size[1] > 400:
                assert browser.do(ON_SCREEN) == 64
                browser.wait(f"{PICTURES}.length == 64")
                for name in names[30:]:  # the file was read again
                    boards.pop(name)
                browser.wait("document.querySelectorAll('.tile').length == 30")
                assert browser.do(ON_SCREEN) == 30
                assert browser.do("document.querySelector('.tile img').height") == 84
                boards.update(dict.fromkeys(names, page.board))
        seen = browser.do(PICTURES)  # in any order, and none from far below the edge
        assert seen and set(seen) <= set(names[:40])
        browser.do("window.scrollTo(0, document.body.scrollHeight)")
        browser.wait(f"{PICTURES}.includes('station-63')")
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")
        server.close()


def test_several_cameras_are_shown_together_and_each_by_itself(browser, page, frames):
    page.feed(frames[3])
    server = PageServer(Address("127.0.0.1", 0), lambda *said: None)
    boards = {"left": page.board, "right": page.board}
    server.start(boards)
    try:
        browser.call("Page.navigate", url=server.address.url)
        browser.wait("document.querySelectorAll('#cameras a').length == 2")
        browser.wait("[...document.querySelectorAll('#cameras img')].every(i => i.naturalWidth)")
        words = browser.do("document.getElementById('cameras').innerText")
        assert words.count("ANOMALOUS") == 2 and "left" in words and "1 of 1 anomalous" in words
        del boards["left"]  # the file was read again
        browser.wait("document.querySelectorAll('#cameras a').length == 1")
        browser.do("document.querySelector('#cameras a').click()")
        browser.wait("document.getElementById('verdict')?.textContent == 'ANOMALOUS'")
        browser.wait("document.getElementById('view').naturalWidth")
        assert text(browser, "source").startswith("camera 7 · tiny")
        assert browser.do("document.querySelector('h1').textContent") == "right"
        del boards["right"]
        gone = "the camera is no longer configured"
        browser.wait(f"document.getElementById('alarm').textContent == '{gone}'")
    finally:
        server.close()
