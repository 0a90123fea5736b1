"""Several cameras in one process, as a line.toml says; it may be read again while they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from edgead.bundle.storage import Bundle, open_bundle
from edgead.errors import DeviceError
from edgead.files import in_words
from edgead.live.board import Board
from edgead.live.camera import Camera
from edgead.live.camera_settings import CameraSettings
from edgead.live.line_file import LineFile, read_line_file
from edgead.live.log import Say
from edgead.live.outlets import Outlets
from edgead.live.output import Output
from edgead.live.relearning.choice import RelearningError
from edgead.live.relearning.job import Request
from edgead.live.scorer import Scorer
from edgead.live.sinks.interface import SinkState
from edgead.live.source import SourceError
from edgead.records.store import Records

Sentence = Callable[[Camera], str]
OpenView = Callable[[Bundle, Mapping[str, Any]], Scorer]


class Cameras:
    """The cameras of a line.toml and their sinks.

    ``boards``: what the page shows, by the cameras' names.

    Args:
        path: of the file.
        out: gets the lines of all cameras.
        say: for what belongs in the log.
        sentence: what became of a camera's frames, for the log at its end.
        open_view: opens what scores, of a bundle and the arguments of ``Detector``.

    Raises:
        EdgeadError: the file is wrong, a bundle or its engine cannot be used.
    """

    def __init__(
        self, path: Path, out: BinaryIO, say: Say, sentence: Sentence, open_view: OpenView
    ) -> None:
        self._path, self._say, self._sentence = path, say, sentence
        self.output = Output(out, say)
        self.boards: dict[str, Board] = {}
        self._open_view = open_view
        self._cameras: dict[str, Camera] = {}
        self._outlets = Outlets()
        self._left = True
        self._code = 0
        self._file = read_line_file(path)
        self._views: dict[str, Scorer] = {}  # of cameras whose bundle alone is another now
        self.records: Records | None = None
        self._fresh = {camera.settings.name: camera for camera in self._new_cameras(self._file)}
        self._fresh_sinks = self._outlets.fresh(self._file)

    def start(self) -> None:
        """Open the records and the sinks, then watch all cameras.

        Raises:
            EdgeadError: a folder or sink that cannot be used.
        """
        if (settings := self._file.records) is not None:
            say = partial(self._say, kind="records")
            self.records = self._file.within(("records",), lambda: Records(settings, say))
        self._outlets.take(self._file, self._fresh_sinks)  # before any camera is started
        self._fresh_sinks = {}
        for error in self._take(self._file):
            raise error

    @property
    def runs(self) -> bool:
        """Whether any camera still runs.

        Raises:
            DeviceError: an engine failed, which other cameras share.
            OSError: nobody reads the lines any more.
        """
        for camera in self._cameras.values():
            failure = camera.failure
            of_all = isinstance(failure, DeviceError | ConnectionError)  # engine, or stdout
            if of_all and not isinstance(failure, SourceError):
                assert failure is not None
                raise failure
        return any(camera.runs for camera in self._cameras.values())

    def reload(self) -> None:
        """Read the file again: cameras and sinks that did not change go on, and lose no frame.

        A file that is wrong, or a camera that cannot be opened, changes nothing.
        """
        try:
            file = read_line_file(self._path)
            fresh = {camera.settings.name: camera for camera in self._new_cameras(file)}
            sinks = self._outlets.fresh(file)
        except Exception as error:  # whatever is in the file, what runs goes on
            self._say("reload", f"refused, all goes on as before: {in_words(error)}")
            return
        if file.records != self._file.records:
            self._say("reload", "[records] holds from the next start")
        self._fresh, self._fresh_sinks = fresh, sinks
        for name, view in self._views.items():
            self._cameras[name].use(view)
        names = {settings.name for settings in file.cameras}
        gone = [name for name in self._cameras if name in fresh or name not in names]
        self._stop(gone)
        for failure in self._take(file):
            self._say("reload", f"not all of it: {in_words(failure)}")
        kept = len(names) - len(fresh)
        told = f"{self._path}: {len(fresh)} cameras started, {kept} go on"
        with_another = f", {len(self._views)} of them with another bundle" if self._views else ""
        self._say("reload", f"{told}{with_another}")

    def learning_of(self, name: str, by: str) -> Request:
        """What would be learnt from the records for the bundle of a camera, and of those who share
        it.

        Raises:
            RelearningError: no such camera, no records, or it takes signed bundles only.
        """
        camera = self._cameras.get(name)
        if camera is None:
            raise RelearningError(f"there is no camera {name}: it has {', '.join(self._cameras)}")
        if self.records is None:
            raise RelearningError("no records are kept: add a table [records] to the file")
        bundle, settings = Path(camera.settings.bundle).resolve(), camera.settings
        sharing = {
            each: other
            for each, other in list(self._cameras.items())
            if Path(other.settings.bundle).resolve() == bundle
        }
        signed = [each for each in sharing if sharing[each].settings.trusted_keys is not None]
        if signed:
            raise RelearningError(
                f"{', '.join(signed)} takes signed bundles only (trusted_keys), and what is learnt "
                "here has no signature: learn with edgead records learn, and sign the new bundle "
                "with edgead sign"
            )
        rates = {each: other.board.detector.false_reject_rate for each, other in sharing.items()}
        return Request(
            self.records.settings.folder.resolve(),
            bundle,
            rates,
            by,
            settings.color,
            settings.device,
            settings.precision,
            part_seconds=self.records.settings.part_seconds,
        )

    def sinks(self) -> dict[str, SinkState]:
        """How each sink fares, by name."""
        return self._outlets.states()

    def tick(self) -> None:
        """Say how the sinks fare; to be called now and then."""
        self._outlets.tick(self._say)

    def stop(self) -> int:
        """End all cameras, then the sinks; the exit code."""
        self._stop(list(self._cameras))
        self._outlets.close()
        if self.records is not None:
            self.records.close()
            missing = f", {self.records.skipped} not saved" if self.records.skipped else ""
            folder = self.records.settings.folder
            self._say("wrote", f"{self.records.saved} records to {folder}{missing}")
        return self._code

    @property
    def left(self) -> bool:
        """Whether all drivers came back when their cameras were stopped."""
        return self._left

    def _take(self, file: LineFile) -> list[Exception]:
        """Use the file's sinks, and start its fresh cameras; what could not be, and why."""
        self._file, failures = file, list[Exception]()
        fresh, self._fresh = self._fresh, {}
        for each in file.cameras:  # first: what an outlet that goes would get now is lost
            if each.name in self._cameras:
                self._cameras[each.name].use_sinks(self._outlets.of(each.sinks))
        try:
            self._outlets.take(file, self._fresh_sinks)
        except Exception as error:
            failures.append(error)
        for index, each in enumerate(file.cameras):
            if (camera := fresh.get(each.name)) is None:
                continue
            if self.records is not None:
                camera.record(self.records)
            camera.use_sinks(self._outlets.of(each.sinks))
            try:
                file.within(("camera", index), camera.start)
            except Exception as error:
                failures.append(error)
                continue
            self._cameras[each.name], self.boards[each.name] = camera, camera.board
        return failures

    def _stop(self, names: list[str]) -> None:
        for name in names:  # all at once: each may have to wait for its driver
            self._cameras[name].ask_to_stop()
        for name in names:
            camera = self._cameras.pop(name)
            del self.boards[name]
            self._left &= camera.stop(self._sentence)
            if camera.failure is not None:  # one that nobody foresaw is its driver's
                self._code = max(self._code, getattr(camera.failure, "exit_code", 2))

    def _new_cameras(self, file: LineFile) -> list[Camera]:
        """Those of the file that do not run as it wants them, with their engines open."""
        found, bundles = [], dict[str, Bundle]()
        self._views = {}
        for index, settings in enumerate(file.cameras):
            where = ("camera", index)
            source = file.within((*where, "source"), settings.check)
            if settings.bundle not in bundles:
                work = partial(open_bundle, settings.bundle)
                bundles[settings.bundle] = file.within((*where, "bundle"), work)
            bundle = bundles[settings.bundle]
            running = self._cameras.get(settings.name)
            same = running is not None and running.runs and _is_same(running, settings)
            if same and running is not None and running.bundle.sha256 == bundle.sha256:
                continue
            of_detector = {**settings.detector, "false_reject_rate": None}
            open_view = partial(self._open_view, bundle, of_detector)
            view = file.within((*where, "bundle"), open_view)
            if (rate := settings.false_reject_rate) is not None:  # an error names its own line
                set_rate = partial(setattr, view, "false_reject_rate", rate)
                file.within((*where, "false_reject_rate"), set_rate)
            if same and running is not None and running.takes(view):
                self._views[settings.name] = view
                continue
            rest = (self.output, self._say)
            found.append(file.within(where, partial(Camera, settings, source, view, *rest)))
        return found


def _is_same(camera: Camera, settings: CameraSettings) -> bool:
    """Whether a camera runs with these settings; its sinks can be replaced while it does."""
    return replace(camera.settings, sinks=settings.sinks) == settings
