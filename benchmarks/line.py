"""Four emulated cameras at 10 Hz in one process: is a verdict lost or doubled, does memory stay?

    python benchmarks/line.py NAME.edgead --minutes 10

writes benchmarks/results/line.json. NAME.edgead is any bundle of ``edgead learn``: its network
learns a bundle from frames of the four cameras first (half a minute). The cameras are Aravis' fake
GigE camera, two that pylon emulates and a live pipeline of GStreamer; every verdict goes to stdout,
to mosquitto, to a file and into records. It needs a machine that does nothing else, Debian's
packages ``aravis-tools``, ``mosquitto`` and ``gstreamer1.0-plugins-base``, and the extras ``mqtt``
and ``pylon``. A run of one minute (``--minutes 1``) says nothing of memory.

The bars:

    verdicts  each id was printed once, and is once in the records, in the file and at the broker
    drops     every number of the camera is a verdict, an error, a drop that its line explains or a
              frame that the camera's driver counts as lost
    memory    the process grows by less than 1 MB after its first minute
    tail      p99 of each camera's latency is less than 2 x its p50; longer on a virtual
              machine whose time goes to others (``steal``)
    files     SQLite's integrity_check says ok, every frame of the records can be read

Exit code 4 when one is missed.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hall import (
    CAMERAS,
    HZ,
    Broker,
    FakeGige,
    Receiver,
    Watch,
    database,
    learn_from_cameras,
    line_file,
)

from edgead.bench.monitor import MachineReading, read_machine
from edgead.bench.trust import rss_growth_mb, shares_of_others
from edgead.cli.main import guard
from edgead.cpu.processor import processor_name
from edgead.files import write_file
from edgead.images import read_image
from edgead.monitoring.percentiles import percentile

MOST_GROWTH_MB, MOST_TAIL = 1.0, 2.0
MISSED = 4  # exit code
DELIVERY_S = 30.0
GIGE_NUMBERS = 65535  # frames of GigE Vision are numbered 1 to 65535, and again
RESULTS = Path(__file__).parent / "results" / "line.json"


def unexplained(lines: Sequence[dict[str, Any]]) -> int:
    """Numbers of a camera that neither a line, a drop nor its driver's losses account for."""
    found, following, before = 0, 0, None
    for line in lines:
        dropped = line.get("dropped", {"count": 0})["count"]
        found += abs(line["frame"] - dropped - following)
        following = line["frame"] + 1
        if "camera_frame" in line:
            at = line["camera_frame"], line.get("lost_frames", 0), line["frame"]
            if before is not None:  # what the camera counts, what was lost, what got a number
                counted, lost, numbered = (now - then for now, then in zip(at, before, strict=True))
                if line["camera"] == "aravis":
                    counted %= GIGE_NUMBERS
                found += abs(counted - lost - numbered)
            before = at
    return found


def of_camera(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What became of a camera's frames; the latencies as a count for each 0.1 ms."""
    verdicts = [line for line in lines if "error" not in line]
    latencies_ms = [line["latency_ms"] for line in verdicts]
    score_ms = [line["timings_ms"]["total"] for line in verdicts]
    counts = Counter(round(value, 1) for value in latencies_ms)
    return {
        "frames": lines[-1]["frame"] + 1,
        "verdicts": len(verdicts),
        "errors": len(lines) - len(verdicts),
        "anomalous": sum(line["is_anomalous"] for line in verdicts),
        "dropped": sum(line.get("dropped", {"count": 0})["count"] for line in lines),
        "lost_by_driver": max((line.get("lost_frames", 0) for line in lines), default=0),
        "unexplained": unexplained(lines),
        "p50_ms": percentile(latencies_ms, 50),
        "p99_ms": percentile(latencies_ms, 99),
        "max_ms": max(latencies_ms),
        "score_p50_ms": percentile(score_ms, 50),
        "latencies": {f"{value:.1f}": counts[value] for value in sorted(counts)},
    }


def of_files(folder: Path, printed: set[str]) -> dict[str, Any]:
    """What the records and the file of lines have, held against what was printed."""
    records = folder / "records"
    recorded = database(records / "records.db", "SELECT id FROM verdicts")
    text = (folder / "lines.jsonl").read_text()
    filed = [json.loads(line)["id"] for line in text.splitlines()]
    frames = database(records / "records.db", "SELECT frame FROM evidence WHERE pruned IS NULL")
    broken = 0
    for frame in frames:
        try:
            read_image(records / frame)
        except Exception:
            broken += 1
    stores = (records / "records.db", folder / "spool" / "spool.db")
    return {
        "recorded": len(recorded),
        "not_recorded": len(printed.difference(recorded)),
        "not_filed": len(printed.difference(filed)),
        "doubled_in_file": len(filed) - len(set(filed)),
        "frames": len(frames),
        "broken_frames": broken,
        "integrity": [database(path, "PRAGMA integrity_check")[0] for path in stores],
    }


def judged(found: dict[str, Any]) -> dict[str, bool | None]:
    """Bar -> whether it is met; None where the run is too short to tell."""
    growth, files, cameras = found["rss_growth_mb"], found["files"], found["cameras"].values()
    lost = (found["doubled"], found["not_delivered"], found["delivered_twice"])
    missing = (files["not_recorded"], files["not_filed"], files["doubled_in_file"])
    return {
        "verdicts": not any((*lost, *missing)),
        "drops": not any(camera["unexplained"] for camera in cameras),
        "memory": None if growth is None else growth < MOST_GROWTH_MB,
        "tail": all(camera["p99_ms"] < MOST_TAIL * camera["p50_ms"] for camera in cameras),
        "files": not files["broken_frames"] and set(files["integrity"]) == {"ok"},
    }


def measure(bundle: Path, minutes: float, folder: Path) -> dict[str, Any]:
    """Run the line, and say what became of it."""
    fake, broker = FakeGige(), Broker(folder)
    receiver = Receiver(broker.port)
    try:
        own = learn_from_cameras(folder, bundle)
        watch = Watch(line_file(folder, own, broker.port), folder / "log")
        watch.wait_for_all()
        readings = _look_on(watch, minutes)
        code = watch.end(signal.SIGTERM)
        ids = [line["id"] for line in watch.lines]
        missing = receiver.wait_for(set(ids), DELIVERY_S)
    finally:
        receiver.close()
        broker.kill()
        fake.kill()
    if code:
        sys.stderr.write((folder / "log").read_text())
    others = shares_of_others(readings[0], readings[-1])
    by_camera = {
        name: of_camera([line for line in watch.lines if line["camera"] == name])
        for name in CAMERAS
    }
    found = {
        "exit_code": code,
        "printed": len(ids),
        "doubled": len(ids) - len(set(ids)),
        "not_delivered": len(missing),
        "delivered_twice": len(receiver.ids) - len(set(receiver.ids)),
        "files": of_files(folder, set(ids)),
        "rss_growth_mb": rss_growth_mb(readings),
        "rss_mb": [round(reading.rss_mb or 0, 1) for reading in readings[::10]],
        "load": [reading.load for reading in readings[::60]],
        "steal": others and others[1],
        "cameras": by_camera,
    }
    return {**found, "bars": judged(found)}


def _look_on(watch: Watch, minutes: float) -> list[MachineReading]:
    started_s, readings = time.monotonic(), []
    while (passed := time.monotonic() - started_s) < 60 * minutes:
        readings.append(read_machine(Path("/"), passed, 0.0, str(watch.process.pid)))
        if watch.process.poll() is not None:
            break
        time.sleep(1)
    return readings


def tell(found: dict[str, Any]) -> None:
    """The answers in words."""
    words = {None: "too short", True: "met", False: "MISSED"}
    files = found["files"]
    said = {
        "verdicts": f"{found['printed']} printed, {found['doubled']} doubled; not at the broker "
        f"{found['not_delivered']}, in the records {files['not_recorded']}, in the file "
        f"{files['not_filed']}",
        "drops": ", ".join(
            f"{name} {one['dropped']} ({one['unexplained']} unexplained)"
            for name, one in found["cameras"].items()
        ),
        "memory": "runs of more than a minute tell"
        if found["rss_growth_mb"] is None
        else f"{found['rss_growth_mb']:+.2f} MB since the first minute",
        "tail": ", ".join(
            f"{name} {one['p50_ms']:.1f} / {one['p99_ms']:.1f}"
            for name, one in found["cameras"].items()
        )
        + " ms, p50 / p99"
        + ("" if found["steal"] is None else f"; {100 * found['steal']:.1f} % stolen"),
        "files": f"{files['frames']} frames, {files['broken_frames']} broken; integrity "
        f"{', '.join(files['integrity'])}",
    }
    for name, met in found["bars"].items():
        print(f"  {name:<9} {words[met]:<10} {said[name]}")


def main() -> int:
    """Run, judge, print, keep; the exit code."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("bundle", metavar="NAME.edgead", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0, help="(10)")
    parser.add_argument("--json", type=Path, default=RESULTS, help="(benchmarks/results/line.json)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args.bundle.resolve(), args.minutes, Path(folder))
    whole = {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": processor_name(),
        "minutes": args.minutes,
        "hz": HZ,
        **found,
    }
    tell(found)
    write_file(args.json, (json.dumps(whole) + "\n").encode())
    print(f"wrote  {args.json}")
    return MISSED if False in found["bars"].values() or found["exit_code"] else 0


if __name__ == "__main__":
    sys.exit(guard(main))
