"""edgead inspect says what the manifest says; edgead verify says what the golden frames say."""

from __future__ import annotations

import json

import pytest


def test_inspect_json_is_the_manifest(run_json, bundle_dir):
    code, report = run_json("inspect", bundle_dir)
    assert code == 0
    assert report["manifest"] == json.loads((bundle_dir / "manifest.json").read_bytes())
    assert report["path"] == str(bundle_dir)
    assert len(report["bundle_sha256"]) == 64


def test_inspect_for_people(run, bundle_dir, tiny):
    code, out, err = run("inspect", bundle_dir)
    assert (code, err) == (0, "")
    scores = tiny.manifest.calibration.scores
    # 39 calibration scores at 5 %: at most floor(0.05 * 40) = 2 of 40 ranks, so the second highest.
    limit = sorted(scores)[-2] + tiny.manifest.tolerance["float32"].score
    for said in (
        "tiny: random",
        "2025-01-01T00:00:00Z",
        "64 x 48 (height x width)",
        "mean 0.485 0.456 0.406, std 0.229 0.224 0.225",
        "reference_0 | restored_0: 8 channels of 32 x 24, weight 1",
        "reference_1 | restored_1: 12 channels of 16 x 12, weight 0.5",
        f"{tiny.manifest.map.distance} distance, sum over the pairs at 64 x 48, blur sigma 2",
        "score = max",
        f"39 good images, scores {min(scores):.5g} to {max(scores):.5g}",
        f"false-reject rate 5 %: anomalous above {limit:.5g}",
        "best rate these images can promise: 2.5 %",
        "golden/2.png: score ",
        "note: Prüfling № 1",
        "model.onnx  0.0",
        f"next   edgead verify {bundle_dir}",
    ):
        assert said in out


def test_inspect_shows_a_calibration_of_its_own(run, bundle_copy, add_int8, edit):
    def add(manifest):
        scores = [float(value) for value in range(39)]  # at 5 %, the second highest: 37, and ties
        own = {"scores": scores, "peaks": scores, "ties": {"score": 0.25, "map": 0.5}}
        manifest["calibration"]["own"] = {"int8": own}

    add_int8(bundle_copy)
    edit(bundle_copy, add)
    out = run("inspect", bundle_copy)[1]
    assert "in int8 by scores of its own: anomalous above 37.25" in out
    assert "  ties int8: score 0.25, map 0.5\n" in out


def test_inspect_shows_what_counts_as_equal(run, bundle_copy, edit):
    """The ties of the bundle for float32 and float16; without them the tolerance."""
    edit(bundle_copy, lambda m: m["tolerance"].update(float32={"score": 0.5, "map": 0.75}))
    assert "  ties float32: score 0.5, map 0.75\n" in run("inspect", bundle_copy)[1]
    edit(bundle_copy, lambda m: m["calibration"].update(ties={"score": 0.125, "map": 0.25}))
    out = run("inspect", bundle_copy)[1]
    assert "  ties float32: score 0.125, map 0.25\n" in out
    assert "  tolerance float32: score 0.5, map 0.75\n" in out


def test_inspect_names_the_share_of_top_k_pooling(run, bundle_copy, edit):
    edit(bundle_copy, lambda m: m["map"].update(pooling="top_k", top_k=0.01))
    assert "score = mean of the highest 1 % of the pixels" in run("inspect", bundle_copy)[1]


def test_inspect_shows_nested_provenance(run, bundle_copy, edit):
    edit(
        bundle_copy, lambda m: m.update(provenance={"data": {"n_train": 40, "share": 0.123456789}})
    )
    _, out, _ = run("inspect", bundle_copy)
    assert "  data:\n    n_train: 40\n    share: 0.123457\n" in out


def test_inspect_leaves_what_is_long_to_json(run, bundle_copy, edit):
    provenance = {
        "bounds": {"steps": None},
        "settings": {"fold": True, "size": [64, 64], "skip": []},
        "export": {"census": {"float32": {"Conv": 7}}, "paths": [{"path": "torch"}] * 9},
    }
    edit(bundle_copy, lambda m: m.update(provenance=provenance))
    assert (
        "provenance\n"
        "  bounds:\n"
        "    steps: null\n"
        "  settings:\n"
        "    fold: true\n"
        "    size: [64, 64]\n"
        "    skip: []\n"
        "  export:\n"
        "    census: … in --json\n"
        "    paths: … in --json\n"
    ) in run("inspect", bundle_copy)[1]


def test_a_bundle_of_a_newer_schema(run, bundle_copy, edit):
    edit(bundle_copy, lambda manifest: manifest.update(schema_version=3))
    for command in ("inspect", "verify"):
        code, out, err = run(command, bundle_copy)
        assert (code, out) == (1, "")
        assert "upgrade edgead" in err


def test_verify_json(run_json, bundle_dir, tiny):
    code, report = run_json("verify", bundle_dir)
    assert code == 0
    assert report["qualified"] is True
    assert (report["engine"], report["precision"], report["golden"]) == ("OpenVINO", "float32", 3)
    assert report["version"].startswith("OpenVINO 20") and report["device"].startswith("CPU: ")
    assert len(report["bundle_sha256"]) == 64
    assert report["verdicts_changed"] == 0 and report["seconds"] > 0
    checks, tolerance = report["checks"], report["tolerance"]
    assert report["max_score_error"] == max(frame["score_difference"] for frame in checks)
    assert report["max_map_error"] == max(frame["map_difference"] for frame in checks)
    assert [frame["image"] for frame in checks] == [g.image for g in tiny.manifest.golden]
    for frame, golden in zip(checks, tiny.manifest.golden, strict=True):
        assert frame["passed"] is True
        assert frame["expected_score"] == golden.score
        assert frame["score"] == pytest.approx(golden.score, abs=tolerance["score"])
        assert frame["score_difference"] == abs(frame["score"] - golden.score)
        assert 0 <= frame["map_difference"] <= tolerance["map"]


def test_verify_prints_a_line_of_json_for_every_engine(run, bundle_copy, add_int8, int8_tolerance):
    add_int8(bundle_copy)
    code, out, err = run("verify", bundle_copy, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["precision"] for line in lines] in (["float32", "int8"], ["float32"])
    assert code == 0 and all(line["qualified"] for line in lines)
    if len(lines) == 1:
        assert "not here: precision int8" in err
        return
    exact, coarse = lines
    assert exact["tolerance"] == {"score": 1e-4, "map": 1e-4}
    assert coarse["tolerance"] == int8_tolerance
    assert exact["max_score_error"] <= 1e-4 < coarse["max_score_error"] <= int8_tolerance["score"]


def test_verify_of_one_precision(run, run_json, bundle_copy, add_int8):
    add_int8(bundle_copy, wrong=0.25)
    code, report = run_json("verify", bundle_copy, "--precision", "float32")
    assert (code, report["precision"]) == (0, "float32")
    code, report = run_json("verify", bundle_copy, "--precision", "int8")
    assert (code, report["precision"], report["qualified"]) == (2, "int8", False)
    code, out, _ = run("verify", bundle_copy)  # the good engine first, then the one that fails
    assert code == 2
    assert out.index("qualified on 3 golden frames") < out.index("int8 has too few bits")
    code, _, err = run("verify", bundle_copy, "--precision", "float16")
    assert code == 1 and "no graph in float16, only in float32, int8" in err
    code, _, err = run("verify", bundle_copy, "--precision", "half")
    assert code == 1 and "expected one of float32, float16, bfloat16, int8" in err


def test_verify_counts_the_verdicts_that_changed(run_json, bundle_copy, edit, tiny):
    """Of an expected score far over the limit, where the engine finds one far under it."""
    lowest = min(range(3), key=lambda index: tiny.manifest.golden[index].score)
    edit(bundle_copy, lambda manifest: manifest["golden"][lowest].update(score=99.0))
    _, report = run_json("verify", bundle_copy)
    limit = sorted(tiny.manifest.calibration.scores)[-2] + 1e-4  # 2 of 40 ranks, as above
    assert tiny.manifest.golden[lowest].score < limit
    assert report["verdicts_changed"] == 1


def test_verify_for_people(run, bundle_dir):
    code, out, err = run("verify", bundle_dir)
    assert (code, err) == (0, "")
    assert "all intact" in out
    assert "golden/0.png" in out and "golden/2.png" in out
    assert "qualified on 3 golden frames" in out
    assert out.splitlines()[-1] == f"next   edgead score {bundle_dir} IMAGE"


def test_verify_shows_the_frame_that_differs_and_exits_with_2(run, run_json, bundle_copy, edit):
    edit(bundle_copy, lambda manifest: manifest["golden"][1].update(score=99.0))
    code, report = run_json("verify", bundle_copy)
    assert code == 2
    assert report["qualified"] is False
    assert [frame["passed"] for frame in report["checks"]] == [True, False, True]
    code, out, _ = run("verify", bundle_copy)
    assert code == 2
    (line,) = [line for line in out.splitlines() if "over the tolerance" in line]
    assert "golden/1.png" in line and "99" in line
    assert "not qualified" in out
    assert "with the OpenVINO of this machine" in out  # the two causes, each with its cure
    assert "manifest.json were changed: copy the bundle again" in out
    assert out.splitlines()[-1] == f"next   edgead verify {bundle_copy}"


def test_a_graph_with_other_outputs_is_the_bundles_mistake(run, bundle_copy, edit, make_graph):
    graph = make_graph(("reference_0", "restored_0", "reference_1", "other"))
    edit(bundle_copy, files={"model.onnx": graph})
    code, out, err = run("verify", bundle_copy)
    assert code == 1 and "qualified" not in out
    assert "restored_1" in err


def test_verify_with_a_number_of_threads(run, bundle_dir):
    assert run("verify", bundle_dir, "--threads", 1)[0] == 0
    code, _, err = run("verify", bundle_dir, "--threads", 0)
    assert code == 1 and "threads=0" in err


def test_verify_on_a_device_that_is_not_served(run, bundle_dir, no_gpu):
    code, _, err = run("verify", bundle_dir, "--device", "cuda:0")
    assert code == 2
    assert "kernels were not built" in err
