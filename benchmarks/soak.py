"""Ten minutes at a camera's cadence: does memory stay, is each drop explained, is the tail short?

    python benchmarks/soak.py NAME.edgead --images FOLDER [--hz 30] [--minutes 10] [--json FILE]

Two runs, one after the other, of --minutes each (--only bench or watch leaves the other out):

    bench   edgead-bench in open loop
    watch   edgead watch on a camera: a server on this machine that sends the images as JPEG

The bars, of each run:

    memory  the process grows by less than 1 MB after its first minute
    drops   every frame was scored, or dropped because a newer one had arrived; the camera counts
            what it sends, so that a frame which never reached the slot is missed
    tail    p99 of the latency is less than 2 x its p50

Measure on a machine that does nothing else: the doubts of edgead-bench say whether it did. Exit
code 4 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from edgead.bench.monitor import read_machine
from edgead.bench.trust import rss_growth_mb
from edgead.cli.console import count
from edgead.cli.main import guard
from edgead.cpu.processor import processor_name
from edgead.errors import DeviceError
from edgead.files import write_file
from edgead.images import encode_jpeg, expand, read_image
from edgead.monitoring.percentiles import percentile

MOST_GROWTH_MB, MOST_TAIL = 1.0, 2.0
MISSED = 4  # exit code
IN_FLIGHT = 2
"""Frames that may be on their way from the camera to their number at every look: one whose end
FFmpeg sees only when the next begins, and one in the decoder."""
LATEST = 30
"""Lines over which the fewest frames on their way are looked for: a late look finds more."""
KEEP = ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms", "mean_ms")


def judged(found: dict[str, Any]) -> dict[str, bool | None]:
    """Bar -> whether it is met; None where the run is too short to tell."""
    growth = found["rss_growth_mb"]
    return {
        "memory": None if growth is None else growth < MOST_GROWTH_MB,
        "drops": found["unexplained"] == 0,
        "tail": found["p99_ms"] < MOST_TAIL * found["p50_ms"],
    }


def soak_bench(args: argparse.Namespace) -> dict[str, Any]:
    """edgead-bench in open loop. Its doubts are kept."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.json"
        words = [args.bundle, "--images", *args.images, "--hz", args.hz, "--minutes", args.minutes]
        words += ["--cold-starts", 0, "--json", file, *_threads(args)]
        subprocess.run([sys.executable, "-m", "edgead.bench", *map(str, words)], check=True)
        whole = json.loads(file.read_bytes())
    loop = whole["open_loop"]
    return {
        "command": "edgead-bench",
        "frames": loop["frames"],
        "scored": len(loop["served"]),
        "drops": loop["drops"],
        "drops_busy": loop["drops_busy"],
        "drops_late": loop["drops_late"],
        "unexplained": unexplained(loop),
        **{key: loop["latency"][key] for key in KEEP},
        "rss_growth_mb": whole["machine"]["rss_growth_mb"],
        "rss_mb": whole["machine"]["readings"][-1]["rss_mb"],
        "doubts": whole["warnings"],
    }


def unexplained(loop: dict[str, Any]) -> int:
    """Dropped frames after which no newer one had arrived when the next was taken: has to be 0."""
    served, ages, found, following = loop["served"], loop["queue_age"]["samples_ms"], 0, 0
    for number, age_ms in zip(served, ages, strict=True):
        # The frame taken had arrived: its age is not below 0, but for the clock's last bit.
        found += (number - following) * (age_ms < -1e-6)
        following = number + 1
    return found + loop["frames"] - following


class Heard:
    """What the lines of edgead watch say, held against what its camera had sent by then."""

    def __init__(self, hz: float) -> None:
        self._hz = hz
        self.latencies_ms: list[float] = []
        self.frames = self.drops = self.failed = self.sent = 0
        self._on_their_way: deque[int] = deque(maxlen=LATEST)

    def take(self, line: dict[str, Any], sent: int) -> None:
        """Note a line, read when the camera had sent ``sent`` frames."""
        if "error" in line:
            self.failed += 1
        else:
            self.latencies_ms.append(line["latency_ms"])
            # Those that the camera sent while this frame was scored get their numbers later.
            later = line["latency_ms"] / 1e3 * self._hz
            self._on_their_way.append(sent - (line["frame"] + 1) - math.ceil(later))
        self.drops += line.get("dropped", {"count": 0})["count"]
        self.frames, self.sent = line["frame"] + 1, sent

    @property
    def lost(self) -> int:
        """Frames that were sent, are not on their way, and never got a number."""
        return max(0, min(self._on_their_way, default=0) - IN_FLIGHT)

    def to_json(self) -> dict[str, Any]:
        """The keys that say what became of the frames."""
        scored = len(self.latencies_ms)
        return {
            "sent": self.sent,
            "frames": self.frames,
            "scored": scored,
            "failed": self.failed,
            "drops": self.drops,
            "lost": self.lost,
            "unexplained": self.frames - scored - self.drops + self.lost,
        }


def soak_watch(args: argparse.Namespace) -> dict[str, Any]:
    """edgead watch on a camera of this machine, until SIGTERM."""
    pictures = [encode_jpeg(read_image(path)) for path in expand(args.images).images[:100]]
    readings, heard, sent = [], Heard(args.hz), [0]
    with _camera(pictures, args.hz, sent) as address:
        words = [address, "--bundle", args.bundle, *_threads(args)]
        command = [sys.executable, "-m", "edgead", "watch", *map(str, words)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None  # asked for above
            started, looked, ending = None, -1.0, False
            for text in process.stdout:
                heard.take(json.loads(text), sent[0])
                now = time.monotonic()
                started = now if started is None else started
                passed = now - started
                if passed - looked >= 1:
                    looked = passed
                    readings.append(read_machine(Path("/"), passed, 0.0, str(process.pid)))
                if passed >= 60 * args.minutes and not ending:
                    ending = True
                    process.send_signal(signal.SIGTERM)
    if process.returncode != 0 or not heard.latencies_ms:
        raise DeviceError(f"edgead watch ended with {process.returncode}: see what it said above")
    percents = (("p50_ms", 50), ("p99_ms", 99))
    return {
        "command": "edgead watch",
        **heard.to_json(),
        **{key: percentile(heard.latencies_ms, p) for key, p in percents},
        "max_ms": max(heard.latencies_ms),
        "rss_growth_mb": rss_growth_mb(readings),
        "rss_mb": readings[-1].rss_mb,
    }


@contextmanager
def _camera(pictures: Sequence[bytes], hz: float, sent: list[int]) -> Iterator[str]:
    """The address of a camera that sends ``pictures`` in turn, ``hz`` a second, for ever.

    ``sent[0]`` counts them, over all connections.
    """

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            started, number = time.monotonic(), 0
            with suppress(OSError):  # who looked went away
                while True:
                    data = pictures[number % len(pictures)]
                    head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}"
                    sent[0] += 1  # before it goes: its line may be here sooner than this thread
                    self.wfile.write(head.encode() + b"\r\n\r\n" + data + b"\r\n")
                    number += 1
                    time.sleep(max(0.0, started + number / hz - time.monotonic()))

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/camera"
        server.shutdown()


def _threads(args: argparse.Namespace) -> list[str]:
    return [] if args.threads is None else ["--threads", str(args.threads)]


def tell(name: str, found: dict[str, Any]) -> None:
    """The three answers in words."""
    bars = judged(found)
    words = {None: "too short", True: "met", False: "MISSED"}
    growth = found["rss_growth_mb"]
    grown = "runs of more than a minute tell" if growth is None else f"{growth:+.2f} MB"
    ratio = found["p99_ms"] / found["p50_ms"]
    sent = f", {found['sent']} sent" if "sent" in found else ""
    print(f"\n{name}: {count(found['frames'], 'frame')}, {found['scored']} scored{sent}")
    print(f"  memory  {words[bars['memory']]:<9}  {grown} since the first minute")
    print(f"  drops   {words[bars['drops']]:<9}  {found['drops']}, "
          f"{found['unexplained']} of them not explained by the latest frame winning")  # fmt: skip
    print(f"  tail    {words[bars['tail']]:<9}  p99 {found['p99_ms']:.2f} ms is {ratio:.2f} x "
          f"p50 {found['p50_ms']:.2f} ms")  # fmt: skip


def main() -> int:
    """Run, judge, print, keep; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", metavar="NAME.edgead")
    parser.add_argument("--images", nargs="+", required=True, metavar="IMAGE")
    parser.add_argument("--hz", type=float, default=30.0)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--threads", type=int, help="of the engine")
    parser.add_argument("--only", choices=("bench", "watch"))
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write what was found, no samples"
    )
    args = parser.parse_args()
    whole: dict[str, Any] = {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": processor_name(),
        "hz": args.hz,
        "minutes": args.minutes,
        "threads": args.threads,
    }
    for name, work in (("bench", soak_bench), ("watch", soak_watch)):
        if args.only in (None, name):
            found = work(args)
            whole[name] = {**found, "bars": judged(found)}
    runs = {name: whole[name] for name in ("bench", "watch") if name in whole}
    for name, found in runs.items():
        tell(name, found)
    if args.json is not None:
        write_file(args.json, (json.dumps(whole, indent=1) + "\n").encode())
        print(f"wrote  {args.json}")
    missed = any(met is False for found in runs.values() for met in found["bars"].values())
    return MISSED if missed else 0


if __name__ == "__main__":
    sys.exit(guard(main))
