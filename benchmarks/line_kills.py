"""Broker, camera and process are killed in mid-run: does each printed verdict reach the broker?

    python benchmarks/line_kills.py NAME.edgead [--away 60] [--kills 3]

writes benchmarks/results/line_kills.json, in about five minutes. The hall is that of ``line.py``,
which says what it needs. First the broker is killed with -9 and comes back after --away seconds;
then the GigE camera, for a quarter of that time; then edgead itself is killed with -9, --kills
times at drawn moments, and started again on the same folders; last it is stopped by SIGTERM.

The bars:

    delivered  each verdict that was printed reaches the receiver; doubles are dropped by id
    kept       each verdict that was printed is in the records and in the file of lines
    files      no line and no frame is broken, SQLite's integrity_check says ok
    cameras    the cameras that were not killed gave verdicts meanwhile; the killed one came back

A broker that is killed may take with it what it confirmed and did not pass on yet: with a receiver
that is connected these are milliseconds, and would show as not delivered. Exit code 4 when a bar is
missed.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hall import CAMERAS, Broker, FakeGige, Receiver, Watch, learn_from_cameras, line_file
from line import DELIVERY_S, MISSED, of_files

from edgead.cli.main import guard
from edgead.cpu.processor import processor_name
from edgead.files import write_file

RESULTS = Path(__file__).parent / "results" / "line_kills.json"
LEAST_S, MOST_S = 3.0, 12.0
"""Between the first verdict of all cameras and the kill."""


def counted(watch: Watch, after: int) -> dict[str, int]:
    """Verdicts of each camera since its ``after``-th line."""
    lines = list(watch.lines)[after:]
    return {
        name: sum(line["camera"] == name and "error" not in line for line in lines)
        for name in CAMERAS
    }


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Kill one after the other, and say what was lost."""
    draw = random.Random(args.seed)
    fake, broker = FakeGige(), Broker(folder)
    receiver = Receiver(broker.port)
    runs: list[Watch] = []
    try:
        line = line_file(folder, learn_from_cameras(folder, args.bundle.resolve()), broker.port)
        runs.append(Watch(line, folder / "log"))
        runs[-1].wait_for_all()
        broker.kill()
        without_broker = _meanwhile(runs[-1], args.away)
        broker.start()
        fake.kill()
        without_camera = _meanwhile(runs[-1], args.away / 4)
        fake.start()
        came_back = _meanwhile(runs[-1], max(20.0, args.away / 2))["aravis"]
        moments = []
        for _ in range(args.kills):
            moments.append(round(draw.uniform(LEAST_S, MOST_S), 2))
            time.sleep(moments[-1])
            runs[-1].end(signal.SIGKILL)
            runs.append(Watch(line, folder / "log"))
            runs[-1].wait_for_all()
        code = runs[-1].end(signal.SIGTERM)
        printed = [record["id"] for run in runs for record in run.lines]
        missing = receiver.wait_for(set(printed), DELIVERY_S)
    finally:
        receiver.close()
        broker.kill()
        fake.kill()
        for run in runs:
            run.process.kill()
    if code:
        sys.stderr.write((folder / "log").read_text())
    found = {
        "exit_code": code,
        "killed_after_s": moments,
        "printed": len(printed),
        "doubled": len(printed) - len(set(printed)),
        "cut_lines": sum(bool(run.cut) for run in runs),
        "not_delivered": len(missing),
        "delivered_twice": len(receiver.ids) - len(set(receiver.ids)),
        "without_broker": without_broker,
        "without_camera": without_camera,
        "came_back": came_back,
        "files": of_files(folder, set(printed)),
    }
    return {**found, "bars": judged(found)}


def _meanwhile(watch: Watch, seconds: float) -> dict[str, int]:
    before = len(watch.lines)
    time.sleep(seconds)
    return counted(watch, before)


def judged(found: dict[str, Any]) -> dict[str, bool]:
    """Bar -> whether it is met."""
    files = found["files"]
    others = [n for name, n in found["without_camera"].items() if name != "aravis"]
    return {
        "delivered": not found["not_delivered"],
        "kept": not files["not_recorded"] and not files["not_filed"],
        "files": not (found["cut_lines"] or found["doubled"] or files["broken_frames"])
        and set(files["integrity"]) == {"ok"},
        "cameras": min(*others, *found["without_broker"].values(), found["came_back"]) > 0,
    }


def main() -> int:
    """Kill, judge, print, keep; the exit code."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("bundle", metavar="NAME.edgead", type=Path)
    parser.add_argument("--away", type=float, default=60.0, help="seconds without a broker (60)")
    parser.add_argument("--kills", type=int, default=3, help="of the process (3)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", type=Path, default=RESULTS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args, Path(folder))
    files = found["files"]
    print(
        f"{found['printed']} printed: {found['not_delivered']} did not reach the broker, "
        f"{found['delivered_twice']} came twice; {files['not_recorded']} not in the records, "
        f"{files['not_filed']} not in the file; {files['broken_frames']} of {files['frames']} "
        f"frames broken; integrity {', '.join(files['integrity'])}"
    )
    for name, met in found["bars"].items():
        print(f"  {name:<10} {'met' if met else 'MISSED'}")
    whole = {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": processor_name(),
        "away_s": args.away,
        **found,
    }
    write_file(args.json, (json.dumps(whole, indent=1) + "\n").encode())
    print(f"wrote  {args.json}")
    return MISSED if False in found["bars"].values() or found["exit_code"] else 0


if __name__ == "__main__":
    sys.exit(guard(main))
