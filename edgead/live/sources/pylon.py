"""Basler cameras through pypylon: ``pylon:SERIAL``."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from edgead.errors import InputError
from edgead.live.source import Moment, Reading, Source, SourceError, Stamp, Stop
from edgead.live.sources.industrial import FREE, SOFTWARE, WAIT_S, CameraOptions, Due, Losses
from edgead.live.sources.pixels import format_of, image_of
from edgead.live.sources.setup import Setup

BUFFERS = 8
"""Frames that the driver may have ready; edgead reads all the time and keeps the latest."""


class PylonReader:
    """Reads the Basler camera with this serial number, user-defined name or IP address; the only
    one there is, where none is given.

    Args:
        source: names it.
        setup: with the options of ``CameraOptions``.

    Raises:
        InputError: an option that is wrong.
        ModuleNotFoundError: pypylon is not installed.
    """

    ends = False

    def __init__(self, source: Source, setup: Setup) -> None:
        from pypylon import genicam, pylon

        self._pylon, self._errors = pylon, (genicam.GenericException, ValueError, TypeError)
        self._source, self._stall_s = source, setup.stall_s
        self._options = CameraOptions.read(source, setup)
        self._camera: Any = None
        self._losses = Losses()
        self._due = Due(self._options.rate_hz)

    def open(self) -> str:
        """Open and set the camera, and start it; returns what it is.

        Raises:
            SourceError: it is not there, somebody else has it, or it does not take a setting.
        """
        self.close()
        pylon, label = self._pylon, self._source.label
        device = self._find()
        camera = pylon.InstantCamera()
        try:
            camera.Attach(pylon.TlFactory.GetInstance().CreateDevice(device))
            camera.Open()
        except self._errors as error:
            camera.DetachDevice()
            raise SourceError(
                f"{label} does not open: {_first_line(error)}; check that no other program uses it "
                "(pylon Viewer, another edgead watch) and that this user may use it"
            ) from error
        try:
            about = self._set_up(camera)
            camera.MaxNumBuffer.Value = BUFFERS
            camera.StartGrabbing(pylon.GrabStrategy_OneByOne)
        except (*self._errors, InputError) as error:
            camera.DestroyDevice()
            if isinstance(error, InputError):
                raise SourceError(f"{label}: {error}") from error
            raise SourceError(f"{label} cannot be started: {_first_line(error)}") from error
        self._camera = camera
        self._losses.opened()
        self._due.opened()
        return about

    def read(self, stop: Stop) -> Reading | None:
        """The next frame; None when the camera is lost or ``stop`` is set."""
        since_s = time.monotonic()
        while self._camera is not None and not stop.is_set():
            try:
                if self._options.trigger == SOFTWARE and not self._trigger(stop):
                    continue
                result = self._camera.RetrieveResult(
                    round(1e3 * WAIT_S), self._pylon.TimeoutHandling_Return
                )
                if result.IsValid():
                    return self._reading(result)
                if self._camera.IsCameraDeviceRemoved():
                    return None
            except self._errors:
                return None
            idle_s = time.monotonic() - since_s
            if idle_s > self._stall_s and not self._options.waits_for_signal:
                return None
        return None

    def close(self) -> None:
        """Stop the camera and let go of it; a second call does nothing."""
        camera, self._camera = self._camera, None
        if camera is not None:
            with contextlib.suppress(*self._errors):  # it was pulled out
                camera.StopGrabbing()
            camera.DestroyDevice()

    def _find(self) -> Any:
        """The device that the source names."""
        devices = list(self._pylon.TlFactory.GetInstance().EnumerateDevices())
        target = self._source.target
        found = [
            device
            for device in devices
            if not target
            or target in (device.GetSerialNumber(), device.GetUserDefinedName())
            or (device.IsIpAddressAvailable() and target == device.GetIpAddress())
        ]
        if len(found) == 1:
            return found[0]
        there = ", ".join(f"pylon:{d.GetSerialNumber()} ({d.GetModelName()})" for d in devices)
        why = f"{len(found)} cameras are meant: name one" if found else "there is no such camera"
        cure = f"those that are there: {there}" if there else "pylon finds no camera at all: check "
        cure += "" if there else "cable, power and the network's addresses (pylon IP Configurator)"
        raise SourceError(f"{self._source.label}: {why}; {cure}")

    def _set_up(self, camera: Any) -> str:
        """Give the camera its settings; what it is and gives now, in words."""
        options = self._options
        if options.pixel_format is not None:
            _put(camera, "PixelFormat", options.pixel_format)
        for names, value in (
            (("ExposureTime", "ExposureTimeAbs"), options.exposure_us),
            (("Gain", "GainRaw"), options.gain),
        ):
            if value is not None:
                _put_first(camera, names, value)
        if options.trigger == FREE:
            _put_first(camera, ("TriggerMode",), "Off", may_lack=True)
            if options.rate_hz is not None:
                _put_first(camera, ("AcquisitionFrameRateEnable",), True, may_lack=True)
                rate = ("AcquisitionFrameRate", "AcquisitionFrameRateAbs")
                _put_first(camera, rate, options.rate_hz)
        else:
            _put_first(camera, ("TriggerSelector",), "FrameStart", may_lack=True)
            _put(camera, "TriggerMode", "On")
            _put(camera, "TriggerSource", options.trigger.capitalize())
        for name, value in options.features.items():
            _put(camera, name, value)
        info, form = camera.GetDeviceInfo(), camera.PixelFormat.Value
        size = f"{camera.Height.Value} x {camera.Width.Value}"
        return f"{info.GetModelName()} {info.GetSerialNumber()}, {size} {form}, {options.in_words}"

    def _trigger(self, stop: Stop) -> bool:
        """Ask for a frame when it is time; False when there is no more to ask."""
        if self._due.wait(stop):
            return False
        handling = self._pylon.TimeoutHandling_Return
        if self._camera.WaitForFrameTriggerReady(round(1e3 * WAIT_S), handling):
            self._camera.ExecuteSoftwareTrigger()
        return True

    def _reading(self, result: Any) -> Reading:
        captured = Moment.now()
        try:
            number, time_ns = int(result.BlockID), int(result.TimeStamp)
            self._losses.note(number)
            self._losses.note_packets(self._packets())
            losses = self._losses
            stamp = Stamp(number, time_ns or None, losses.packets, losses.frames)
            if not result.GrabSucceeded():
                losses.frames += 1
                stamp = stamp._replace(lost_frames=losses.frames)
                error = f"frame {number} of {self._source.label} did not arrive whole: "
                error += result.ErrorDescription
                return Reading(captured, None, error=error, stamp=stamp)
            try:
                form = format_of(int(result.PixelType))
                image = image_of(
                    result.GetBuffer(),
                    form,
                    int(result.Height),
                    int(result.Width),
                    padding=int(result.PaddingX),
                    pattern=self._options.bayer,
                )
            except InputError as error:
                return Reading(captured, None, error=str(error), stamp=stamp)
            return Reading(captured, image, bit_depth=form.bit_depth, stamp=stamp)
        finally:
            result.Release()

    def _packets(self) -> int | None:
        """Packets that did not arrive; None where the camera is not on a network."""
        try:
            node = self._camera.GetStreamGrabberNodeMap().GetNode("Statistic_Failed_Packet_Count")
            return None if node is None else int(node.Value)
        except self._errors:
            return None


def _feature(camera: Any, name: str) -> Any | None:
    """A feature of the camera by its name, or None where it has none."""
    from pypylon import genicam

    try:
        return getattr(camera, name) if camera.GetNodeMap().GetNode(name) is not None else None
    except (genicam.GenericException, AttributeError):
        return None


def _put(camera: Any, name: str, value: Any) -> None:
    """Set a feature of the camera, or execute it; InputError when it does not take the value."""
    from pypylon import genicam

    feature = _feature(camera, name)
    try:
        kind = feature.GetNode().GetPrincipalInterfaceType() if feature is not None else None
    except genicam.GenericException:
        kind = None
    if feature is None or kind is None:
        raise InputError(f"this camera has no feature {name}")
    try:
        if kind == genicam.intfICommand:
            feature.Execute()
        else:
            feature.Value = int(value) if kind == genicam.intfIInteger else value
    except (genicam.GenericException, AttributeError, ValueError, TypeError) as error:
        why = _first_line(error)
        if hasattr(feature, "Symbolics"):
            why += f"; it takes {', '.join(feature.Symbolics)}"
        raise InputError(f"{name} cannot be set to {value!r}: {why}") from error


def _put_first(camera: Any, names: tuple[str, ...], value: Any, may_lack: bool = False) -> None:
    """Set the first of the features that the camera has: older ones have other names."""
    for name in names:
        if _feature(camera, name) is not None:
            _put(camera, name, value)
            return
    if not may_lack:
        raise InputError(f"this camera has no feature {' or '.join(names)}")


def _first_line(error: BaseException) -> str:
    return str(error).split(" : ")[0].split("\n")[0].strip().rstrip(".")
