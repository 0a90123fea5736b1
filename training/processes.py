"""The processes that train one model together: one alone, or those that torchrun started.

Lightning Fabric and torch's DistributedDataParallel do the work: the device of each process, the
process group, the mean of the gradients. Both are imported late, so that importing stays quick.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgead.cpu.processor import cores
from edgead.errors import DeviceError, EdgeadError, TrainingError, shortened

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def launch(device: str = "auto") -> Fabric:
    """Join the other processes.

    Args:
        device: cpu, cuda (one GPU for each process), or auto: cuda where torch finds a GPU.

    Raises:
        DeviceError: too few GPUs.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment

    bound_threads()
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    world, here = 1, 1
    if TorchElasticEnvironment.detect():
        names = ("WORLD_SIZE", "LOCAL_WORLD_SIZE")
        world, here = (_count(name) for name in names)
    gpus = torch.cuda.device_count()
    kind = device if device != "auto" else "cuda" if gpus else "cpu"
    if kind == "cuda" and gpus < here:
        raise DeviceError(
            f"{here} process(es) on this machine need a GPU each and torch {torch.__version__} "
            f"finds {gpus}; start fewer, or train with --device cpu"
        )
    fabric = Fabric(
        accelerator=kind,
        devices=here,
        num_nodes=world // here,
        strategy="ddp" if world > 1 else "auto",
        plugins=[TorchElasticEnvironment() if world > 1 else LightningEnvironment()],
    )
    fabric.launch()
    return fabric


def _count(name: str) -> int:
    """A number of processes, as torchrun gives it. Raises: TrainingError."""
    text = os.environ.get(name, "")
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise TrainingError(
            f"{name}={shortened(text, 60)!r} in the environment: expected the number of processes "
            "that torchrun sets; start with torchrun, or unset TORCHELASTIC_RUN_ID"
        )
    return int(text)


def bound_threads() -> None:
    """Let torch use no more threads than a container's CPU quota pays for; it counts cores."""
    if torch.get_num_threads() > cores():
        torch.set_num_threads(cores())


def is_first() -> bool:
    """Whether this process is the one that reports and writes; known before :func:`launch`."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


def launcher() -> list[str]:
    """The words that start edgead as it was started: ``edgead``, or torchrun before it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return ["edgead"]
    return ["torchrun", "--nproc-per-node", os.environ.get("LOCAL_WORLD_SIZE", "1"), "-m", "edgead"]


def describe(fabric: Fabric) -> str:
    """What trains, for people: ``cpu``, ``cuda (NVIDIA H200), 2 processes``."""
    name = fabric.device.type
    if name == "cuda":
        name += f" ({torch.cuda.get_device_name(fabric.device)})"
    return f"{name}, {fabric.world_size} processes" if fabric.world_size > 1 else name


def check_batch(fabric: Fabric, batch_size: int) -> None:
    """Refuse a batch of which the processes cannot get equal parts. Raises: TrainingError."""
    count = fabric.world_size
    if batch_size % count:
        raise TrainingError(
            f"batch_size={batch_size} cannot be divided among {count} processes; give a multiple "
            f"of {count}, such as --set batch_size={count * -(-batch_size // count)}"
        )


def gather(fabric: Fabric, values: list[float]) -> Tensor:
    """The numbers of every process: [processes, len(values)] float64, the same in each."""
    own = torch.tensor(values, dtype=torch.float64, device=fabric.device)
    every = [own] * fabric.world_size
    if fabric.world_size > 1:  # Fabric's own all_gather warns of what torch deprecates
        every = [torch.empty_like(own) for _ in every]
        torch.distributed.all_gather(every, own)
    return torch.stack(every).cpu()


def equalise(fabric: Fabric, module: nn.Module) -> None:
    """Give every process the weights and buffers of the first."""
    if fabric.world_size > 1:
        for tensor in (*module.parameters(), *module.buffers()):
            torch.distributed.broadcast(tensor.detach(), 0)


@contextmanager
def together(fabric: Fabric) -> Iterator[None]:
    """Leave the block when all processes have: an error in one is an error in each of them."""
    failure: EdgeadError | None = None
    try:
        yield
    except EdgeadError as error:
        failure = error
    sentences = [""] * fabric.world_size
    if fabric.world_size > 1:
        torch.distributed.all_gather_object(sentences, str(failure or ""))
    if failure is not None:
        raise failure
    for rank, sentence in enumerate(sentences):
        if sentence:
            raise TrainingError(f"process {rank} of {fabric.world_size}: {sentence}")
