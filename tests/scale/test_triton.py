"""A real tritonserver, from nvidia-pytriton, beside ``Detector.score``: equal to the last bit."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from triton_server import tritonserver

import edgead
from edgead.cli.main import main
from edgead.images import encode_png

pytestmark = pytest.mark.scale
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def served(bundle_named, tmp_path_factory):
    """(HOST:PORT, bundles): one server with a Detector, an ensemble, and one without its engine."""
    folder = tmp_path_factory.mktemp("triton")
    bundles = {name: bundle_named(name) for name in ("whole", "staged", "lacking")}
    out = ["--out", str(folder / "models")]
    assert main(["serve-repository", str(bundles["whole"]), *out]) == 0
    others = [str(bundles["staged"]), str(bundles["lacking"])]
    assert main(["serve-repository", *others, *out, "--form", "onnx"]) == 0
    stand_in(folder / "models/staged_engine")
    with tritonserver(folder / "models", folder, "--exit-on-error=false") as (url, _):
        yield url, bundles


def stand_in(engine: Path) -> None:
    """Let ``engine_stand_in.py`` run the graph, where Triton has no ONNX Runtime."""
    config = (engine / "config.pbtxt").read_text()
    assert 'backend: "onnxruntime"' in config
    config = config.replace("onnxruntime", "python")
    config = config.replace('default_model_filename: "model.onnx"\n', "")
    (engine / "config.pbtxt").write_text(config)
    shutil.copy(Path(__file__).with_name("engine_stand_in.py"), engine / "1/model.py")


@pytest.fixture(scope="module")
def example():
    """examples/triton_client.py as a module."""
    spec = importlib.util.spec_from_file_location("client", ROOT / "examples/triton_client.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def detector(bundle_dir):
    return edgead.Detector(bundle_dir, device="cpu")


def asked(client_module, url, model, given):
    """All outputs, by name."""
    client = client_module.triton.InferenceServerClient(url)
    answer = client.infer(model, [given])
    names = ("SCORE", "P_VALUE", "THRESHOLD", "IS_ANOMALOUS", "MAP", "VERDICT")
    return {name: answer.as_numpy(name) for name in names}


def assert_equal(found, results):
    """Every output to the last bit."""
    for row, result in enumerate(results):
        assert found["SCORE"][row, 0] == result.score
        assert found["P_VALUE"][row, 0] == result.p_value
        assert found["THRESHOLD"][row, 0] == result.threshold
        assert found["IS_ANOMALOUS"][row, 0] == result.is_anomalous
        assert found["MAP"][row].tobytes() == result.map.tobytes()
        told, own = json.loads(found["VERDICT"][row, 0]), result.to_dict()
        assert {**told, "timings_ms": {}} == {**own, "timings_ms": {}}


@pytest.mark.parametrize("model", ["whole", "staged"])
@pytest.mark.parametrize("shape", [(70, 90, 3), (33, 57, 1)])
def test_a_frame_gives_what_score_gives(served, example, detector, make_frame, model, shape):
    frame = make_frame(3, shape)
    frame[20:30, 5:40] = 255
    found = asked(example, served[0], model, example.frame_input(frame))
    assert_equal(found, [detector.score(frame)])


def test_sixteen_bits_files_and_several_frames_at_once(served, example, detector, make_frame):
    deep = make_frame(4, (40, 50, 3), np.uint16)
    found = asked(example, served[0], "whole", example.frame_input(deep))
    assert_equal(found, [detector.score(deep)])
    frames = np.stack([make_frame(seed) for seed in range(3)])
    given = example.triton.InferInput("FRAME", list(frames.shape), "UINT8")
    given.set_data_from_numpy(frames)
    found = asked(example, served[0], "whole", given)
    assert_equal(found, [detector.score(frame) for frame in frames])
    given = example.triton.InferInput("FILE", [2, 1], "BYTES")
    files = [encode_png(frame) for frame in frames[:2]]
    given.set_data_from_numpy(np.array(files, np.object_).reshape(2, 1))
    found = asked(example, served[0], "whole", given)
    assert_equal(found, [detector.score(frame) for frame in frames[:2]])


@pytest.mark.parametrize("model", ["whole", "staged"])
def test_eight_clients_get_their_own_scores_and_are_batched(
    served, example, detector, make_frame, model
):
    def client(number: int) -> list[tuple[int, float]]:
        server = example.triton.InferenceServerClient(served[0])
        seeds = [100 * number + n for n in range(12)]
        found = [server.infer(model, [example.frame_input(make_frame(n))]) for n in seeds]
        scores = [float(one.as_numpy("SCORE")[0, 0]) for one in found]
        return list(zip(seeds, scores, strict=True))

    with ThreadPoolExecutor(8) as pool:
        scores = dict(pair for pairs in pool.map(client, range(8)) for pair in pairs)
    assert scores == {seed: detector.score(make_frame(seed)).score for seed in scores}
    server = example.triton.InferenceServerClient(served[0])
    last = {"whole": "whole", "staged": "staged_before"}[model]
    (told,) = server.get_inference_statistics(last, as_json=True)["model_stats"]
    assert int(told["execution_count"]) < int(told["inference_count"])


@pytest.mark.parametrize("option", [[], ["--file"], ["--shared-memory"]])
def test_the_example_prints_the_verdict(
    served, example, detector, make_frame, tmp_path, monkeypatch, capsys, option
):
    frame = make_frame(8)
    (tmp_path / "part.png").write_bytes(encode_png(frame))
    words = ["triton_client.py", served[0], "whole", str(tmp_path / "part.png"), *option]
    monkeypatch.setattr(sys, "argv", words)
    example.main()
    found = json.loads(capsys.readouterr().out)
    assert found["score"] == detector.score(frame).score
    assert found["regions"] == detector.score(frame).to_dict()["regions"]


def test_a_bad_request_gets_a_sentence_and_the_next_one_a_score(
    served, example, detector, make_frame
):
    server = example.triton.InferenceServerClient(served[0])
    damaged = example.triton.InferInput("FILE", [1, 1], "BYTES")
    damaged.set_data_from_numpy(np.array([[b"\x89PNG\r\n\x1a\n"]], np.object_))
    both = [damaged, example.frame_input(make_frame(1))]
    two_channels = example.frame_input(np.zeros((20, 20, 2), np.uint8))
    for given, words in (
        ([damaged], "image 0"),
        (both, "expected one of FRAME"),
        ([two_channels], "2"),
    ):
        with pytest.raises(example.triton.InferenceServerException, match=words) as caught:
            server.infer("whole", given)
        assert "Traceback" not in str(caught.value)
    found = asked(example, served[0], "whole", both[1])
    assert_equal(found, [detector.score(make_frame(1))])


@pytest.mark.parametrize("model", ["whole", "staged"])
def test_a_server_is_held_to_the_golden_frames(served, model, capsys):
    url, bundles = served
    assert main(["serve-repository", str(bundles[model]), "--check", url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["checked"][model]
    assert found["frames"] == {"whole": 3, "staged": 2}[model]
    assert found["score_difference"] <= found["tolerance"]


def test_a_server_with_another_bundle_of_the_name_is_found_out(
    served, tiny, make_graph, tmp_path, capsys
):
    """The tiny bundle is served; one of other golden scores is asked about."""
    golden = tuple(type(one)(one.image, one.map, one.score + 0.01) for one in tiny.manifest.golden)
    other = tmp_path / "whole.edgead"
    tiny.write(other, golden=golden)
    assert main(["serve-repository", str(other), "--check", served[0]]) == 2
    assert "golden" in capsys.readouterr().err


def test_a_triton_without_the_backend_gives_a_sentence(served, bundle_named, capsys):
    url, bundles = served
    assert main(["serve-repository", str(bundles["lacking"]), "--check", url]) == 2
    said = capsys.readouterr().err
    assert "has no backend onnxruntime" in said and "--form python" in said
    assert main(["serve-repository", str(bundle_named("absent")), "--check", url]) == 2
    assert "has no model absent" in capsys.readouterr().err
