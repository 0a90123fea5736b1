"""The Detector: open a bundle, qualify its engine, score frames."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from edgead import _cpu, calibration
from edgead.bundle.storage import Bundle
from edgead.engine.digests import Hasher, Served
from edgead.engine.interface import Engine, FramePipeline, PipelineOutput, Qualified, is_isolated
from edgead.errors import DeviceError, DeviceLostError, EdgeadError, InputError
from edgead.images.arrays import as_frame
from edgead.preprocess import COLORS, check_word
from edgead.result import Fingerprint, Result
from edgead.serving.choice import CPU_FIRST, choose
from edgead.serving.forks import after_fork
from edgead.serving.limits import Serving, limits_of, serving_of
from edgead.serving.open_engine import Asked
from edgead.serving.open_pipeline import open_pipeline
from edgead.serving.qualification import open_first, open_qualified
from edgead.serving.recovery import Recovery, check_answer_within, for_next_frame, isolation
from edgead.serving.results import result_of
from edgead.serving.warm_start import WarmStart, check_warm_start
from edgead.signing.trust import open_trusted, signed_info


class Detector:
    """Scores frames with the engine of a bundle, after it has reproduced the golden frames.

    One Detector may be used from several threads at once and gives the same results as from one.
    A forked process opens its engine again at the first frame (on a GPU: DeviceError); a pickle
    names the bundle and the arguments, and opens them where it is read.

    Args:
        engine: path of a bundle, or an opened one.
        device: "cpu", "cuda", "cuda:N", or "auto", which prefers a GPU that can serve;
            ``info()["chosen"]`` says why it was or was not taken.
        color: channel order of colour frames, "bgr" (what OpenCV gives) or "rgb"; "gray" accepts
            grey frames only.
        false_reject_rate: share of good frames that may be called anomalous, None for the bundle's;
            n calibration images can promise 1 / (n + 1) at best.
        bit_depth: of uint16 frames, 9 to 16, as the camera gives them: white is
            ``2**bit_depth - 1``; None for the bundle's, else 16. uint8 frames have 8 bits always.
        threads: CPU threads of one inference, None for the engine's choice.
        precision: "float32", "float16", "bfloat16" or "int8", None for the device's own (float32 on
            the CPU, float16 on a GPU).
        digests: give every Result the SHA-256 of what each stage made, for ``edgead replay``.
        plan: a plan file for the GPU instead of the one with the default options; it is native
            code, so outside this user's cache it needs ``trust_plan=True``.
        trust_plan: load ``plan`` wherever it comes from.
        warm_start: score on the CPU at once, while the GPU's engine is made ready and qualified; it
            takes over between two frames. If it fails, the CPU goes on and ``info()`` says why.
        isolate: serve from a process of its own (Linux), so that an error of the device ends that
            one. The frame is a DeviceLostError and the next one starts it again; with
            ``warm_start`` or "auto" the CPU scores it, until another process has qualified.
        answer_within_s: with ``isolate``, 0.1 to 86400: a process that takes longer for a frame
            hangs, and is lost. While it opens, it has to show that it lives.
        trusted_keys: path of a list of keys, one of which has signed the bundle (docs/signing.md).

    Raises:
        BundleError: the bundle is damaged, or has no graph of the precision.
        SignatureError: it is not signed, or by none of ``trusted_keys``.
        DeviceError: the device or its library is missing, or refuses the graph or the precision.
        QualificationError: a golden frame is not reproduced.
        CalibrationError, InputError: an argument out of its range.
    """

    def __init__(
        self,
        engine: str | bytes | os.PathLike[str] | Bundle,
        *,
        device: str = "auto",
        color: str = "bgr",
        false_reject_rate: float | None = None,
        bit_depth: int | None = None,
        threads: int | None = None,
        precision: str | None = None,
        digests: bool = False,
        plan: str | os.PathLike[str] | None = None,
        trust_plan: bool = False,
        warm_start: bool = False,
        isolate: bool = False,
        answer_within_s: float = 60.0,
        trusted_keys: str | os.PathLike[str] | None = None,
    ) -> None:
        self._bundle, self._signed = open_trusted(engine, trusted_keys)
        manifest = self._bundle.manifest
        check_word("color", color, COLORS)
        check_answer_within(answer_within_s)
        self._color = color
        # Golden frames keep the bundle's bit depth: only pipelines of this Detector see this one.
        self._of_frames = replace(self._bundle, manifest=manifest.declared(bit_depth))
        self._ignore = manifest.ignore
        if false_reject_rate is None:
            false_reject_rate = manifest.calibration.false_reject_rate
        calibration.check_false_reject_rate(false_reject_rate, *manifest.calibration.counted())
        self._threads, self._digests = threads, digests
        self._lock, self._local = threading.Lock(), threading.local()
        self._pipelines: weakref.WeakSet[FramePipeline] = weakref.WeakSet()
        self._closed = False
        self._failure: str | None = None
        choice = choose(device, self._bundle, precision)
        self._no_warm_start = check_warm_start(device, choice) if warm_start else None
        self._warm_start: WarmStart | None = None
        later = warm_start and choice.index is not None
        plan = None if plan is None else os.path.abspath(plan)
        asked = Asked(threads=threads, precision=precision, plan=plan, trust_plan=trust_plan)
        auto = device.lower() == "auto"
        asked["isolate"] = isolate and not (choice.index is None and auto)
        asked["answer_within_s"] = answer_within_s
        self._choice, self._asked, self._to_open = choice, asked, False
        self._given = {"device": device, "color": color, "bit_depth": bit_depth, **asked}
        self._given |= {"digests": digests, "warm_start": warm_start, "isolate": isolate}
        self._given["trusted_keys"] = trusted_keys and os.path.abspath(trusted_keys)
        self._recovery: Recovery | None = None
        if later:
            opened = self._open_cpu()
        else:
            opened, self._choice = open_first(self._bundle, choice, asked, auto)
        self._chosen = self._choice.reason
        if isolate and self._choice.index is not None and (warm_start or auto):
            self._recovery = Recovery(self._open_cpu, self._open_chosen, self._take)
        self._state = self._state_of(opened, false_reject_rate)
        self._pipeline(self._state)
        after_fork(self._after_fork)
        if later:
            self._warm_start = WarmStart(self._open_chosen, self._take)

    @property
    def bundle(self) -> Bundle:
        """The bundle that is served."""
        return self._bundle

    @property
    def engine(self) -> Engine:
        """The engine that runs the graph, now: a warm start replaces it.

        Raises:
            InputError: the Detector is closed.
            DeviceError: its device failed.
        """
        if self._to_open:
            self._reopen()
        self._check_open()
        engine = self._state.engine
        assert engine is not None  # or it would not be open
        return engine

    @property
    def color(self) -> str:
        """Channel order of colour frames."""
        return self._color

    @property
    def bit_depth(self) -> int | None:
        """Bits of uint16 frames, 9 to 16; None: nobody has declared any, and 16 are assumed."""
        return self._of_frames.manifest.preprocess.bit_depth

    @property
    def false_reject_rate(self) -> float:
        """The allowed share of good frames called anomalous; set it at any time.

        Raises:
            CalibrationError: set to a rate the calibration images cannot promise.
            InputError: set when the Detector is closed.
        """
        return self._state.limits.rate

    @false_reject_rate.setter
    def false_reject_rate(self, rate: float) -> None:
        with self._lock:  # a warm start may replace the state meanwhile
            self._check_open()
            limits = limits_of(self._bundle.manifest, rate, self._state.info["precision"])
            self._state = self._state._replace(limits=limits)

    @property
    def threshold(self) -> float:
        """Frames that score above are anomalous at the present ``false_reject_rate``."""
        return self._state.limits.threshold

    def info(self) -> dict[str, str]:
        """What serves, and why: "device", "precision", "kernels", "version", "bundle_sha256".

        "chosen": why this device; "bit_depth": of uint16 frames, where it is declared;
        "warm_start", with one: how far it is, or how it ended; "isolated", with ``isolate``: the
        process that serves, and those that were lost; "signed_by", "counter", with trusted keys.
        """
        found = {**self._state.info, "chosen": self._chosen}
        if self.bit_depth is not None:
            found["bit_depth"] = str(self.bit_depth)
        warm_start = self._warm_start.state if self._warm_start else self._no_warm_start
        if warm_start is not None:
            found["warm_start"] = warm_start
        if self._given["isolate"]:
            found["isolated"] = isolation(self._state.engine, self._recovery)
        return found | signed_info(self._signed)

    def wait_warm_start(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of a warm start; ``info()`` says how it ended.

        Args:
            timeout_s: at most so many seconds; None: without a limit.

        Returns:
            Whether it has ended; True without one.
        """
        return self._warm_start is None or self._warm_start.wait(timeout_s)

    def score(self, frame: Any) -> Result:
        """Score one frame.

        Args:
            frame: [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (the fourth channel is dropped), uint8
                or uint16, any size and strides: a NumPy array, a PIL image, a torch tensor in host
                memory, or what else NumPy can read as an array; on a GPU also an array in its
                memory (``__cuda_array_interface__``). None of them is copied but PIL's. Or an
                ``edgead.Nv12``.

        Raises:
            InputError: not a frame, a value above what its bit depth has (of a frame in GPU memory
                not looked for: it counts as white), another size than the ignore mask's, or a
                closed Detector.
            DeviceError: the engine fails; after a DeviceLostError every further call does.
        """
        frame = as_frame(frame, self._color, on_device=True)
        whole = self._bundle.manifest.tiling is not None  # tiles take longer than reading all
        host = isinstance(frame, np.ndarray)
        taken = Fingerprint.of(frame, whole=whole) if host else None
        if self._ignore is not None:
            self._ignore.check_frame(frame)
        state, found, hasher = self._scored(frame)
        if found.kernels != state.info["kernels"]:  # a GPU has CUDA graphs, or no longer
            self._note_kernels(state, found.kernels)
        given = {"color": self._color, "bit_depth": self.bit_depth or 16}
        result = result_of(found, state, frame, hasher, **given)
        result._keep(found.frame or frame, taken)
        return result

    def close(self) -> None:
        """Let go of the engine and its memory; a second call does nothing. Results stay."""
        with self._lock:
            self._closed = True
        if self._warm_start is not None and not self._to_open:
            self._warm_start.cancel()
        self._let_go()

    def __enter__(self) -> Detector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle names the bundle and the arguments; reading it opens and qualifies again."""
        self._check_open()
        given = {**self._given, "false_reject_rate": self.false_reject_rate}
        return _opened_again, (self._bundle, given)

    def __repr__(self) -> str:
        state = ", failed" if self._failure else ", closed" if self._closed else ""
        info, limits = self._state.info, self._state.limits
        return (
            f"Detector({self._bundle.manifest.name}, {info['device']}, {info['precision']}, "
            f"false_reject_rate={limits.rate:g}, threshold={limits.threshold:.6g}{state})"
        )

    def _after_fork(self) -> None:
        """In the forked process: its locks may be held, and its threads are not there."""
        for kept in [self._state.engine, *self._pipelines]:
            _cpu.keep_for_ever(kept)
        self._lock, self._local = threading.Lock(), threading.local()
        self._pipelines = weakref.WeakSet()
        self._to_open = not self._closed and self._failure is None

    def _reopen(self) -> None:
        """Open the engine again: this forked process has inherited it, or its process was lost."""
        with self._lock:
            if not self._to_open:
                return
            if not self._asked["isolate"]:
                self._choice.check_fork()
            opened = open_qualified(self._bundle, self._choice, self._asked)
            self._state = self._state_of(opened, self._state.limits.rate)
            self._to_open = False

    def _check_open(self) -> None:
        if self._closed:
            raise InputError("this Detector is closed; make a new one with edgead.Detector(...)")
        if self._failure is not None:
            raise DeviceError(
                "this Detector failed and scores no more; make a new one with "
                f"edgead.Detector(...). What happened: {self._failure}"
            )

    def _scored(self, frame: Any) -> tuple[Serving, PipelineOutput, Hasher | None]:
        """What the engine that serves finds, or the CPU where it was lost and that may stand in."""
        while True:
            if self._to_open:
                self._reopen()
            state = self._state
            if state.engine is None and self._to_open:
                continue  # lost in another thread, just now
            hasher = Hasher(len(self._bundle.manifest.map.weights)) if self._digests else None
            try:
                return state, self._run(state, frame, hasher), hasher
            except DeviceLostError as error:
                if self._recovery is None or not is_isolated(state.engine):
                    raise
                serves = partial(self._serves, state.engine)
                self._warm_start = self._recovery.stand_in(serves, error) or self._warm_start

    def _run(self, state: Serving, frame: Any, hasher: Hasher | None) -> PipelineOutput:
        try:
            return self._pipeline(state).run(frame, hasher)
        except DeviceLostError as error:
            if not is_isolated(state.engine):
                with self._lock:
                    self._failure = self._failure or str(error)
                self._let_go()
            elif self._recovery is None:
                self._let_go(to_open=state.engine)
                raise for_next_frame(error) from error
            raise
        except EdgeadError:
            self._check_open()  # closed, or failed in another thread, while this frame ran
            raise

    def _pipeline(self, state: Serving) -> FramePipeline:
        """The buffers of this thread for the engine that serves."""
        self._check_open()
        held: tuple[Engine, FramePipeline] | None = getattr(self._local, "held", None)
        if held is not None and held[0] is state.engine:
            return held[1]
        assert state.engine is not None  # or it would not be open
        pipeline = open_pipeline(self._of_frames, state.engine, self._color)
        with self._lock:
            self._pipelines.add(pipeline)
            self._local.held = (state.engine, pipeline)
            gone = self._closed or self._failure is not None
        if gone:  # in another thread, meanwhile
            self._let_go()
            self._check_open()
        return pipeline

    def _let_go(self, to_open: Engine | None = None) -> None:
        """Close all threads' pipelines, and forget the engine: for good, or until the next frame,
        if ``to_open`` serves, an engine that was lost."""
        with self._lock:
            if to_open is not None:
                if not self._serves(to_open):
                    return
                self._to_open = not self._closed
            pipelines = list(self._pipelines)
            self._pipelines.clear()
            self._local = threading.local()
            self._state = self._state._replace(engine=None)
        for pipeline in pipelines:
            pipeline.close()

    def _serves(self, engine: Engine | None) -> bool:
        return self._state.engine is engine

    def _open_cpu(self) -> Qualified:
        return open_qualified(self._bundle, CPU_FIRST, Asked(threads=self._threads))

    def _open_chosen(self, stop: Callable[[], bool]) -> Qualified:
        return open_qualified(self._bundle, self._choice, {**self._asked, "cancelled": stop})

    def _note_kernels(self, state: Serving, kernels: str) -> None:
        """Let ``info`` say what frames run on now, unless another engine serves meanwhile."""
        with self._lock:
            if self._state.engine is state.engine:
                info = {**self._state.info, "kernels": kernels}
                self._state = self._state._replace(info=info)

    def _take(self, opened: Qualified) -> bool:
        """Let its engine serve from the next frame on, unless the Detector is closed."""
        with self._lock:
            if self._closed or self._failure is not None:
                return False
            self._state = self._state_of(opened, self._state.limits.rate)
            return True

    def _state_of(self, opened: Qualified, rate: float) -> Serving:
        settings: Served = {"color": self._color, "threads": self._threads}
        if self.bit_depth is not None:
            settings["bit_depth"] = self.bit_depth
        return serving_of(self._bundle, opened, rate, settings)


def _opened_again(bundle: Bundle, given: dict[str, Any]) -> Detector:
    return Detector(bundle, **given)
