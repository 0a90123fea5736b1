"""What test_processes.py lets two processes do: ``torchrun processes_worker.py PARTS OUT``.

Each process writes what it saw to OUT/RANK.json; the test reads it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from edgead_training import checkpoint, run, run_record
from edgead_training.fit import Bounds, Interrupted, fit
from edgead_training.methods import Method, Stage, TrainingSet
from edgead_training.processes import gather, launch
from edgead_training.progress import Bar, Reporter
from edgead_training.run import train
from edgead_training.run_record import TrainingOptions
from torch import nn

from edgead.cli.main import main
from edgead.errors import DataError, TrainingError

SETTINGS: dict[str, Any] = {
    "size": [64, 64], "variant": "plain", "width": 0.0625, "batch_size": 4,
}  # fmt: skip
AGPNET: dict[str, Any] = {
    "size": [64, 64], "width": 16, "heads": 2, "blocks": 1, "batch_size": 4,
    "noise": "none",
}  # fmt: skip
REDI: dict[str, Any] = {
    "recover": "image", "size": [64, 64], "bank_size": 3, "widths": [4, 4, 8, 8], "batch_size": 4,
}  # fmt: skip
RANK = int(os.environ.get("RANK", "0"))


class Toy(Method):
    """Two linear maps in float64, nothing drawn, no statistics of a batch: the exact case."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(RANK)  # the processes begin apart: the first one's weights must count
        self.config = SimpleNamespace(batch_size=4)
        self.drawn: list[float] = []
        self.seen: list[list[int]] = []
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 12))
        self.double()

    from_settings = preprocess_params = pairs = forward = None

    def stages(self, data: TrainingSet) -> list[Stage]:
        def loss(indices, generator, _done):
            self.drawn.append(float(torch.rand(1, generator=generator)))
            self.seen.append(indices.tolist())
            x = data[indices]
            error = self.layers(x) - x.flatten(1)
            return {"mse": error.square().mean(), "l1": error.abs().mean()}

        return [
            Stage(name, len(data), 12, 1.0, 4, 1e-2, 0.0, (self.layers,), lambda: None, loss)
            for name in ("first", "second")
        ]


Toy.__abstractmethods__ = frozenset()


def plain(items, _title):
    return iter(items)


def digest(module: nn.Module) -> str:
    total = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        total.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


def last_process() -> int:
    """The id of the process with the highest rank."""
    fabric = launch("cpu")
    return int(gather(fabric, [float(os.getpid())])[-1, 0])


def toy(out: Path) -> dict[str, Any]:
    """Losses and weights of the toy after 24 steps."""
    method = Toy()
    images = torch.randn(10, 3, 2, 2, generator=torch.Generator().manual_seed(1)).double()
    position = fit(method, TrainingSet(images, plain), out, seed=3, bounds=Bounds(), bar=Bar(),
                   fabric=launch("cpu"))  # fmt: skip
    weights = torch.cat([p.detach().flatten() for p in method.parameters()])
    return {
        "history": position.history,
        "weights": weights.tolist(),
        "digest": digest(method),
        "drawn": method.drawn,
        "seen": method.seen,
    }


def ssae(parts: Path, out: Path, *, resume=False, bounds=None, stop_at=None,
         **settings) -> dict[str, Any]:  # fmt: skip
    """A real method; after ``stop_at`` steps the first process sends the last one SIGTERM."""
    seen, last = [], last_process()

    def update(step, *_):
        seen.append(step)
        if len(seen) == stop_at:
            os.kill(last, signal.SIGTERM)

    steps = bounds or Bounds(steps=21)
    options = TrainingOptions("ssae", parts, out, SETTINGS | settings, 0, steps, device="cpu")
    try:
        done = train(options, resume=resume, reporter=Reporter(bar=Bar(update=update)))
    except Interrupted as stop:
        return {"stopped": str(stop), "code": stop.exit_code}
    return {"digest": digest(done.method), "steps": done.provenance["steps"]}


def whole(name: str, settings: dict[str, Any], parts: Path, out: Path) -> dict[str, Any]:
    """Eleven steps of another method: the history has the first and the last."""
    done = train(TrainingOptions(name, parts, out, settings, 0, Bounds(steps=11), device="cpu"))
    return {"digest": digest(done.method), "steps": done.provenance["steps"]}


def command(parts: Path, out: Path, batch_size: int) -> dict[str, Any]:
    """What ``edgead train`` prints."""
    words = ["train", "ssae", str(parts), "--out", str(out), "--steps", "2", "--device", "cpu"]
    for key, value in (SETTINGS | {"batch_size": batch_size}).items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = main(words)
    return {"code": code, "stdout": stdout.getvalue(), "stderr": stderr.getvalue()}


def missing_in_the_second(parts: Path, out: Path) -> str:
    try:
        ssae(parts if RANK == 0 else parts / "nowhere", out)
    except (TrainingError, DataError) as error:
        return str(error)
    return "no error"


def all_cases(parts: Path, out: Path) -> dict[str, Any]:
    written: list[str] = []
    for module in (checkpoint, run_record, run):  # those through which files are written
        write = module.write_file
        module.write_file = lambda path, data, write=write: (
            written.append(path.name),
            write(path, data),
        )
    found: dict[str, Any] = {"toy": toy(out), "clean": ssae(parts, out / "clean", clean=1.0)}
    found["whole"] = ssae(parts, out / "whole")
    found["stopped"] = ssae(parts, out / "stopped", stop_at=7)
    found["resumed"] = ssae(parts, out / "stopped", resume=True)
    found["left"] = ssae(parts, out / "left", stop_at=7)
    found["minutes"] = ssae(parts, out / "minutes", bounds=Bounds(minutes=0.02))
    found["command"] = command(parts, out / "command", 4)
    found["refused"] = command(parts, out / "refused", 5)
    found["missing"] = missing_in_the_second(parts, out / "missing")
    found["agpnet"] = whole("agpnet", AGPNET, parts, out / "agpnet")
    found["redi"] = whole("redi", REDI, parts, out / "redi")
    found["written"] = written
    return found


if __name__ == "__main__":
    parts, out = Path(sys.argv[1]), Path(sys.argv[2])
    found = all_cases(parts, out)
    (out / f"{RANK}.json").write_text(json.dumps(found))
