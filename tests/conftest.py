"""A tiny real bundle: an ONNX graph of random convolutions that OpenVINO runs; no torch needed."""

from __future__ import annotations

import io
import json
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis.internal.conjecture import providers

sys.path.insert(0, str(Path(__file__).parent))
pytest_plugins = ["running", "depths"]

# The same examples everywhere, and no deadline: machines that run tests are busy.
hypothesis.settings.register_profile("edgead", deadline=None, derandomize=True)
hypothesis.settings.load_profile("edgead")
# Nor examples from numbers in the modules loaded so far: they depend on the order of the tests.
# Hypothesis has no setting for that; a version without the function draws none.
if hasattr(providers, "_get_local_constants"):
    providers._get_local_constants = lambda: providers._local_constants

SIZE = (64, 48)  # height and width differ, so that a swap shows
CHANNELS = (8, 12)
FEATURE_SIZES = ((32, 24), (16, 12))
N_CALIBRATION = 39  # the best false-reject rate is 1/40
TOLERANCE = 1e-4  # of scores around 1: float32 convolutions and the CPU kernels leave ~1e-6

# A shell lets what it starts in the background ignore Ctrl-C, nohup a closed terminal; Python
# leaves it so, and what the tests start would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def tiny_graph(
    names: tuple[str, ...] = ("reference_0", "restored_0", "reference_1", "restored_1"),
    *,
    seed: int = 7,
    channels: tuple[int, int] = CHANNELS,
    gain: float = 0.2,
) -> bytes:
    """An ONNX graph ``image`` -> two pairs, with a free batch axis and fixed random weights.

    What is restored is the reference plus a convolution of it, which edges make large.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    rng = np.random.default_rng(seed)

    def weight(name: str, shape: tuple[int, ...]) -> Any:
        return numpy_helper.from_array(rng.normal(0, gain, shape).astype(np.float32), name)

    first, second = channels
    weights = [
        weight("w0", (first, 3, 3, 3)),
        weight("w1", (first, first, 3, 3)),
        weight("w2", (second, first, 3, 3)),
        weight("w3", (second, second, 3, 3)),
    ]
    convolution = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    nodes = []
    for level, (source, stride_weight, same_weight) in enumerate(
        [("image", "w0", "w1"), (names[0], "w2", "w3")]
    ):
        reference, restored = names[2 * level : 2 * level + 2]
        own = f"level_{level}"
        nodes += [
            helper.make_node("Conv", [source, stride_weight], [own], strides=[2, 2], **convolution),
            helper.make_node("Relu", [own], [reference]),
            helper.make_node("Conv", [reference, same_weight], [f"{own}_noise"], **convolution),
            helper.make_node("Add", [reference, f"{own}_noise"], [restored]),
        ]
    shapes = [(c, *size) for c, size in zip(channels, FEATURE_SIZES, strict=True) for _ in "ab"]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        for name, shape in zip(names, shapes, strict=True)
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, *SIZE])
    graph = helper.make_graph(nodes, "tiny", [image], outputs, weights)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def activation_peaks(model: bytes) -> dict[str, float]:
    """The largest magnitude of each convolution's input over the golden frames."""
    import onnx
    import onnxruntime
    from onnx import helper

    from edgead import reference
    from edgead.preprocess import PreprocessParams

    seen = onnx.load_model_from_string(model)
    names = sorted({n.input[0] for n in seen.graph.node if n.op_type == "Conv"} - {"image"})
    shown = {output.name for output in seen.graph.output}
    seen.graph.output.extend(
        helper.make_empty_tensor_value_info(n) for n in names if n not in shown
    )
    session = onnxruntime.InferenceSession(seen.SerializeToString())
    params = PreprocessParams(SIZE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    peaks = dict.fromkeys(["image", *names], 0.0)
    for frame in golden_frames().values():
        image = reference.preprocess(frame, params)[None]
        for name, values in zip(peaks, [image, *session.run(names, {"image": image})], strict=True):
            peaks[name] = max(peaks[name], float(np.abs(values).max()))
    return peaks


def int8_graph(model: bytes, *, wrong: float = 1.0, largest: int = 64) -> bytes:
    """``model`` with Q/DQ by hand: every convolution takes int8 weights and int8 activations.

    Symmetric: a weight's scale is max |w| / ``largest`` of its output channel, an activation's
    1/127 of the largest magnitude that the golden frames give (the last one's scratch goes far
    beyond good frames). ``wrong`` multiplies the latter. With weights up to 127 a processor without
    VNNI adds two products in 16 bits that saturate.
    """
    import onnx
    from onnx import helper, numpy_helper

    graph = onnx.load_model_from_string(model)
    weights = {one.name: numpy_helper.to_array(one) for one in graph.graph.initializer}
    stored, nodes, done = [], [], set()
    peaks = activation_peaks(model)

    def add(operator: str, source: str, target: str, scale: np.ndarray, **more: int) -> None:
        codes = [f"{target}_scale", f"{target}_zero"]
        stored.append(numpy_helper.from_array(scale.astype(np.float32), codes[0]))
        stored.append(numpy_helper.from_array(np.zeros(scale.shape, np.int8), codes[1]))
        nodes.append(helper.make_node(operator, [source, *codes], [target], **more))

    for node in graph.graph.node:
        if node.op_type == "Conv":
            source, weight = node.input[:2]
            if source not in done:
                done.add(source)
                scale = np.array(wrong * peaks[source] / 127)
                add("QuantizeLinear", source, f"{source}_q", scale)
                add("DequantizeLinear", f"{source}_q", f"{source}_dq", scale)
            scale = np.abs(weights[weight]).max((1, 2, 3)) / largest
            codes = np.rint(weights[weight] / scale[:, None, None, None]).astype(np.int8)
            stored.append(numpy_helper.from_array(codes, f"{weight}_q"))
            add("DequantizeLinear", f"{weight}_q", f"{weight}_dq", scale, axis=0)
            node.input[:] = [f"{source}_dq", f"{weight}_dq"]
        nodes.append(node)
    del graph.graph.node[:], graph.graph.initializer[:]
    graph.graph.node.extend(nodes)
    graph.graph.initializer.extend(stored)
    onnx.checker.check_model(graph, full_check=True)
    return bytes(graph.SerializeToString())


def smooth_frame(
    seed: int, shape: tuple[int, ...] = (70, 90, 3), dtype: type = np.uint8
) -> np.ndarray:
    """A frame of soft random texture: noise on a coarse grid, enlarged."""
    import cv2

    rng = np.random.default_rng(seed)
    grid = rng.uniform(0.2, 0.8, (9, 7, shape[2] if len(shape) == 3 else 1))
    image = cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR).reshape(shape)
    return np.rint(np.iinfo(dtype).max * image).astype(dtype)


class Truth:
    """Map and score of a frame by onnxruntime and float64 NumPy, not by OpenVINO and csrc."""

    def __init__(self, model: bytes, manifest: Any) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._manifest = manifest

    def __call__(self, frame: np.ndarray, color: str = "bgr") -> tuple[np.ndarray, float]:
        """(map [h, w] float64, score)."""
        from edgead import reference

        image = reference.preprocess(frame, self._manifest.preprocess_params(), color=color)
        names = [n for pair in self._manifest.pairs for n in (pair.reference, pair.restored)]
        features = self._session.run(names, {"image": image[None]})
        pairs = list(zip(features[::2], features[1::2], strict=True))
        maps, scores = reference.anomaly_map(pairs, self._manifest.map_params())
        return np.asarray(maps[0], np.float64), float(scores[0])


@dataclass(frozen=True)
class Tiny:
    """The tiny bundle before it is written, and the truth about it."""

    manifest: Any
    files: Mapping[str, bytes]
    truth: Truth

    def write(self, path: Path, **changes: Any) -> Any:
        """Write it to ``path``, with fields of the manifest replaced."""
        from dataclasses import replace

        from edgead.bundle.storage import write_bundle

        return write_bundle(path, replace(self.manifest, **changes), self.files)


def golden_frames() -> dict[str, np.ndarray]:
    """Colour, grey and 16 bits, each of another size, the last with a bright scratch."""
    frames = {
        "golden/0.png": smooth_frame(900),
        "golden/1.png": smooth_frame(901, (33, 57)),
        "golden/2.png": smooth_frame(902, (128, 96, 3), np.uint16),
    }
    frames["golden/2.png"][40:52, 20:70] = 65535
    return frames


def build_tiny() -> Tiny:
    """Manifest, files and truth of the tiny bundle; everything in it comes from the truth."""
    from edgead.anomaly_map import MapParams
    from edgead.bundle.entries import Calibration, Golden, Pair, Tolerance
    from edgead.bundle.manifest import Manifest
    from edgead.images import encode_png
    from edgead.preprocess import PreprocessParams

    model = tiny_graph()
    weights = (1.0, 0.5)
    manifest = Manifest(
        name="tiny",
        method="random",
        created="2025-01-01T00:00:00Z",
        preprocess=PreprocessParams(SIZE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        pairs=tuple(
            Pair(f"reference_{i}", f"restored_{i}", CHANNELS[i], FEATURE_SIZES[i], weights[i])
            for i in range(2)
        ),
        map=MapParams(size=SIZE, distance="l2", weights=weights, blur_sigma=2.0),
        models={"float32": "model.onnx"},
        calibration=Calibration((0.5,), (0.5,), 0.5),
        tolerance={"float32": Tolerance(TOLERANCE, TOLERANCE)},
        golden=(Golden("golden/0.png", "golden/0.npy", 0.0),),
        provenance={"seed": 7, "note": "Prüfling № 1"},
    )
    truth = Truth(model, manifest)
    found = [truth(smooth_frame(seed)) for seed in range(N_CALIBRATION)]
    files: dict[str, bytes] = {"model.onnx": model}
    golden = []
    for name, frame in golden_frames().items():
        expected, score = truth(frame)
        files[name] = encode_png(frame)
        files[name.replace("png", "npy")] = npy(expected.astype(np.float32))
        golden.append(Golden(name, name.replace("png", "npy"), score))
    scores = tuple(score for _, score in found)
    peaks = tuple(float(values.max()) for values, _ in found)
    from dataclasses import replace

    manifest = replace(manifest, calibration=Calibration(scores, peaks, 0.05), golden=tuple(golden))
    return Tiny(manifest, files, truth)


def npy(array: np.ndarray) -> bytes:
    """The bytes of an ``.npy`` file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    """The tiny bundle's parts."""
    return build_tiny()


@pytest.fixture(scope="session")
def bundle_dir(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle on disk; not to be changed."""
    path = tmp_path_factory.mktemp("bundle") / "tiny.edgead"
    tiny.write(path)
    return path


@pytest.fixture
def bundle_copy(bundle_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, to be damaged."""
    path = tmp_path / "copy.edgead"
    shutil.copytree(bundle_dir, path)
    return path


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without edgead's CUDA kernels, whatever this one has."""
    monkeypatch.setitem(sys.modules, "edgead.nvidia._cuda", None)


@pytest.fixture
def frame() -> np.ndarray:
    """A colour frame, [90, 110, 3] uint8."""
    return smooth_frame(5, (90, 110, 3))


@pytest.fixture(scope="session")
def make_frame() -> Callable[..., np.ndarray]:
    """``smooth_frame(seed, shape, dtype)``."""
    return smooth_frame


@pytest.fixture(scope="session")
def make_graph() -> Callable[..., bytes]:
    """``tiny_graph(names, seed=, channels=, gain=)``."""
    return tiny_graph


@pytest.fixture(scope="session")
def int8_tolerance(tiny: Tiny) -> dict[str, float]:
    """As export states it: 1.3 times the largest difference of int8 from float32.

    Measured by ``Truth`` on the golden frames, so that no processor has a say.
    """
    coarse = Truth(int8_graph(tiny.files["model.onnx"]), tiny.manifest)
    both = [(tiny.truth(frame), coarse(frame)) for frame in golden_frames().values()]
    return {
        "score": 1.3 * max(abs(exact[1] - found[1]) for exact, found in both),
        "map": 1.3 * max(float(np.abs(exact[0] - found[0]).max()) for exact, found in both),
    }


@pytest.fixture
def add_int8(tiny: Tiny, int8_tolerance: dict[str, float]) -> Callable[..., None]:
    """``add_int8(path, wrong=, largest=)`` gives the bundle at ``path`` a ``model.int8.onnx``."""

    def add(path: Path, **options: Any) -> None:
        def state(manifest: dict[str, Any]) -> None:
            manifest["models"]["int8"] = "model.int8.onnx"
            manifest["tolerance"]["int8"] = int8_tolerance

        graph = int8_graph(tiny.files["model.onnx"], **options)
        edit_bundle(path, state, {"model.int8.onnx": graph})

    return add


def edit_bundle(
    path: Path,
    change: Callable[[dict[str, Any]], None] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Change the manifest's JSON and files in place, digests made right, as a forger would."""
    manifest = json.loads((path / "manifest.json").read_bytes())
    for name, data in (files or {}).items():
        (path / name).write_bytes(data)
        manifest["files"][name] = sha256(data).hexdigest()
    if change is not None:
        change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="session")
def edit() -> Callable[..., None]:
    """``edit_bundle(path, change(manifest dict), files)``."""
    return edit_bundle


@pytest.fixture(scope="session")
def to_npy() -> Callable[[np.ndarray], bytes]:
    """``npy(array)``."""
    return npy


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """``run(*words)`` -> (exit code, stdout, stderr) of edgead."""
    from edgead.cli.main import main

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
