"""Write a model repository of Triton: a bundle as one model in Python, or as an ensemble."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgead import calibration
from edgead.bundle.storage import SUFFIX, Bundle
from edgead.errors import InputError, printable
from edgead.files import read_file, replace_directory
from edgead.installation import __version__
from edgead.preprocess import COLORS, check_word
from edgead.scale.files import files_of
from edgead.scale.triton import configs
from edgead.scale.triton.tensors import INPUTS, OUTPUTS, Tensor

FORMS = ("python", *configs.BACKENDS)
BATCH = 8  # our choice: frames that wait together at most
STAGES = ("before", "engine", "after")
SIZE = Tensor("FRAME_SIZE", "TYPE_INT32", (2,), np.int32, "height, width")

MODEL = '''\
"""{mark}: the Python backend of Triton runs this."""

try:
    from edgead.scale.triton.backend import {kind} as TritonPythonModel
except ModuleNotFoundError as error:
    raise ImportError(
        "the Python of this Triton has no edgead (or one without edgead.scale): install version "
        "{version} there and start the server again"
    ) from error

__all__ = ["TritonPythonModel"]
'''


@dataclass(frozen=True)
class RepositoryOptions:
    """How a bundle is served.

    Args:
        form: "python", a Detector in Triton's Python backend; "onnx", "openvino" or "tensorrt": an
            ensemble around the graph, which that backend of Triton runs.
        device: of the Detector; "cuda" lets Triton deal the GPUs out. Not of an ensemble.
        precision: of the Detector or the graph; None: float32, on a GPU float16.
        color, bit_depth, false_reject_rate, threads: as for ``Detector``.
        instances: Detectors, or models before and after the engine, each a process of its own.
        batch: frames that are put together at most.
        plan: content of a TensorRT plan, for "tensorrt".

    Raises:
        InputError: another word or number, or a plan without its form.
    """

    form: str = "python"
    device: str = "cpu"
    precision: str | None = None
    color: str = "bgr"
    bit_depth: int | None = None
    false_reject_rate: float | None = None
    threads: int | None = None
    instances: int = 1
    batch: int = BATCH
    plan: bytes | None = None

    def __post_init__(self) -> None:
        check_word("form", self.form, FORMS)
        check_word("color", self.color, COLORS)
        for name, value in (("instances", self.instances), ("batch", self.batch)):
            if value < 1:
                raise InputError(f"{name}={value}: expected a whole number of at least 1")
        if (self.plan is not None) != (self.form == "tensorrt"):
            raise InputError(
                "a plan and the form tensorrt go together: make it with edgead build NAME.edgead "
                "--out NAME.plan on the GPU that will run it, and give --plan NAME.plan"
            )


def write_repository(
    bundles: Sequence[Bundle], out: str | os.PathLike[str], options: RepositoryOptions
) -> dict[str, list[Path]]:
    """Write the models of each bundle into a folder that Triton serves.

    What is of the same name there and was written by edgead is replaced, each model in one step;
    other models stay.

    Args:
        bundles: with names of their own.
        out: the folder; it is made where there is none.
        options: see ``RepositoryOptions``.

    Returns:
        The name that a client asks for -> the folders of its models.

    Raises:
        InputError: two bundles of one name, a name that Triton does not take, a model of another
            origin in the way, or a bundle that sees frames in tiles as an ensemble.
        BundleError: a file of a bundle changed, or it has no graph of the precision.
        CalibrationError: a rate that the calibration images cannot promise.
    """
    root, taken = Path(out), set[str]()
    planned = [_planned(bundle, options) for bundle in bundles]
    for models in planned:
        for name in models:
            if name in taken:
                raise InputError(f"two models would be called {name}: name the bundles otherwise")
            taken.add(name)
            _check_ours(root / name)
    root.mkdir(parents=True, exist_ok=True)
    written = {}
    for bundle, models in zip(bundles, planned, strict=True):
        name = model_name(bundle)
        for folder, files in models.items():
            replace_directory(root / folder, files)
        for stale in {f"{name}_{stage}" for stage in STAGES} - set(models):
            if _is_ours(root / stale):  # the engine of an ensemble that was
                shutil.rmtree(root / stale)
        written[name] = [root / folder for folder in models]
    return written


def model_name(bundle: Bundle) -> str:
    """What a client asks for: NAME of ``NAME.edgead``.

    The link of ``edgead update`` has no such name: the model is then called as the bundle that it
    leads to was, when it was made.
    """
    path = bundle.path
    return bundle.manifest.name if path.is_symlink() and path.suffix != SUFFIX else path.stem


def _planned(bundle: Bundle, options: RepositoryOptions) -> dict[str, dict[str, bytes]]:
    """Folder -> its files, the one that a client asks for last."""
    name, manifest = model_name(bundle), bundle.manifest
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise InputError(
            f"{printable(bundle.path)}: a model of Triton is called by letters, digits, dot, dash "
            f"and underscore; copy the bundle under such a name (cp -r), as part{SUFFIX}"
        )
    if options.false_reject_rate is not None:
        counted = manifest.calibration.counted()
        calibration.check_false_reject_rate(options.false_reject_rate, *counted)
    manifest.declared(options.bit_depth)
    if options.form == "python":
        return {name: _whole(bundle, name, options)}
    if manifest.tiling is not None:
        raise InputError(
            f"{printable(bundle.path)} sees frames in tiles, whose number an ensemble cannot "
            "change: write it with --form python"
        )
    return _ensemble(bundle, name, options)


def _whole(bundle: Bundle, name: str, options: RepositoryOptions) -> dict[str, bytes]:
    settings = {
        key: getattr(options, key)
        for key in ("device", "precision", "color", "bit_depth", "false_reject_rate", "threads")
    }
    if options.precision is not None:
        bundle.manifest.model_of(options.precision)
    config = configs.python_config(
        name,
        {**settings, "bundle": f"{name}{SUFFIX}"},
        INPUTS,
        OUTPUTS,
        batch=options.batch,
        instances=options.instances,
        on_gpu=options.device == "cuda",
        optional=True,
    )
    return _model(config, "Whole", _copied(bundle, name))


def _ensemble(bundle: Bundle, name: str, options: RepositoryOptions) -> dict[str, dict[str, bytes]]:
    manifest, names = bundle.manifest, {stage: f"{name}_{stage}" for stage in STAGES}
    bit_depth = manifest.declared(options.bit_depth).preprocess.bit_depth
    frame = INPUTS[0] if bit_depth is None else INPUTS[1]
    shapes = {key: shape[1:] for key, shape in manifest.tensors().items()}
    image = {manifest.input_name: shapes.pop(manifest.input_name)}
    precision = options.precision or ("float16" if options.form == "tensorrt" else "float32")
    engine = _engine(bundle, options, manifest.model_of(precision))
    common = {"bundle": f"{name}{SUFFIX}", "bit_depth": bit_depth, "color": options.color}
    told = {"precision": precision, "engine": configs.BACKENDS[options.form]}
    told["false_reject_rate"] = options.false_reject_rate  # type: ignore[assignment]
    size = {SIZE.name: SIZE.dims}
    outputs = {one.name: one.dims for one in OUTPUTS}

    def python(stage: str, settings: Any, takes: list[Tensor], gives: Sequence[Tensor]) -> str:
        return configs.python_config(
            names[stage],
            settings,
            takes,
            gives,
            batch=options.batch,
            instances=options.instances,
        )

    before = python("before", common, [frame], [*configs.floats(image), SIZE])
    after = python("after", {**common, **told}, [*configs.floats(shapes), SIZE], OUTPUTS)
    # A plan has the batch that it was built for: one image, as edgead build makes it.
    batch = 1 if options.form == "tensorrt" else options.batch
    steps: list[tuple[str, configs.Shapes, configs.Shapes]] = [
        (names["before"], {frame.name: frame.dims}, {**image, **size}),
        (names["engine"], image, shapes),
        (names["after"], {**shapes, **size}, outputs),
    ]
    config = configs.engine_config(names["engine"], options.form, image, shapes, batch)
    together = configs.ensemble_config(name, frame, OUTPUTS, steps)
    copied = _copied(bundle, name)
    return {
        names["before"]: _model(before, "Before", copied),
        names["engine"]: {"config.pbtxt": config.encode(), **engine},
        names["after"]: _model(after, "Behind", copied),
        name: {"config.pbtxt": together.encode(), "1/README": b"an ensemble has no file\n"},
    }


def _engine(bundle: Bundle, options: RepositoryOptions, graph: str) -> dict[str, bytes]:
    if options.form == "tensorrt" and options.plan is not None:
        return {f"1/{configs.FILES['tensorrt']}": options.plan}
    data = bundle.read(graph)
    return {"1/model.onnx": data} if options.form == "onnx" else _openvino_files(data)


def _openvino_files(data: bytes) -> dict[str, bytes]:
    """The graph as OpenVINO's own files, weights as they are."""
    import openvino as ov

    model = ov.Core().read_model(data)
    with tempfile.TemporaryDirectory() as folder:
        ov.save_model(model, f"{folder}/model.xml", compress_to_fp16=False)
        return {f"1/{n}": read_file(f"{folder}/{n}") for n in ("model.xml", "model.bin")}


def _copied(bundle: Bundle, name: str) -> dict[str, bytes]:
    """The files of the bundle where ``model.py`` looks for them."""
    return {f"1/{name}{SUFFIX}/{file}": data for file, data in files_of(bundle).items()}


def _model(config: str, kind: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    text = MODEL.format(mark=configs.MARK.removeprefix("# "), kind=kind, version=__version__)
    return {"config.pbtxt": config.encode(), "1/model.py": text.encode(), **files}


def _is_ours(folder: Path) -> bool:
    try:
        return configs.MARK in read_file(folder / "config.pbtxt")[:1000].decode(errors="replace")
    except OSError:
        return False


def _check_ours(folder: Path) -> None:
    """Refuse to replace what somebody else wrote."""
    if os.path.lexists(folder) and not _is_ours(folder):
        raise InputError(
            f"{printable(folder)} is there already and was not written by edgead: choose another "
            "--out, or name the bundle otherwise"
        )
