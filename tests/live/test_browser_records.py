"""History, review and threshold in a real browser: by hand, by key, on a tablet, in the dark."""

from __future__ import annotations

import json

import pytest

from .browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

TABLET, PHONE = (820, 1180), (390, 844)
VIEWS = ["cameras", "camera/camera", "history", "review", "threshold", "learn", "record/ID"]
SMALL = """[...document.querySelectorAll('nav a, button, select, input, .row, summary, .button')]
  .filter(e => e.offsetParent && !e.closest('label.check'))
  .map(e => [e.tagName + '.' + e.className + '#' + e.id, e.getBoundingClientRect().height])
  .filter(([, height]) => height < 43.5)"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Browser("about:blank", tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture
def go(browser, recorded):
    """``go("review")``: to a view of the recorded page."""
    base = f"http://{recorded.page.host}/"

    def to(view, ready="#main .view > *", base=base):
        browser.call("Page.navigate", url="about:blank")
        browser.call("Page.navigate", url=f"{base}#/{view}")
        browser.wait(f"document.querySelector({json.dumps(ready)})")

    return to


@pytest.fixture
def reviewer(browser, go):
    """Give a name, as a person does: ``reviewer("Ada")`` leads to the first frame."""

    def enter(name):
        go("review", "#reviewer")
        browser.do(f"document.querySelector('#reviewer').value = '{name}',"
                   "document.querySelector('form').requestSubmit()")  # fmt: skip
        browser.wait("document.querySelector('#picture')?.naturalWidth")

    return enter


def press(browser, key):
    for kind in ("keyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else ""
        )


def text(browser, selector):
    return browser.do(f"document.querySelector({json.dumps(selector)})?.innerText")


def marks(recorded):
    query = "SELECT id, label, reviewer, withdrawn IS NOT NULL FROM reviews ORDER BY number"
    return recorded.store.execute(query).fetchall()


def test_frames_are_reviewed_by_keys_and_a_slip_is_taken_back(browser, recorded, reviewer):
    reviewer("Ada")
    alarms = recorded.ids("frame IS NOT NULL AND NOT is_sampled")
    sample = recorded.ids("frame IS NOT NULL AND is_sampled")
    waits = f"{len(alarms)} alarms and {len(sample)} of the sample wait"
    assert waits.replace("1 alarms", "1 alarm") in text(browser, "#counts")
    press(browser, "g")
    browser.wait("document.querySelector('#status').textContent.includes('marked good')")
    browser.wait("document.querySelector('.tag')?.textContent == 'sample'")
    press(browser, "d")
    browser.wait("document.querySelector('#status').textContent.includes('marked defective')")
    assert marks(recorded) == [(alarms[0], "good", "Ada", 0), (sample[0], "defective", "Ada", 0)]
    press(browser, "u")
    browser.wait("document.querySelector('#status').textContent.includes('Taken back')")
    assert marks(recorded)[1] == (sample[0], "defective", "Ada", 1)
    browser.wait(f"document.querySelector('#picture')?.src.endsWith('{sample[0]}/heatmap.jpg')")
    press(browser, "h")
    browser.wait("document.querySelector('#picture').src.endsWith('frame.jpg')")
    press(browser, "n")  # letters of a note mark nothing
    for letter in "good":
        press(browser, letter)
    assert (
        browser.do("document.querySelector('#note').value") == "good" and len(marks(recorded)) == 2
    )
    browser.do("document.querySelector('#mark-good').click()")
    browser.wait("document.querySelector('#status').textContent.includes('marked good')")
    row = recorded.store.execute(
        "SELECT label, note FROM reviews WHERE id = ? ORDER BY number", (sample[0],)
    )
    assert row.fetchall() == [("defective", ""), ("good", "good")]


def test_all_are_reviewed_and_it_says_that_nothing_waits(browser, recorded, reviewer):
    reviewer("Ada")
    total = len(recorded.ids("frame IS NOT NULL"))
    for number in range(total):
        browser.wait(
            "document.querySelector('#mark-good') && "
            "!document.querySelector('#mark-good').dataset.n"
        )
        browser.do("document.querySelector('#mark-good').dataset.n = 1")
        press(browser, "g")
        browser.wait(
            f"document.querySelector('#counts').textContent.includes('marked: {number + 1} good')"
        )
    browser.wait("document.querySelector('#look')")
    assert "Nothing waits for review" in text(browser, "main")
    assert len(marks(recorded)) == total


@pytest.mark.parametrize("recorded", [(4, range(24))], indirect=True)  # all in the sample
def test_more_frames_are_skipped_than_are_asked_for_at_once(browser, recorded, go):
    waiting = recorded.ids()
    go("review", "#reviewer", f"http://{recorded.page.host}/")
    browser.do("document.querySelector('#reviewer').value = 'Ada',"
               "document.querySelector('form').requestSubmit()")  # fmt: skip
    for identity in waiting:
        browser.wait(f"document.querySelector('#picture')?.src.includes('/{identity}/')")
        press(browser, "s")
    browser.wait("document.querySelector('#look')")
    assert "Nothing else waits; 24 frames skipped." in text(browser, "main")
    assert browser.do("document.querySelector('#to-learn').hash") == "#/learn"


def test_what_another_took_or_was_pruned_is_said_and_passed_over(browser, recorded, reviewer):
    first, second, third = (
        e["id"] for e in recorded.page.get("/api/review/queue", limit=3)[1]["entries"]
    )
    reviewer("Ada")
    recorded.page.post("/api/review/skip", id=first, reviewer="Ada")  # as if the claim had lapsed
    assert recorded.mark(first, "defective", "Grace")[0] == 200
    recorded.prune(second)
    press(browser, "g")
    browser.wait("document.querySelector('#status').textContent.includes('by Grace meanwhile')")
    browser.wait(f"document.querySelector('#picture')?.src.includes('{third}')")
    assert marks(recorded) == [(first, "defective", "Grace", 0)]


def test_the_history_is_filtered_and_a_verdict_opened(browser, recorded, go):
    go("history", ".row")
    assert browser.do("document.querySelectorAll('.row').length") == 12
    browser.do("(e => { e.value = 'anomalous'; e.dispatchEvent(new Event('change')); })"
               "(document.querySelectorAll('[role=search] select')[1])")  # fmt: skip
    alarms = recorded.ids("is_anomalous")
    browser.wait(f"document.querySelectorAll('.row').length == {len(alarms)}")
    assert browser.do("location.hash") == "#/history?verdict=anomalous"
    hrefs = browser.do("[...document.querySelectorAll('.row')].map(r => r.getAttribute('href'))")
    assert hrefs == [f"#/record/{identity}" for identity in alarms]
    browser.do("document.querySelector('.row').click()")
    browser.wait("document.querySelector('#picture')?.naturalWidth")
    line = recorded.page.get(f"/api/records/{alarms[0]}")[1]["line"]
    boxes = browser.do("[...document.querySelectorAll('.boxes rect')].map(r => ['x', 'y', 'width', "
                       "'height'].map(k => +r.getAttribute(k)))")  # fmt: skip
    assert boxes == [[r["x"], r["y"], r["width"], r["height"]] for r in line["regions"]]
    words = text(browser, "main")
    assert (
        "ANOMALOUS" in words
        and "is above the threshold" in words
        and "Nobody has reviewed" in words
    )
    go("history?verdict=purple", ".notice")
    assert "expected good or anomalous" in text(browser, ".notice")
    go("history?low=999", ".notice")
    assert "No recorded verdict matches" in text(browser, "#rows")


def test_the_threshold_shows_what_sql_counts_and_sets_the_rate(browser, recorded, go):
    go("threshold", "#counts")
    browser.do(
        "(r => { r.value = 20; r.dispatchEvent(new Event('input')); })"
        "(document.querySelector('#rate'))"
    )
    browser.wait(
        "document.querySelector('#rate-note').textContent.includes('now') && "
        "!document.querySelector('#apply').disabled"
    )
    then = recorded.page.get("/api/threshold", rate=0.5)[1]["threshold"]
    query = (
        "SELECT COUNT(*), SUM(is_anomalous), SUM(score > ?), SUM(score > ? AND NOT is_anomalous) "
        "FROM verdicts"
    )
    total, before, after, more = recorded.store.execute(query, (then, then)).fetchone()
    browser.wait(f"document.querySelector('#result').textContent.includes('{more} more would')")
    cells = browser.do(
        "[...document.querySelectorAll('#counts tbody tr:first-child td')].map(d => d.textContent)"
    )
    assert cells == ["all", str(total), str(before), str(after)]
    assert browser.do("document.querySelectorAll('#changed tbody tr').length") == more
    assert (
        sum(n or 0 for n in browser.do("document.querySelector('#histogram').plot.data[1]"))
        == total
    )
    assert recorded.page.detector.false_reject_rate == 0.05  # looked at, not set
    browser.do("document.querySelector('#apply').click()")
    browser.wait(
        "document.querySelector('#rate-note').textContent.includes('uses it from the next')"
    )
    assert recorded.page.detector.false_reject_rate == 0.5


def test_the_course_of_a_camera_is_drawn_from_its_records(browser, recorded, go):
    go("camera/camera?hours=1", "#shares .u-wrap")
    assert text(browser, "#course-note") == "12 verdicts"
    shares = browser.do("document.querySelector('#shares').plot.data[1]")
    counted = recorded.page.get("/api/course", camera="camera", hours=1)[1]["steps"]
    assert len(shares) == len(counted)
    total = sum(share * step["verdicts"] for share, step in zip(shares, counted, strict=True))
    assert total == pytest.approx(len(recorded.ids("is_anomalous")))


@pytest.mark.parametrize(("size", "dark"), [(TABLET, False), (TABLET, True), (PHONE, False)])
def test_each_view_fits_and_can_be_touched(browser, recorded, go, size, dark):
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
    browser.call("Emulation.setDeviceMetricsOverride", **metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.call("Emulation.setEmulatedMedia", features=[scheme])
    identity = recorded.ids("is_anomalous AND frame IS NOT NULL")[0]
    try:
        for view in VIEWS:
            go(view.replace("ID", identity))
            browser.wait("!document.querySelector('img[src]') || "
                         "[...document.images].some(i => i.complete)")  # fmt: skip
            assert browser.do("document.documentElement.scrollWidth") == width, view
            assert browser.do(SMALL) == [], view
            background = browser.do("getComputedStyle(document.body).backgroundColor")
            assert (background == "rgb(14, 19, 26)") is dark
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")
        browser.call("Emulation.setEmulatedMedia", features=[])


def test_without_records_each_view_says_what_to_do(browser, page, go):
    for view in ("history", "review"):
        go(view, ".notice", base=f"http://{page.host}/")
        assert "--records DIR" in text(browser, ".notice")
    go("threshold", "#result p", base=f"http://{page.host}/")
    assert "There are no verdicts yet" in text(browser, "#result")


def test_records_that_are_gone_are_said_and_the_camera_goes_on(browser, recorded, go):
    recorded.folder.rename(recorded.folder.with_name("elsewhere"))
    for view in ("history", "record/x"):
        go(view, ".notice")
        assert "the records are gone" in text(browser, ".notice")
    go("camera/camera", "#course-note .notice")
    assert "the records are gone" in text(browser, "#course-note")
    browser.wait("document.querySelector('#view').naturalWidth")


def test_a_name_that_is_html_is_text(browser, recorded, reviewer, go):
    name = "<img src=x onerror=window.ran=1>"
    reviewer(name)
    press(browser, "g")
    browser.wait("document.querySelector('#status').textContent.includes('marked good')")
    go("history?reviewed=yes", ".row")
    assert f"good by {name}" in text(browser, ".row")
    assert not browser.do("'ran' in window")
