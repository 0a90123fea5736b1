"""The work of learning from reviewed frames, in a process of its own; the state says how far."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.storage import Bundle, open_bundle
from edgead.detector import Detector
from edgead.errors import DeviceError, EdgeadError
from edgead.files import LET_GO_S, in_words
from edgead.images import encode_png, read_image
from edgead.live.relearning.choice import PART_SECONDS, Choice, RelearningError, choose
from edgead.live.relearning.comparison import KINDS, Judged, judge, worse
from edgead.live.relearning.state import (
    CANDIDATE,
    FAILED,
    FRAMES,
    READY,
    WORSE,
    State,
    begun_after,
    place_of,
    read_state,
    settled,
    take_place,
    write_state,
)
from edgead.monitoring.depth import golden_frames
from edgead.records.pruning import iso
from edgead.records.reviews import Entry, Reviews

LONGEST_S = 3600
"""Until a learning that does not end is given up."""
NICE = 10
WRITE_S = 0.5
"""How often the progress is written down."""
_PROGRESS = re.compile(r"(?P<step>[a-z].*?) (?P<done>[0-9]+)/(?P<total>[0-9]+)$")


@dataclass(frozen=True)
class Request:
    """What is to be learnt.

    Args:
        records: folder of the records.
        bundle: of the cameras; it stays as it is.
        rates: the false-reject rate of each camera that has this bundle.
        by: who asks.
        color, device, precision, threads: of the cameras, as for ``Detector``.
        part_seconds: of ``choose``.
        force: learn frames that score far above all others too.
    """

    records: Path
    bundle: Path
    rates: Mapping[str, float]
    by: str
    color: str = "bgr"
    device: str = "auto"
    precision: str | None = None
    threads: int | None = 1
    part_seconds: float = PART_SECONDS
    force: bool = False
    place: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", place_of(self.records, self.bundle))


def chosen(request: Request, known: tuple[str, ...]) -> Choice:
    """The frames that ``request`` would learn from.

    Raises:
        RelearningError: there is nothing, or not enough; says why.
    """
    reviews = Reviews(request.records, writes=False)
    try:
        rate = min(request.rates.values())
        return choose(reviews, list(request.rates), rate, known, request.part_seconds)
    finally:
        reviews.close()


def learn(request: Request, show: Callable[[str, int, int], None] = lambda *_: None) -> State:
    """Learn and judge; the bundle that serves is not touched.

    The process becomes nice, and gives up after LONGEST_S seconds.

    Returns:
        Ready, worse or failed, as it is written down too.

    Raises:
        RelearningError: another process learns from these records for this bundle, or replaces it.
    """
    held = take_place(request.place, LET_GO_S)  # a look at the state has it for a moment
    if held is None:
        raise RelearningError(
            f"another process learns from {request.records} for {request.bundle.name} already, or "
            "replaces it: wait for it"
        )
    try:
        before = settled(read_state(request.place), request.bundle)
        state = write_state(
            request.place, begun_after(before, tuple(request.rates), request.by, started=_now())
        )
        with contextlib.suppress(OSError):
            os.nice(NICE)
        return _Work(request, state, show).run()
    finally:
        os.close(held)


class _Work:
    """One learning, step by step."""

    def __init__(
        self, request: Request, state: State, show: Callable[[str, int, int], None]
    ) -> None:
        self._request, self._place, self._show = request, request.place, show
        self._state, self._written_s = state, 0.0
        self._folder = request.place / FRAMES
        self._copies: dict[str, Path] = {}

    def run(self) -> State:
        """All of it; whatever fails is in the state."""
        try:
            with _until(LONGEST_S):
                return self._run()
        except EdgeadError as error:
            why = str(error)
        except Exception as error:
            why = in_words(error)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        shutil.rmtree(self._place / CANDIDATE, ignore_errors=True)
        return self._write(state=FAILED, why=why, ended=_now())

    def _run(self) -> State:
        request = self._request
        self._tell("choosing frames", 0, 0)
        choice = chosen(request, self._state.known)
        bundle = open_bundle(request.bundle)
        self._write(frames=choice.counts(), sha256_before=bundle.sha256)
        self._copy(bundle, choice)
        self._learn()
        candidate = open_bundle(self._place / CANDIDATE)
        before = self._judge(bundle, choice, "bundle so far")
        after = self._judge(candidate, choice, "new bundle")
        why = worse(before, after)
        if why:
            shutil.rmtree(self._place / CANDIDATE, ignore_errors=True)
        return self._write(
            state=WORSE if why else READY,
            why=why,
            before=before.to_json(),
            after=after.to_json(),
            sha256_after=candidate.sha256,
            learnt=tuple(entry.id for entry in choice.add),
            ended=_now(),
            step="",
        )

    def _copy(self, bundle: Bundle, choice: Choice) -> None:
        """Copies of all frames: what is removed from the records meanwhile stays here."""
        shutil.rmtree(self._folder, ignore_errors=True)
        golden = {frame.shape for frame in golden_frames(bundle)}
        kinds = {kind: getattr(choice, kind) for kind in ("add", "sample", *KINDS)}
        done, total = 0, sum(map(len, kinds.values()))
        for kind, entries in kinds.items():
            (self._folder / kind).mkdir(parents=True)
            for number, entry in enumerate(entries):
                frame = self._read(entry)
                if len(golden) == 1 and frame.shape not in golden:
                    raise RelearningError(_other_size(entry, frame, bundle, *golden))
                # Encoded anew: what edgead saves by itself has a mark, and is not learnt from.
                path = self._folder / kind / f"{kind}{number}_{entry.id}.png"
                path.write_bytes(encode_png(frame))
                self._copies[entry.id] = path
                done += 1
                self._tell("copying frames", done, total)

    def _read(self, entry: Entry) -> NDArray[Any]:
        """A frame in the order of files, blue first."""
        assert entry.frame is not None  # chosen ones are there
        frame = read_image(entry.frame)
        if self._request.color == "rgb" and frame.ndim == 3:
            return np.ascontiguousarray(frame[..., ::-1])
        return frame

    def _learn(self) -> None:
        """``edgead learn --add`` in a process of its own: what it takes is gone afterwards."""
        request, folder = self._request, self._folder
        words = [sys.executable, "-m", "edgead", "learn", str(request.bundle)]
        words += ["--add", str(folder / "add"), "--calibrate", str(folder / "sample")]
        words += ["--group", r"((?:add|sample)[0-9]+)_", "--out", str(self._place / CANDIDATE)]
        words += ["--device", request.device, "--json"]
        words += [] if request.threads is None else ["--threads", str(request.threads)]
        words += ["--force"] if request.force else []
        said = ""
        with subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
        ) as process:
            assert process.stderr is not None  # asked for above
            try:
                for line in process.stderr:
                    if found := _PROGRESS.match(line.strip()):
                        self._tell(found["step"], int(found["done"]), int(found["total"]))
                    elif line.startswith("edgead: "):
                        said = line.removeprefix("edgead: ").strip()
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise DeviceError(self._by_ids(said) or f"edgead learn ended: {process.returncode}")

    def _by_ids(self, text: str) -> str:
        """What the command said, with the ids of frames in place of the copies' paths."""
        folder = re.escape(str(self._folder))
        text = re.sub(rf"(?:{folder}/\w+/)?(?:add|sample)[0-9]+_(\S+?)\.png", r"\1", text)
        outliers, found, _ = text.partition(": look at each (")
        cure = (
            "look at them again, and mark those with a defect; or learn them all the same (force)"
        )
        return f"{outliers}: {cure}" if found else text

    def _judge(self, bundle: Bundle, choice: Choice, name: str) -> Judged:
        request = self._request
        settings: dict[str, Any] = {"device": request.device, "threads": request.threads}
        with Detector(bundle, precision=request.precision, **settings) as detector:
            step = f"scoring held-out frames, {name}"
            return judge(
                detector,
                choice,
                request.rates,
                lambda entry: read_image(self._copies[entry.id]),
                lambda done, total: self._tell(step, done, total),
            )

    def _tell(self, step: str, done: int, total: int) -> None:
        self._show(step, done, total)
        now_s = time.monotonic()
        if step != self._state.step or now_s - self._written_s > WRITE_S:
            self._written_s = now_s
            self._write(step=step, done=done, total=total)

    def _write(self, **changes: Any) -> State:
        self._state = write_state(self._place, self._state, **changes)
        return self._state


def to_text(request: Request) -> str:
    """For another process; ``from_text`` reads it."""
    told = {k: v for k, v in vars(request).items() if k != "place"}
    return json.dumps({**told, "records": str(request.records), "bundle": str(request.bundle)})


def from_text(text: str) -> Request:
    """What ``to_text`` made."""
    told = json.loads(text)
    return Request(**{**told, "records": Path(told["records"]), "bundle": Path(told["bundle"])})


def _other_size(entry: Entry, frame: NDArray[Any], bundle: Bundle, golden: tuple[int, ...]) -> str:
    sizes = [" x ".join(map(str, shape[:2])) for shape in (frame.shape, golden)]
    looks = ["colour" if len(shape) == 3 else "grey" for shape in (frame.shape, golden)]
    return (
        f"the frame of {entry.id} is {sizes[0]} {looks[0]}, {bundle.path.name} was learnt from "
        f"{sizes[1]} {looks[1]}: give the bundle that {entry.camera} is watched with; if the "
        "camera is another now, learn anew from its frames"
    )


@contextmanager
def _until(seconds: int) -> Iterator[None]:
    """Raise DeviceError in the main thread after so many seconds, where the system has alarms."""

    def over(number: int, frame: FrameType | None) -> None:
        raise DeviceError(f"learning took longer than {seconds / 60:g} minutes, and was given up")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _now() -> str:
    return iso(datetime.now(timezone.utc))


if __name__ == "__main__":  # of Learning.start
    ended = learn(from_text(sys.argv[1]))
    sys.exit(0 if ended.state in (READY, WORSE) else 1)
