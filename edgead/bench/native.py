"""libedgead beside Python: csrc/tools/edgead_time.c, which is asked through its stdin and stdout.

It measures itself, so that no pipe is in a sample: a frame is in its memory before it is asked to
score it, and it runs the open loop on its own.
"""

from __future__ import annotations

import json
import select
import shutil
import subprocess
import tempfile
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from edgead.bench.closed_loop import Frame
from edgead.bench.cold_start import cold_start
from edgead.bench.monitor import read_machine
from edgead.bench.open_loop import LONGEST_SLEEP_S, OpenLoop
from edgead.bench.subjects import Subject
from edgead.errors import (
    BundleError,
    CalibrationError,
    DeviceError,
    EdgeadError,
    InputError,
    QualificationError,
)
from edgead.images import encode_png

PLACE = "build/c"  # where `make c-library` installs
PROGRAMS = ("edgead-time", "edgead-score")
ERRORS: dict[str, type[EdgeadError]] = {
    "input": InputError,
    "calibration": CalibrationError,
    "bundle": BundleError,
    "unsupported": BundleError,
    "qualification": QualificationError,
}
"""Words of edgead_status_text; a DeviceError for all others."""
FORMATS = {("uint8", "gray"): 1, ("uint16", "gray"): 2, ("uint8", "bgr"): 3, ("uint8", "rgb"): 4,
           ("uint16", "bgr"): 7, ("uint16", "rgb"): 8}  # fmt: skip
"""Sample and order of a frame -> edgead_format."""


class Programs:
    """The programs of libedgead below ``folder``, as `make c-library` or a package installs them.

    Raises:
        InputError: they are neither there nor, where ``folder`` is PLACE, on PATH.
    """

    def __init__(self, folder: str) -> None:
        self.time, self.score = (self._find(folder, name) for name in PROGRAMS)

    @staticmethod
    def _find(folder: str, name: str) -> str:
        for path in (Path(folder, "bin", name), Path(folder, name)):
            if path.is_file():
                return str(path)
        found = shutil.which(name) if folder == PLACE else None
        if found is not None:
            return found
        places = f"{folder} or on PATH" if folder == PLACE else folder
        raise InputError(
            f"--native: there is no {name} in {places}: build libedgead with `make c-library`, or "
            "give the folder that it was installed into, as in --native /usr"
        )


class TimedScore:
    """A score, and its milliseconds by stage with ``end_to_end``."""

    def __init__(self, score: float, timings_ms: dict[str, float]) -> None:
        self.score, self.timings_ms = score, timings_ms


class Native(Subject):
    """A process of libedgead that has opened the bundle of ``beside``, as it was asked there.

    Args:
        beside: the same in Python
        programs: of libedgead
        frames: those that may be scored; they are sent to the process
    """

    def __init__(self, beside: Subject, programs: Programs, frames: Sequence[Frame]) -> None:
        super().__init__(f"{beside.label}, native", beside.bundle, beside.asked)
        self._beside, self._programs, self._frames = beside, programs, frames
        self._numbers = {id(frame): number for number, frame in enumerate(frames)}

    def __enter__(self) -> Native:
        """Open the bundle.

        Raises:
            EdgeadError: what libedgead says of it.
        """
        command = [self._programs.time, str(self.bundle.path), *self._options()]
        # A session of its own: what a terminal sends (Ctrl-C) is for this process to obey.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdin is not None and self._process.stdout is not None  # asked for
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self.process = self._process.pid
        try:
            self._info = self._answer()
            for frame in self._frames:
                self._keep(frame)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # it holds nothing that could be lost
        with suppress(OSError), self._stdin, self._stdout:
            self._process.wait()

    def info(self) -> dict[str, str]:
        """What serves; ``library``: the version of libedgead."""
        return {name: str(value) for name, value in self._info.items()}

    def score(self, frame: Frame) -> TimedScore:
        """Score one of the frames."""
        found = self._ask(f"score {self._numbers[id(frame)]}\n".encode())
        return TimedScore(found["score"], found["timings_ms"])

    def open_loop(self, found: OpenLoop, stopped: Callable[[], object]) -> None:
        """Let the process run it; see edgead_time.c."""
        self._send(f"loop {found.hz!r} {found.planned}\n".encode())
        answer = self._answer(stopped)
        served = int(answer["served"])
        found.count = int(answer["count"])
        samples = [array(kind, self._stdout.read(8 * served)) for kind in "qdd"]
        for number, latency_ms, age_ms in zip(*samples, strict=True):
            found.add(number, latency_ms, age_ms)

    def cold_start_ms(self, image: Path) -> float:
        """Of edgead-score, of the first frame as PNG: the one kind of file that it reads."""
        del image
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "first.png")
            path.write_bytes(encode_png(np.asarray(self._frames[0])))
            words = [self._programs.score, str(self.bundle.path), str(path), "--json"]
            return cold_start([*words, *self._options()], begins="{")

    def doubts(self, frame: Frame) -> list[str]:
        """Whether both give the same score, bit for bit."""
        here, there = self.score(frame).score, self._beside.score(frame).score
        if here == there:
            return []
        return [f"scores: libedgead gives {here!r} where Python gives {there!r}: please report it"]

    def rss_mb(self) -> float | None:
        """Memory of the process."""
        return read_machine(Path("/"), 0, 0, str(self.process)).rss_mb

    def _options(self) -> list[str]:
        given = {"--threads": self.asked["threads"], "--precision": self.asked["precision"]}
        return [str(word) for pair in given.items() if pair[1] is not None for word in pair]

    def _keep(self, frame: Frame) -> None:
        order = "gray" if frame.ndim == 2 else self.asked["color"]
        rows = np.ascontiguousarray(frame)
        kind = FORMATS[rows.dtype.name, order]
        depth = self.asked.get("bit_depth", 0) if rows.itemsize == 2 else 0
        height, width = rows.shape[:2]
        words = ("frame", kind, height, width, rows.strides[0], depth, rows.nbytes)
        self._ask(f"{' '.join(map(str, words))}\n".encode(), rows.tobytes())

    def _ask(self, *pieces: bytes) -> dict[str, Any]:
        self._send(*pieces)
        return self._answer()

    def _send(self, *pieces: bytes) -> None:
        with suppress(OSError):  # it has ended, and the answer says why
            for piece in pieces:
                self._stdin.write(piece)
            self._stdin.flush()

    def _answer(self, stopped: Callable[[], object] = bool) -> dict[str, Any]:
        """Its next line; ``stopped`` lets an open loop end early."""
        while not select.select([self._stdout], [], [], LONGEST_SLEEP_S)[0]:
            if stopped():
                self._send(b"stop\n")
                break
        line = self._stdout.readline()
        if not line:
            raise DeviceError(
                f"{self._programs.time} ended with exit code {self._process.wait()} while it was "
                "measured; what it says on stderr is above"
            )
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            kind = ERRORS.get(found["status"], DeviceError)
            raise kind(f"libedgead: {found['error']}")
        return found
