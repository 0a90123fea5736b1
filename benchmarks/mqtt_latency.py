"""What a verdict takes from its frame to a receiver of MQTT, over ``Detector.score`` alone.

    python benchmarks/mqtt_latency.py NAME.edgead [--frame HxW] [--frames N] [--hz 10] [--json FILE]

Debian's mosquitto on this machine, a spool on this disk, a subscriber in this process. Each frame
goes the way of ``edgead watch``: slot, loop, sink, broker, subscriber. Its latency is from being
put into the slot to the subscriber's callback; that of the same frame's ``Detector.score`` is
``timings_ms.total`` of its line. The difference is what all the rest takes, printing among it. The
bar is 5 ms at the median; exit code 4 when it is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from hall import Broker
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edgead import Detector
from edgead.cli.main import guard
from edgead.cpu.processor import processor_name
from edgead.errors import DeviceError
from edgead.files import write_file
from edgead.live.capture import Slot
from edgead.live.loop import Identity, Loop
from edgead.live.outlets import Outlet
from edgead.live.sinks.interface import load
from edgead.live.source import Moment, Reading
from edgead.live.tally import Tally
from edgead.monitoring.percentiles import percentile

BAR_MS = 5.0
MISSED = 4  # exit code
WARM_UP = 20
LONGEST_S = 30.0


def main() -> int:
    """Measure, print; see the module's docstring for the exit code."""
    args = _arguments()
    frames = [
        np.random.default_rng(seed).integers(0, 256, (*args.frame, 3), np.uint8)
        for seed in range(8)
    ]
    with tempfile.TemporaryDirectory() as folder, Detector(args.bundle) as detector:
        found = measure(detector, frames, args.frames, args.hz, Path(folder))
    print(
        f"from frame to receiver, over Detector.score, {found['frames']} frames at {args.hz:g} Hz: "
        f"p50 {found['over_p50_ms']:.2f} ms, p99 {found['over_p99_ms']:.2f} ms; "
        f"Detector.score p50 {found['score_p50_ms']:.2f} ms"
    )
    if args.json:
        write_file(args.json, (json.dumps(found, indent=2) + "\n").encode())
    return MISSED if found["over_p50_ms"] > BAR_MS else 0


def measure(
    detector: Detector, frames: list[Any], number: int, hz: float, folder: Path
) -> dict[str, Any]:
    """Percentiles over ``number`` frames, in milliseconds."""
    arrived: dict[str, float] = {}
    news = threading.Event()

    def hear(client: Client, _: Any, message: Any) -> None:
        now_s = time.perf_counter()
        arrived[json.loads(message.payload)["id"]] = now_s
        news.set()

    with Broker(folder) as broker, open("/dev/null", "wb") as nowhere:
        client = Client(CallbackAPIVersion.VERSION2)
        client.on_message = hear
        client.connect("127.0.0.1", broker.port)
        client.subscribe("edgead/left/verdict", qos=1)
        client.loop_start()
        settings = {"kind": "mqtt", "host": "127.0.0.1", "port": broker.port, "spool": "spool"}
        sink, outlet = load("hall", settings, folder), Outlet()
        sink.open()
        outlet.use(sink)
        heard: list[dict[str, Any]] = []
        slot, identity = Slot(), Identity("left", "0123456789abcdef")
        loop = Loop(detector, slot, Tally(), nowhere, _say, sinks=[outlet], identity=identity)
        loop.listeners = [_Listener(heard)]
        runner = threading.Thread(target=loop.run, args=[bool], daemon=True)
        runner.start()
        differences, scores = [], []
        for index in range(WARM_UP + number):
            put_s = time.perf_counter()
            slot.put(Reading(Moment.now(), frames[index % len(frames)]))
            line = _wait(heard, arrived, index, news)
            if index >= WARM_UP:
                score_ms = line["timings_ms"]["total"]
                scores.append(score_ms)
                differences.append(1e3 * (arrived[line["id"]] - put_s) - score_ms)
            time.sleep(max(0.0, put_s + 1 / hz - time.perf_counter()))
        slot.end()
        runner.join()
        sink.close()
        client.disconnect()
        client.loop_stop()
    return {
        "processor": processor_name(),
        "frames": number,
        "over_p50_ms": percentile(differences, 50),
        "over_p99_ms": percentile(differences, 99),
        "score_p50_ms": percentile(scores, 50),
        "bar_ms": BAR_MS,
    }


class _Listener:
    def __init__(self, heard: list[dict[str, Any]]) -> None:
        self._heard = heard

    def hear(self, line: dict[str, Any], result: Any) -> None:
        self._heard.append(line)


def _wait(
    heard: list[dict[str, Any]], arrived: dict[str, float], index: int, news: threading.Event
) -> dict[str, Any]:
    """The line of frame ``index``, when it has arrived."""
    give_up_s = time.monotonic() + LONGEST_S
    while len(heard) <= index or heard[index]["id"] not in arrived:
        if time.monotonic() > give_up_s:
            raise DeviceError(f"frame {index} did not arrive within {LONGEST_S:g} s")
        news.wait(0.05)
        news.clear()
    return heard[index]


def _say(word: str, text: str, kind: str = "") -> None:
    print(f"{word:<7}{text}", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("bundle", type=Path, help="NAME.edgead")
    size = lambda text: tuple(map(int, text.split("x")))  # noqa: E731
    parser.add_argument("--frame", type=size, default=(512, 512), help="HxW (512x512)")
    parser.add_argument("--frames", type=int, default=300, help="(300)")
    parser.add_argument("--hz", type=float, default=10.0, help="(10)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(guard(main))
