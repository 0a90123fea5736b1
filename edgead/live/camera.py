"""A camera among several: its source, read and scored in threads of its own."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from edgead.errors import CalibrationError
from edgead.files import in_words
from edgead.live.board import Board
from edgead.live.camera_settings import CameraSettings
from edgead.live.capture import Capture, Slot
from edgead.live.checks import Checks
from edgead.live.log import Say
from edgead.live.loop import Identity, Listener, Loop, Receiver
from edgead.live.output import Output
from edgead.live.scorer import Scorer
from edgead.live.source import Source
from edgead.live.sources import open_reader
from edgead.live.tally import Tally
from edgead.records.evidence import Evidence
from edgead.records.store import Records
from edgead.serving.limits import limits_of


class Camera:
    """One camera, from its source to its lines; nothing is opened before ``start``.

    Args:
        settings: of the camera.
        source: that they name.
        view: of an engine that may be shared.
        output: of all cameras' lines.
        say: for what belongs in the log.

    Raises:
        EdgeadError: an option that the source does not have, or a package that is missing.
    """

    def __init__(
        self,
        settings: CameraSettings,
        source: Source,
        view: Scorer,
        output: Output,
        say: Say,
    ) -> None:
        self.settings, self.bundle = settings, view.bundle
        self.failure: BaseException | None = None
        self._ask_to_stop = threading.Event()
        self._say = partial(_say_of, say, settings.name)
        self.slot, self.tally = Slot(every_frame=settings.every_frame), Tally()
        self.reader = open_reader(source, settings.setup(view.bit_depth, self._say))
        self._capture = Capture(
            source,
            self.reader,
            self.slot,
            self._say_of_signal,
            give_up_s=settings.reconnect_seconds,
            schedule=settings.schedule,
        )
        self.board = Board(source, view, self.slot, self.tally, settings.schedule)
        self._listeners: list[Listener] = [self.board]
        self._records: list[Receiver] = []
        self.evidence: Evidence | None = None
        self._loop = Loop(
            view,
            self.slot,
            self.tally,
            output,
            self._say,
            self._listeners,
            self._checks_of(view),
            identity=Identity(settings.name, secrets.token_hex(8)),
            region=settings.roi,
            period_s=1 / settings.rate_hz if settings.rate_hz else 0.0,
        )
        self._info, self._view = view.info(), view
        self._thread = threading.Thread(
            target=self._run, name=f"camera {settings.name}", daemon=True
        )

    @property
    def runs(self) -> bool:
        """Whether frames are still scored or waited for."""
        return self._thread.is_alive()

    def use_sinks(self, sinks: Sequence[Receiver]) -> None:
        """Give the lines to these sinks, from the next one on."""
        self._loop.sinks = [*self._records, *sinks]

    def use(self, view: Scorer) -> None:
        """Score with another bundle's engine from the next frame on; no frame is lost."""
        view.false_reject_rate = self._view.false_reject_rate
        self.bundle, self.board.detector = view.bundle, view
        self._loop.detector, self._loop.checks = view, self._checks_of(view)
        self._info, self._view = view.info(), view
        self._say("read", self._shown())

    def takes(self, view: Scorer) -> bool:
        """Whether ``use`` may have it: frames are read as before, the promise can be kept."""
        try:
            limits_of(view.bundle.manifest, self._view.false_reject_rate, view.info()["precision"])
        except CalibrationError:
            return False
        return view.bit_depth == self._view.bit_depth

    def _checks_of(self, view: Scorer) -> Checks:
        return Checks(
            view.bundle,
            drift=self.settings.drift,
            say=self._say,
            precision=view.info()["precision"],
            bit_depth=view.bit_depth,
        )

    def _shown(self) -> str:
        info = self._info
        return f"{self.settings.bundle}; {info['device']}, {info['precision']}, qualified"

    def _say_of_signal(self, word: str, text: str, kind: str = "") -> None:
        """Say it; that the signal is lost is told to the sinks too."""
        self._say(word, text, kind)
        if word in ("lost", "watch", "back"):
            self.board.note(word, text)
            for sink in self._loop.sinks:
                sink.lost(self.settings.name, self.board.lost)

    def record(self, records: Records) -> None:
        """Save lines and frames too; before ``use_sinks``."""
        self._records = [records]
        self._listeners.append(records)

    def start(self) -> None:
        """Watch from now on: a source that is not there is tried again.

        Raises:
            EdgeadError: its folder for evidence cannot be used.
        """
        settings = self.settings
        if settings.evidence is not None:
            say = partial(self._say, kind="evidence")
            self.evidence = Evidence(Path(settings.evidence), settings.evidence_mb, say)
            self._listeners.append(self.evidence)
        self._say("read", self._shown())
        self._capture.start_patiently()
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Finish the frame in work; ``stop`` waits for it."""
        self._ask_to_stop.set()
        self._capture.ask_to_stop()

    def stop(self, sentence: Callable[[Camera], str]) -> bool:
        """Finish, and say ``sentence``; False when a driver does not come back."""
        self.ask_to_stop()
        left = self._capture.stop()
        if self._thread.ident is not None:
            self._thread.join()
        if self.evidence is not None:
            self.evidence.close()
        if self._loop.checks is not None:
            self._loop.checks.doubt_depth()
        self._say("done", sentence(self))
        return left

    def _run(self) -> None:
        try:
            self._loop.run(self._ask_to_stop.is_set)
        except BaseException as failure:
            self.failure = failure
            words = in_words(failure) if isinstance(failure, Exception) else repr(failure)
            self._say("failed", f"{words}; it is watched no more")
        finally:
            self.slot.end()


def _say_of(say: Say, name: str, word: str, text: str, kind: str = "") -> None:
    """Say it with the camera's name; what comes again and again is counted for each camera."""
    say(word, f"{name}: {text}", kind and f"{name} {kind}")
