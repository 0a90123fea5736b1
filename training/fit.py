"""The optimisation of a method's stages: bounded, resumable, the same for the same seed.

Every random draw of a step comes from a generator seeded with (seed, stage, step), so a run that
was stopped and resumed does what an uninterrupted one does. A bound in minutes makes the number of
steps depend on the machine's speed; a bound in steps does not.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from edgead.errors import TrainingError
from edgead.files import write_file

from .methods.base import Method, Stage, TrainingSet

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_SECONDS = 60.0  # what kill -9 can cost
WARM_UP_STEPS = 20


@dataclass(frozen=True)
class Bounds:
    """How long to train: ``steps`` in all, or ``minutes`` in all, or the method's own steps."""

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


@dataclass
class Position:
    """Where training stands; everything that a checkpoint needs beside tensors."""

    stage: int = 0
    step: int = 0
    stage_seconds: float = 0.0
    total_seconds: float = 0.0
    total_steps: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Bar:
    """What the training reports to: start(stage, steps), update(step, share done, seconds left,
    losses), close()."""

    start: Callable[[str, int], None]
    update: Callable[[int, float, float, dict[str, float]], None]
    close: Callable[[], None]


def fit(
    method: Method, data: TrainingSet, out: Path, *, seed: int, bounds: Bounds, bar: Bar,
    resume: bool = False,
) -> Position:  # fmt: skip
    """Run the stages of ``method`` on ``data``; checkpoints go to ``out``.

    Returns the final position (steps, seconds, loss history). Ctrl-C and SIGTERM finish the step,
    write the checkpoint and raise Interrupted.
    Errors: TrainingError when the loss is no longer finite, or the checkpoint does not fit.
    """
    method.to(memory_format=torch.channels_last)  # twice as fast on a CPU
    stages = method.stages(data)
    position, optimizer_state = Position(), {}
    if resume:
        position, optimizer_state = load_checkpoint(method, out)
    with _signals() as received:
        while position.stage < len(stages):
            index = position.stage
            stage = stages[index]
            begun = time.monotonic()
            method.eval()  # what a stage prepares with is frozen
            with received.at_once():
                stage.prepare()
            position.total_seconds += time.monotonic() - begun
            run = _StageRun(method, stage, position, seed, out, bar, received)
            run.restore(optimizer_state)
            run.go(*_limits(stages, index, position, bounds))
            optimizer_state = {}
            position.stage, position.step, position.stage_seconds = index + 1, 0, 0.0
            save_checkpoint(method, position, {}, out)
    begun = time.monotonic()
    method.eval().conclude(data)
    position.total_seconds += time.monotonic() - begun
    method.to(memory_format=torch.contiguous_format)
    return position


def _limits(
    stages: list[Stage], index: int, position: Position, bounds: Bounds
) -> tuple[int, float]:
    """(steps, seconds) of a stage. The minutes left are shared among the stages that are left."""
    stage = stages[index]
    if bounds.steps is not None:
        total = sum(s.steps for s in stages)
        return max(1, round(bounds.steps * stage.steps / total)), math.inf
    if bounds.minutes is None:
        return stage.steps, math.inf
    left = bounds.minutes * 60 - (position.total_seconds - position.stage_seconds)
    left = max(left, 1e-3)  # preparing took all of it: one step, so that there is a model
    return stage.steps, left * stage.share / sum(s.share for s in stages[index:])


class _StageRun:
    """One stage: optimiser, schedule, loop."""

    def __init__(
        self, method: Method, stage: Stage, position: Position, seed: int, out: Path, bar: Bar,
        received: _Signals,
    ) -> None:  # fmt: skip
        self.method, self.stage, self.position = method, stage, position
        self.seed, self.out, self.bar, self.received = seed, out, bar, received
        self.parameters = [p for m in stage.modules for p in m.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=stage.learning_rate, weight_decay=stage.weight_decay
        )

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up the optimiser's moments of a checkpoint: names ``<parameter>.<moment>``."""
        for name, tensor in state.items():
            number, moment = name.split(".")
            self.optimizer.state[self.parameters[int(number)]][moment] = tensor

    def go(self, steps: int, seconds: float) -> None:
        """Step until ``steps`` or ``seconds`` of this stage are used up."""
        for module in self.stage.modules:  # the others stay in evaluation mode, see fit
            module.train()
        position, before, began = self.position, self.position.stage_seconds, time.monotonic()
        saved, total_before = began, position.total_seconds
        self.bar.start(self.stage.name, steps)
        try:
            while (done := max(position.step / steps, position.stage_seconds / seconds)) < 1:
                losses = self._step(done)
                now = time.monotonic()
                position.step += 1
                position.total_steps += 1
                position.stage_seconds = before + now - began
                position.total_seconds = total_before + now - began
                done = max(position.step / steps, position.stage_seconds / seconds)
                left = (1 / done - 1) * position.stage_seconds
                self.bar.update(position.step, done, left, losses)
                if self.received.number:
                    self._save()
                    raise Interrupted(self.received.number)
                if now - saved > CHECKPOINT_SECONDS:
                    self._save()
                    saved = now
        finally:
            self.bar.close()

    def _step(self, done: float) -> dict[str, float]:
        """One step at the share ``done`` of the stage: cosine schedule after a short warm-up."""
        stage, step = self.stage, self.position.step
        rate = 0.5 * (1 + math.cos(math.pi * done)) * min(1.0, (step + 1) / WARM_UP_STEPS)
        for group in self.optimizer.param_groups:
            group["lr"] = stage.learning_rate * rate
        generator = step_generator(self.seed, self.position.stage, step)
        losses = stage.loss(self._indices(generator), generator, done)
        loss = torch.stack(list(losses.values())).sum()
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"the loss of stage {stage.name} became {loss.item()} at step {step}; "
                f"set a learning_rate lower than {stage.learning_rate:g} with --set"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        values = {name: float(value.detach()) for name, value in losses.items()}
        if step % 10 == 0:
            self.position.history.append({"stage": stage.name, "step": step, **values})
        return values

    def _indices(self, generator: torch.Generator) -> Tensor:
        count = self.stage.n_images
        if count >= self.stage.batch_size:
            return torch.randperm(count, generator=generator)[: self.stage.batch_size]
        return torch.randint(count, (self.stage.batch_size,), generator=generator)

    def _save(self) -> None:
        state = {
            f"{number}.{moment}": value
            for number, parameter in enumerate(self.parameters)
            for moment, value in self.optimizer.state[parameter].items()
        }
        save_checkpoint(self.method, self.position, state, self.out)


def step_generator(seed: int, stage: int, step: int) -> torch.Generator:
    """The generator of one step; the same for the same (seed, stage, step), on every machine."""
    digest = hashlib.sha256(f"{seed}/{stage}/{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def save_checkpoint(
    method: Method, position: Position, optimizer: dict[str, Tensor], out: Path
) -> None:
    """Write model, optimiser and position to the checkpoint in ``out``, whole or not at all."""
    tensors = {f"model.{k}": v.contiguous() for k, v in method.state_dict().items()}
    tensors |= {f"optimizer.{k}": v.contiguous() for k, v in optimizer.items()}
    write_file(out / CHECKPOINT, save(tensors, {"position": json.dumps(asdict(position))}))


def load_checkpoint(method: Method, out: Path) -> tuple[Position, dict[str, Tensor]]:
    """Put the weights of a checkpoint into ``method``; returns position, optimiser state."""
    path = out / CHECKPOINT
    try:
        with safe_open(path, framework="pt") as file:
            position = Position(**json.loads(file.metadata()["position"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model = {k[6:]: v for k, v in tensors.items() if k.startswith("model.")}
        method.load_state_dict(model)
    except FileNotFoundError as error:
        raise TrainingError(f"{out} holds no checkpoint; leave --resume out to begin") from error
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TrainingError(
            f"{path} cannot be resumed ({reason}); it is damaged or of other settings: "
            "train again into another --out"
        ) from error
    return position, {k[10:]: v for k, v in tensors.items() if k.startswith("optimizer.")}


class _Signals:
    """SIGINT and SIGTERM noted instead of dying; a second one acts at once."""

    def __init__(self) -> None:
        self.number = 0
        self.raising = False
        self.previous: dict[int, Any] = {}

    def note(self, number: int, _frame: Any) -> None:
        self.number = number
        for each, handler in self.previous.items():
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


@contextmanager
def _signals() -> Iterator[_Signals]:
    signals = _Signals()
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signals.previous[number] = signal.signal(number, signals.note)
    except ValueError:  # not the main thread: the embedding program owns the signals
        pass
    try:
        yield signals
    finally:
        for number, handler in signals.previous.items():
            signal.signal(number, handler)
