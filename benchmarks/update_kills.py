"""Kill an update at random instants: does a bundle always serve, and does the next update end it?

    python benchmarks/update_kills.py OLD.edgead NEW.edgead [--kills 200] [--json FILE]

Both bundles are signed with a key of this run, and NEW is served by a web server on this machine.
For each kill: slots in which OLD serves; `edgead update` as a process of its own; kill -9 after a
random time, at most what an undisturbed update takes (one that ended before is drawn again); then

    serves     the bundle that `current` leads to opens, and a Detector qualifies it
    recovers   the same update, undisturbed, ends with NEW

kill -9 takes the process, and not what the system has yet to write: tests/updating/killing.py
also empties files that were not synced. Exit code 4 where a device was left without a bundle, or
did not recover.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import edgead
from edgead.bundle.storage import open_bundle
from edgead.cli.main import main as command_line
from edgead.errors import EdgeadError
from edgead.signing.ed25519 import new_key
from edgead.signing.sign import sign

MISSED = 4  # exit code


class Quiet(SimpleHTTPRequestHandler):
    """A server of static files, without ranges, that prints nothing."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class Bench:
    """Signed copies of both bundles, the server, and slots to begin with."""

    def __init__(self, old: Path, new: Path, work: Path) -> None:
        self.work, self.slots, self.first = work, work / "slots", work / "first"
        key = new_key(work / "key")
        self.keys = work / "trusted.keys"
        self.keys.write_text(f"trust {key.public} this run\n")
        (work / "www").mkdir()
        for path, name, counter in ((old, "old", 1), (new, "new", 2)):
            shutil.copytree(path, work / f"www/{name}.edgead")
            sign(open_bundle(work / f"www/{name}.edgead"), key, counter, again=True)
        self.digest = {n: open_bundle(work / f"www/{n}.edgead").sha256 for n in ("old", "new")}
        handler = partial(Quiet, directory=str(work / "www"))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.update("old").communicate()
        shutil.copytree(self.slots, self.first, symlinks=True)

    def words(self, name: str) -> list[str]:
        """The arguments of ``edgead`` for an update to a bundle."""
        url = f"http://127.0.0.1:{self.server.server_address[1]}/{name}.edgead"
        words = ["update", "--from", url, "--slots", str(self.slots), "--trust", str(self.keys)]
        return [*words, "--device", "cpu", "--threads", "1"]

    def update(self, name: str) -> subprocess.Popen[bytes]:
        """It, as a process."""
        command = [sys.executable, "-m", "edgead", *self.words(name)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def restore(self) -> None:
        """The slots as they were, with OLD serving."""
        shutil.rmtree(self.slots)
        shutil.copytree(self.first, self.slots, symlinks=True)

    def serving(self) -> str | None:
        """``old`` or ``new``, qualified; None where nothing serves."""
        try:
            with edgead.Detector(self.slots / "current", device="cpu", threads=1) as detector:
                found = detector.bundle.sha256
        except EdgeadError:
            return None
        return next((name for name, digest in self.digest.items() if digest == found), None)

    def left(self) -> str:
        """How far the update had come, by what lies in the slots."""
        if (self.slots / "incoming").exists():
            return "fetching or trying"
        state = json.loads((self.slots / "update.json").read_bytes())
        if state["trial"] is not None:
            return "on trial" if os.readlink(self.slots / "current") == "b.edgead" else "switching"
        return "confirmed" if state["counter"] == 2 else "before the fetch"

    def kill_after(self, seconds: float) -> dict[str, Any]:
        """One update that is killed, and what was left of it."""
        self.restore()
        process = self.update("new")
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        found = {
            "after_s": round(seconds, 4), "killed": process.returncode == -signal.SIGKILL,
            "left": self.left(), "serves": self.serving(),
        }  # fmt: skip
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            code = command_line(self.words("new"))
        found["recovers"] = code == 0 and self.serving() == "new"
        if not found["recovers"]:
            found["said"] = said.getvalue()
        return found

    def undisturbed_s(self) -> float:
        """The longest of three updates."""
        spent = []
        for _ in range(3):
            self.restore()
            started = time.monotonic()
            process = self.update("new")
            process.communicate()
            assert process.returncode == 0
            spent.append(time.monotonic() - started)
        return max(spent)


def summary(rows: list[dict[str, Any]], undisturbed_s: float) -> dict[str, Any]:
    """Counts of all kills."""
    return {
        "kills": sum(row["killed"] for row in rows),
        "ended_before": sum(not row["killed"] for row in rows),
        "without_a_serving_bundle": sum(row["serves"] is None for row in rows),
        "not_recovered": sum(not row["recovers"] for row in rows),
        "served_after_the_kill": dict(Counter(str(row["serves"]) for row in rows)),
        "left": dict(Counter(row["left"] for row in rows)),
        "undisturbed_s": round(undisturbed_s, 3),
    }


def main() -> int:
    """Kill, look, recover; then say how often it went well."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    draw = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args.old, args.new, Path(folder))
        longest = bench.undisturbed_s()
        rows: list[dict[str, Any]] = []
        while (killed := sum(row["killed"] for row in rows)) < args.kills:
            rows.append(bench.kill_after(draw.uniform(0, longest)))
            print(f"{killed}/{args.kills} {rows[-1]}", file=sys.stderr, flush=True)
        bench.server.shutdown()
    told = summary(rows, longest)
    if args.json is not None:
        args.json.write_text(json.dumps({**told, "rows": rows}, indent=1) + "\n")
    print(json.dumps(told, indent=1))
    return MISSED if told["without_a_serving_bundle"] or told["not_recovered"] else 0


if __name__ == "__main__":
    sys.exit(main())
