"""The optimisation of a method's stages: bounded, resumable, the same for the same seed.

Every random draw of a step comes from a generator seeded with (seed, stage, step), so a run that
was stopped and resumed does what an uninterrupted one does. Several processes divide each batch:
which images it has does not depend on their number; what is drawn inside the loss does.
"""

from __future__ import annotations

import hashlib
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgead.cli.signals import ending_signals
from edgead.errors import TrainingError

from .checkpoint import Position, load_checkpoint, save_checkpoint
from .early import TIMES, EarlyFigures
from .methods.base import Method, Stage, TrainingSet
from .processes import equalise, gather
from .progress import Bar

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CHECKPOINT_SECONDS = 60.0  # what kill -9 can cost
WARM_UP_STEPS = 20
MOMENTUM = 0.9  # of sgd


@dataclass(frozen=True)
class Bounds:
    """How long to train: ``steps`` or ``minutes`` in all, or the method's own steps."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise TrainingError(f"--steps {self.steps} trains nothing; give at least 1")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise TrainingError(f"--minutes {self.minutes} trains nothing; give more than 0")


class Interrupted(Exception):
    """Training stopped on a signal; the checkpoint is on disk."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number


def fit(
    method: Method, data: TrainingSet, out: Path, *, seed: int, bounds: Bounds, bar: Bar,
    fabric: Fabric, resume: bool = False, precision: str = "float32",
    early: EarlyFigures | None = None,
) -> Position:  # fmt: skip
    """Run the stages of a method; every process gets the same model.

    Args:
        method: what is trained, in place.
        data: what it learns from.
        out: folder of the checkpoint.
        seed: of every random draw.
        bounds: how long to train.
        bar: what shows the steps.
        fabric: device and processes.
        resume: go on from the checkpoint.
        precision: of products and convolutions in the losses, one of ``PRECISIONS``.
        early: figures to show while it trains, ``TIMES`` in each stage.

    Returns:
        The final position: steps, seconds, loss history.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the step is finished and the checkpoint written.
        TrainingError: the loss is no longer finite, or the checkpoint or bound do not fit.
    """
    method.to(fabric.device, memory_format=torch.channels_last)  # twice as fast on a CPU
    if fabric.world_size > 1 and fabric.device.type == "cuda":  # gloo has none for the CPU
        nn.SyncBatchNorm.convert_sync_batchnorm(method)
    data = replace(data, device=fabric.device)
    stages = method.stages(data)
    limits = [stage.steps for stage in stages]
    if bounds.steps is not None:
        limits = [max(1, round(bounds.steps * each / sum(limits))) for each in limits]
    position, moments = load_checkpoint(method, out) if resume else (Position(), {})
    past = position.total_steps - position.step > sum(limits[: position.stage])
    if bounds.steps is not None and (past or position.step > sum(limits[position.stage :][:1])):
        raise TrainingError(
            f"{out} has done {position.total_steps} steps, which is more than its stages get of "
            f"--steps {bounds.steps}; give more, or remove --steps to keep the bound of the run"
        )
    with _Signals(alone=fabric.world_size == 1) as received:
        for index in range(position.stage, len(stages)):
            run = _StageRun(method, stages[index], position, seed, out, bar, received, fabric)
            run.precision, run.early = precision, early
            run.prepare()
            run.go(limits[index], _seconds(stages[index:], position, bounds), moments)
            equalise(fabric, method)
            moments = {}
            position.stage, position.step, position.stage_seconds = index + 1, 0, 0.0
            if fabric.is_global_zero:
                save_checkpoint(method, position, {}, out)
    begun = time.monotonic()
    method.eval().conclude(data)
    position.total_seconds += time.monotonic() - begun
    method.to("cpu", memory_format=torch.contiguous_format)
    return position


def _seconds(stages: list[Stage], position: Position, bounds: Bounds) -> float:
    """Of the first of ``stages``. The minutes left are shared among the stages that are left."""
    if bounds.minutes is None or bounds.steps is not None:
        return math.inf
    left = bounds.minutes * 60 - (position.total_seconds - position.stage_seconds)
    left = max(left, 1e-3)  # preparing took all of it: one step, so that there is a model
    return left * stages[0].share / sum(stage.share for stage in stages)


class _Trained(nn.Module):
    """What a stage trains; calls its loss, for DistributedDataParallel takes a module's forward."""

    def __init__(self, modules: tuple[nn.Module, ...]) -> None:
        super().__init__()
        self.trained = nn.ModuleList(modules)

    def forward(self, loss: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        return loss()


class _StageRun:
    """One stage: optimiser, schedule, loop."""

    precision: str = "float32"
    early: EarlyFigures | None = None

    def __init__(
        self, method: Method, stage: Stage, position: Position, seed: int, out: Path, bar: Bar,
        received: _Signals, fabric: Fabric,
    ) -> None:  # fmt: skip
        self.method, self.stage, self.position = method, stage, position
        self.seed, self.out, self.bar, self.received = seed, out, bar, received
        self.fabric = fabric
        self.trained = fabric.setup_module(_Trained(stage.modules))
        self.parameters = [p for m in stage.modules for p in m.parameters() if p.requires_grad]
        given = {"lr": stage.learning_rate, "weight_decay": stage.weight_decay}
        self.optimizer: torch.optim.Optimizer
        if stage.optimiser == "sgd":
            self.optimizer = torch.optim.SGD(self.parameters, momentum=MOMENTUM, **given)
        else:
            self.optimizer = torch.optim.AdamW(self.parameters, **given)

    def prepare(self) -> None:
        """Prepare the stage; its time counts too."""
        begun = time.monotonic()
        self.method.eval()  # what a stage prepares with is frozen
        with self.received.at_once():
            self.stage.prepare()
        spent = self.position.total_seconds + time.monotonic() - begun
        self.position.total_seconds = float(gather(self.fabric, [spent]).max())  # as all count

    def go(self, steps: int, seconds: float, moments: dict[str, Tensor]) -> None:
        """Step until ``steps`` or ``seconds`` are used up, from ``_save``'s moments on."""
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in moments.items():
            number, moment = name.split(".")
            state.setdefault(int(number), {})[moment] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        for module in self.stage.modules:  # the others stay in evaluation mode, see fit
            module.train()
        position, began = self.position, time.monotonic()
        before, total_before, saved = position.stage_seconds, position.total_seconds, began
        self.bar.start(self.stage.name, steps)
        try:
            while (done := max(position.step / steps, position.stage_seconds / seconds)) < 1:
                begun = done
                losses = self._step(done)
                now = time.monotonic()
                position.step += 1
                position.total_steps += 1
                spent = before + now - began
                done = max(position.step / steps, spent / seconds)
                self.bar.update(position.step, done, (1 / done - 1) * spent, losses)
                if int(TIMES * done) > int(TIMES * begun):
                    self._show_early()
                elapsed, number = self._agree(now - began, losses)
                position.stage_seconds = before + elapsed
                position.total_seconds = total_before + elapsed
                if number:
                    self._save()
                    self.fabric.barrier()  # the first to leave makes torchrun stop the others
                    raise Interrupted(number)
                if now - saved > CHECKPOINT_SECONDS:
                    self._save()
                    saved = now
        finally:
            self.bar.close()

    def _step(self, done: float) -> dict[str, float]:
        """One step at the share ``done`` of the stage; the losses of this process's images."""
        stage, step = self.stage, self.position.step
        for group in self.optimizer.param_groups:
            group["lr"] = stage.learning_rate * rate_at(stage.optimiser, done, step)
        generator = step_generator(self.seed, self.position.stage, step)
        if stage.n_images >= stage.batch_size:
            indices = torch.randperm(stage.n_images, generator=generator)[: stage.batch_size]
        else:
            indices = torch.randint(stage.n_images, (stage.batch_size,), generator=generator)
        if self.fabric.world_size > 1:
            rank = self.fabric.global_rank
            indices = indices.chunk(self.fabric.world_size)[rank]
            generator = step_generator(self.seed, self.position.stage, step, rank)
        narrow, kind = self.precision == "bfloat16", self.fabric.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=narrow):
            losses = self.trained(partial(stage.loss, indices, generator, done))
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(torch.stack(list(losses.values())).sum())
        self.optimizer.step()
        return {name: float(value.detach()) for name, value in losses.items()}

    def _show_early(self) -> None:
        """Measure and show the method as it is; it goes on as if that had not been done."""
        if self.early is None or not self.fabric.is_global_zero:
            return
        self.method.eval()
        found = self.early(self.method)
        for module in self.stage.modules:
            module.train()
        at = {"stage": self.stage.name, "step": self.position.step, "image_auroc": found}
        self.position.early.append(at)
        self.bar.early(found)

    def _agree(self, elapsed: float, losses: dict[str, float]) -> tuple[float, int]:
        """What all processes go on with: the longest time, and a signal that any has received.

        The mean of their losses, which must be finite, goes to the history.
        """
        every = gather(self.fabric, [elapsed, self.received.number, *losses.values()])
        elapsed, number = every[:, :2].amax(0).tolist()
        losses = dict(zip(losses, every[:, 2:].mean(0).tolist(), strict=True))
        stage, step = self.stage, self.position.step - 1
        if not math.isfinite(loss := sum(losses.values())):
            raise TrainingError(
                f"the loss of stage {stage.name} became {loss} at step {step}; "
                f"set a learning_rate lower than {stage.learning_rate:g} with --set"
            )
        if step % 10 == 0:
            self.position.history.append({"stage": stage.name, "step": step, **losses})
        return elapsed, int(number)

    def _save(self) -> None:
        moments = {
            f"{number}.{moment}": value
            for number, parameter in enumerate(self.parameters)
            for moment, value in self.optimizer.state[parameter].items()
        }
        if self.fabric.is_global_zero:
            save_checkpoint(self.method, self.position, moments, self.out)


def rate_at(optimiser: str, done: float, step: int) -> float:
    """The share of the learning rate of the step number ``step``, at the share ``done`` of a stage.

    sgd: halved after each tenth, as ARNet [D]. adamw: a cosine after a short warm-up.
    """
    if optimiser == "sgd":
        return float(0.5 ** int(10 * done))
    return 0.5 * (1 + math.cos(math.pi * done)) * min(1.0, (step + 1) / WARM_UP_STEPS)


def step_generator(seed: int, stage: int, step: int, *rank: int) -> torch.Generator:
    """The generator of a step, of one process: for the same numbers the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, (seed, stage, step, *rank))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class _Signals:
    """SIGINT, SIGTERM and SIGHUP noted instead of dying; a second one acts at once.

    Not among several processes: torchrun passes one signal on more than once, and kills by itself.
    """

    def __init__(self, alone: bool) -> None:
        self.alone = alone
        self.number = 0
        self.raising = False
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        with suppress(ValueError):  # not the main thread: the embedding program owns the signals
            for number in ending_signals():
                self.previous[number] = signal.signal(number, self.note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def note(self, number: int, _frame: Any) -> None:
        self.number = number
        for each, handler in self.previous.items() if self.alone else ():
            signal.signal(each, handler)
        if self.raising:
            raise Interrupted(number)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """While a stage prepares there is nothing to save: what it computes is made again."""
        self.raising = True
        try:
            yield
        finally:
            self.raising = False
