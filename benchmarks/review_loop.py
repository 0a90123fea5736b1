"""Review in a browser on a labelled set: do forgiven false alarms lower the false rejects?

    python benchmarks/review_loop.py DATA/mvtec_bottle [--alarms 30] [--json FILE]

A bundle is learnt from a third of the good images for training. All other images come before
``edgead watch``, half of them, by chance, under a lamp that has become a twentieth darker: that is
computed, and makes false alarms of good parts. Every second frame is in the random sample. Then
Chromium reviews through the page, clicking as the labels of the set say: first --alarms false
alarms alone, for which the page has to refuse to learn; then all of the sample, and all alarms that
are defects. The page learns, its comparison is read, the new bundle is swapped in and taken back.
Where it refuses a frame that scores far above all others, which the labels call good, the box that
learns such frames is ticked, as its sentence says.

The bars:

    refused   of alarms alone nothing is learnt, and the page says why
    rejects   of the good frames that are held out fewer are rejected, the sample and the alarms
    caught    no fewer defects are caught
    back      the bundle that serves at the end is the first one, byte by byte

Exit code 4 when one is missed. Chromium has to be installed.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hall import run_edgead
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "live"))
from browser import Browser

from edgead.bundle.storage import open_bundle
from edgead.cli.main import guard
from edgead.cpu.processor import processor_name
from edgead.errors import DeviceError
from edgead.files import write_file
from edgead.images import encode_png, read_image
from edgead.records.reviews import Entry, Reviews

RESULTS = Path(__file__).parent / "results" / "review_loop.json"
DARKER = 0.95
PART_SECONDS, PAUSE_S = 0.1, 0.4
"""What is one part, and the time between two."""
MISSED = 4  # exit code
LONGEST_S = 1200.0
SHOWN = "document.getElementById('picture')?.src.match(/\\/records\\/([^/]+)\\//)?.[1]"


Shot = tuple[str, NDArray[Any], bool]
"""A name, the frame, whether the part is defective."""


def divided(data: Path, seed: int) -> tuple[list[Path], list[Shot]]:
    """Images to learn first, and the frames of the line, in the order of chance."""
    draw, train = random.Random(seed), sorted((data / "train" / "good").iterdir())
    draw.shuffle(train)
    first = train[: len(train) // 3]
    shown = [(path, False) for path in (*train[len(first) :], *(data / "test/good").iterdir())]
    for folder in sorted((data / "test").iterdir()):
        shown += [(path, True) for path in folder.iterdir() if folder.name != "good"]
    shown.sort(key=lambda one: str(one[0]))
    draw.shuffle(shown)
    line: list[Shot] = []
    for number, (path, bad) in enumerate(shown):
        frame = read_image(path)
        if draw.random() < 0.5:
            frame = np.rint(DARKER * frame.astype(np.float64)).astype(np.uint8)
        line.append((f"{number:05d}.png", frame, bad))
    return first, line


class Hall:
    """edgead watch on a folder in which the parts appear, and Chromium at its page."""

    def __init__(self, folder: Path, first: list[Path]) -> None:
        for name in ("good", "incoming"):
            (folder / name).mkdir()
        for path in first:
            (folder / "good" / path.name).symlink_to(path)
        words = ["learn", folder / "good", "--out", folder / "part.edgead"]
        run_edgead([*words, "--calibration", "0.3"])
        (folder / "line.toml").write_text(
            '[[camera]]\nname = "left"\nsource = "incoming"\nbundle = "part.edgead"\n'
            "every_frame = true\n"
            f'[records]\nfolder = "records"\nsample_every = 2\npart_seconds = {PART_SECONDS}\n'
        )
        self.folder, self.lines, self.log = folder, list[dict[str, Any]](), list[str]()
        command = [sys.executable, "-m", "edgead", "watch", "--config", str(folder / "line.toml")]
        self.process = subprocess.Popen(
            [*command, "--serve", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for stream, into in ((self.process.stdout, self._line), (self.process.stderr, self._said)):
            threading.Thread(target=lambda s=stream, f=into: [f(t) for t in s], daemon=True).start()
        self._until(lambda: any("watch  left" in said for said in self.log))
        self._until(lambda: any("serve  " in said for said in self.log))
        self.url = re.search(r"http://[^\s,]+", next(s for s in self.log if "serve  " in s))[0]  # type: ignore[index]

    def _line(self, text: str) -> None:
        self.lines.append(json.loads(text))

    def _said(self, text: str) -> None:
        self.log.append(text)

    def _until(self, holds: Any) -> None:
        give_up_s = time.monotonic() + LONGEST_S
        while not holds():
            if time.monotonic() > give_up_s or self.process.poll() is not None:
                raise DeviceError("edgead watch does not go on: " + "".join(self.log[-5:]))
            time.sleep(0.02)

    def show(self, line: list[Shot]) -> None:
        """Let the parts come before the camera; each is scored before the next comes."""
        for number, (name, frame, _) in enumerate(line, 1):
            made = self.folder / name
            made.write_bytes(encode_png(frame))
            made.rename(self.folder / "incoming" / name)
            self._until(lambda n=number: len(self.lines) >= n)
            time.sleep(PAUSE_S)

    def end(self) -> None:
        """As a service is stopped."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def review(browser: Browser, defective: dict[str, bool], identities: Sequence[str]) -> None:
    """Open each frame in the page's view Review, and click what its label says."""
    for identity in identities:
        # The view goes on to the next frame by itself, which may be this one: wait for its own.
        browser.do("document.querySelector('#main > *').dataset.before = '1'")
        browser.do(f"location.hash = '#/review?id={identity}'")
        browser.wait(f"!document.querySelector('[data-before]') && {SHOWN} == '{identity}'")
        label = "defective" if defective[identity] else "good"
        browser.do(f"document.getElementById('mark-{label}').click()")
        browser.wait(
            f"document.getElementById('look') || ({SHOWN} ?? '{identity}') != '{identity}'"
        )


def waiting(folder: Path) -> list[Entry]:
    """What waits for review, the first first."""
    reviews = Reviews(folder / "records", writes=False)
    found = reviews.waiting(limit=100_000)[::-1]
    reviews.close()
    return found


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Learn, watch, review, learn from it; what came of it."""
    first, line = divided(args.data, args.seed)
    hall = Hall(folder, first)
    before = open_bundle(folder / "part.edgead").sha256
    browser = Browser("about:blank", folder / "profile")
    try:
        hall.show(line)
        bad = {name: is_bad for name, _, is_bad in line}
        labels = {one["id"]: bad[Path(one["file"]).name] for one in hall.lines}
        alarms = [one for one in hall.lines if one.get("is_anomalous")]
        browser.call("Page.navigate", url=hall.url)
        browser.wait("document.readyState == 'complete' && location.port")
        browser.do("localStorage.setItem('edgead.reviewer', 'Ada')")
        browser.call("Page.reload")
        browser.wait("document.querySelector('#nav a')")
        entries = waiting(folder)
        chosen = [e.id for e in entries if not e.is_sampled and not labels[e.id]][: args.alarms]
        review(browser, labels, chosen)
        refusal = browser.do("fetch('/api/learn?camera=left').then(a => a.json())")["refusal"]
        sample = [e.id for e in entries if e.is_sampled]
        review(
            browser,
            labels,
            [*sample, *(e.id for e in entries if labels[e.id] and not e.is_sampled)],
        )
        state = _learn(browser)
        if forced := "far above all" in state["why"]:
            state = _learn(browser, force=True)
        served = []
        if state["state"] == "ready":
            for name, ends in (("swap", "swapped"), ("back", "back")):
                browser.do(f"document.querySelector('[name={name}]').click()")
                browser.wait(f"document.querySelector('[data-state={ends}]')")
                served.append(open_bundle(folder / "part.edgead").sha256)
    finally:
        browser.close()
        hall.end()
    found = {
        "learnt_first": len(first),
        "frames": len(hall.lines),
        "defective": sum(labels.values()),
        "alarms": len(alarms),
        "false_alarms": sum(not labels[one["id"]] for one in alarms),
        "forgiven_alarms": len(chosen),
        "good_of_the_sample": sum(not labels[identity] for identity in sample),
        "refusal_of_alarms_alone": refusal,
        "forced": forced,
        "state": {k: v for k, v in state.items() if k not in ("learnt", "known")},
    }
    return {**found, "bars": judged(found, before, served)}


def _learn(browser: Browser, *, force: bool = False) -> dict[str, Any]:
    browser.do("location.hash = '#/learn'")
    browser.wait("document.querySelector('[name=learn]')")
    if force:
        browser.do("document.querySelector('[name=force]').click()")
    browser.do("document.querySelector('[name=learn]').click()")
    browser.wait("document.querySelector('[data-state=running]')")
    give_up_s = time.monotonic() + LONGEST_S  # it is nice: on a busy machine it takes long
    while browser.do("!!document.querySelector('[data-state=running]')"):
        if time.monotonic() > give_up_s:
            raise DeviceError("the page does not say that learning ended")
        time.sleep(0.5)
    state: dict[str, Any] = browser.do("fetch('/api/learn?camera=left').then(a => a.json())")
    return state


def judged(found: dict[str, Any], before: str, served: list[str]) -> dict[str, bool]:
    """Bar -> whether it is met."""
    state = found["state"]
    if state["state"] != "ready":
        return {
            "refused": "only alarms" in (found["refusal_of_alarms_alone"] or ""),
            "ready": False,
        }
    was, now = state["before"], state["after"]
    rejected = [one["false_rejects"]["rejected"] + one["alarms"]["rejected"] for one in (was, now)]
    return {
        "refused": "only alarms" in (found["refusal_of_alarms_alone"] or ""),
        "rejects": rejected[1] < rejected[0],
        "caught": now["caught"]["rejected"] >= was["caught"]["rejected"],
        "back": len(served) == 2 and served[0] != before and served[1] == before,
    }


def main() -> int:
    """Replay, judge, print, keep; the exit code."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("data", type=Path, metavar="DATA/mvtec_bottle")
    parser.add_argument("--alarms", type=int, default=30, help="false alarms marked good (30)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.data = args.data.resolve()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args, Path(folder))
    whole = {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": processor_name(),
        "seed": args.seed,
        **found,
    }
    write_file(args.json, (json.dumps(whole, indent=1) + "\n").encode())
    print(json.dumps({k: v for k, v in found.items() if k != "state"}, indent=1))
    state = found["state"]
    print(f"{state['state']}: {state['why'] or 'may be swapped in'}; frames {state['frames']}")
    for key in ("false_rejects", "alarms", "caught"):
        print(f"  {key:<14} " + " -> ".join(
            f"{one['rejected']}/{one['images']} {[round(x, 3) for x in one['interval'] or []]}"
            for one in (state["before"][key], state["after"][key])
        ) if state["before"] else key)  # fmt: skip
    return MISSED if False in found["bars"].values() else 0


if __name__ == "__main__":
    sys.exit(guard(main))
