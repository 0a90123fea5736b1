"""edgead replay: what was recorded is repeated, planted mismatches are found at their stage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgead.anomaly_map import AnomalyMap
from edgead.preprocess import Preprocessor


@pytest.fixture
def recorded(run, bundle_dir, good, scratched, tmp_path) -> Path:
    """What edgead score --json --digests wrote about a good and a scratched image."""
    words = ("score", bundle_dir, good, scratched, "--threads", 1, "--json", "--digests")
    code, out, _ = run(*words)
    assert code == 0
    path = tmp_path / "scores.json"
    path.write_text(out)
    return path


@pytest.fixture
def line(recorded, good) -> Callable[..., dict[str, Any]]:
    """``line(number, **changes)``: the good image's verdict as a line of edgead watch."""
    frame = json.loads(recorded.read_text())["frames"][0]

    def make(number: int = 7, **changes: Any) -> dict[str, Any]:
        return {
            "frame": number,
            "captured": "2026-01-02T03:04:05.678Z",
            "score": frame["score"],
            "digests": frame["digests"],
            **changes,
        }

    return make


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """``write(line, …)``: a file of JSON lines."""

    def lines(*found: dict[str, Any]) -> Path:
        path = tmp_path / "verdicts.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in found))
        return path

    return lines


def stages(report: dict[str, Any]) -> list[str | None]:
    return [verdict["stage"] for verdict in report["verdicts"]]


def test_what_did_not_change_is_repeated(run, run_json, bundle_dir, recorded, good, scratched):
    code, report = run_json("replay", bundle_dir, recorded)
    assert code == 0
    assert stages(report) == [None, None]
    assert report["repeated"] == 2
    assert report["departed"] == {}
    assert report["notes"] == []
    assert [v["image"] for v in report["verdicts"]] == [str(good), str(scratched)]
    assert all(v["score_difference"] == 0 and v["same_bundle"] for v in report["verdicts"])
    code, out, err = run("replay", bundle_dir, recorded)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith(f"read   {bundle_dir} and 2 verdicts; CPU")
    assert out.splitlines()[-1] == "found  2 of 2 verdicts repeated to the last bit"


def test_one_pixel_of_a_png_is_a_mismatch_at_the_frame(run, run_json, bundle_dir, recorded, good):
    frame = cv2.imread(str(good))
    frame[3, 4, 1] ^= 1
    cv2.imwrite(str(good), frame)
    code, report = run_json("replay", bundle_dir, recorded)
    assert code == 6
    assert stages(report) == ["frame", None]
    assert (report["repeated"], report["departed"]) == (1, {"frame": 1})
    one = report["verdicts"][0]
    assert one["score_difference"] == one["score"] - one["recorded_score"]
    assert not one["lossy"]
    code, out, _ = run("replay", bundle_dir, recorded)
    assert code == 6
    assert "1 mismatch at frame, score off by up to" in out
    assert "was changed, or saved again" in out
    assert "JPEG" not in out


def test_a_jpeg_of_the_frame_is_a_mismatch_at_the_frame_and_says_so(
    run, bundle_dir, recorded, good
):
    cv2.imwrite(str(good.with_suffix(".jpg")), cv2.imread(str(good)))
    good.unlink()
    code, out, _ = run("replay", bundle_dir, recorded)
    assert code == 6
    assert "1 mismatch at frame" in out
    assert "JPEG and WebP are lossy" in out
    assert "save PNG" in out


def off_by_one_ulp(array: np.ndarray) -> None:
    array.flat[0] = np.nextafter(array.flat[0], np.float32(np.inf))


def test_another_preprocess_kernel(run_json, bundle_dir, recorded, monkeypatch):
    original = Preprocessor.run

    def planted(self, frame, out):
        original(self, frame, out)
        off_by_one_ulp(out)

    monkeypatch.setattr(Preprocessor, "run", planted)
    code, report = run_json("replay", bundle_dir, recorded)
    assert (code, stages(report)) == (6, ["preprocess", "preprocess"])
    assert report["notes"] == []


def test_other_preprocessing_in_the_bundle_is_another_bundle_first(
    run, run_json, bundle_copy, edit, recorded
):
    def shift(manifest):
        manifest["input"]["mean"][0] += 1e-6  # within the tolerance of the golden frames

    edit(bundle_copy, shift)
    code, report = run_json("replay", bundle_copy, recorded)
    assert (code, stages(report)) == (6, ["preprocess", "preprocess"])
    assert not any(v["same_bundle"] for v in report["verdicts"])
    code, out, _ = run("replay", bundle_copy, recorded)
    assert code == 6
    assert out.splitlines()[1].startswith("note   2 verdicts recorded with another bundle: digest ")


def test_other_weights_are_a_mismatch_at_the_engine(
    run, run_json, bundle_copy, edit, make_graph, recorded
):
    edit(bundle_copy, files={"model.onnx": make_graph(gain=0.200001)})
    code, report = run_json("replay", bundle_copy, recorded)
    assert (code, stages(report)) == (6, ["engine", "engine"])
    assert report["verdicts"][0]["part"] == "pair 0, reference"
    one = report["verdicts"][0]
    assert 0 < abs(one["score_difference"]) < 1e-4
    _, out, _ = run("replay", bundle_copy, recorded)
    assert "2 mismatches at engine (pair 0, reference), score off by up to" in out
    assert "another graph, OpenVINO version, processor or number of threads" in out


def test_a_kernel_with_another_map_and_one_with_another_score(
    run_json, bundle_dir, recorded, monkeypatch
):
    original = AnomalyMap.run

    def other_map(self, pairs, out=None):
        maps, scores = original(self, pairs, out)
        off_by_one_ulp(maps)
        return maps, scores

    monkeypatch.setattr(AnomalyMap, "run", other_map)
    code, report = run_json("replay", bundle_dir, recorded)
    assert (code, stages(report)) == (6, ["anomaly_map", "anomaly_map"])
    assert [v["score_difference"] for v in report["verdicts"]] == [0, 0]

    def other_score(self, pairs, out=None):
        maps, scores = original(self, pairs, out)
        return maps, np.nextafter(scores, np.float32(9))

    monkeypatch.setattr(AnomalyMap, "run", other_score)
    code, report = run_json("replay", bundle_dir, recorded)
    assert (code, stages(report)) == (6, ["score", "score"])
    assert all(v["score_difference"] > 0 for v in report["verdicts"])


def test_other_surroundings_are_named(run_json, bundle_dir, line, write, good):
    digests = line()["digests"]
    served = {**digests["served"], "version": "OpenVINO 1.2.3", "kernels": "abacus"}
    path = write(line(file=str(good), digests={**digests, "served": served}))
    code, report = run_json("replay", bundle_dir, path, "--threads", 2)
    assert code in (0, 6)  # two threads may add in another order
    now = report["engine"]
    assert report["notes"] == [
        f"1 verdict recorded with version OpenVINO 1.2.3, here {now['version']}",
        f"1 verdict recorded with kernels abacus, here {now['kernels']}",
        "1 verdict recorded with threads 1, here 2",
    ]


def test_the_colour_order_is_the_recorded_one(run, run_json, bundle_dir, good, tmp_path):
    words = ("score", bundle_dir, good, "--color", "rgb", "--json", "--digests")
    path = tmp_path / "rgb.json"
    path.write_text(run(*words)[1])
    assert run_json("replay", bundle_dir, path)[0] == 0


def test_the_precision_is_the_recorded_one(run, run_json, bundle_copy, add_int8, good, tmp_path):
    add_int8(bundle_copy)
    words = ("score", bundle_copy, good, "--threads", 1, "--precision", "int8")
    code, out, err = run(*words, "--json", "--digests")
    if "does not offer it" in err:
        pytest.skip("OpenVINO has no int8 here")
    assert code == 0 and json.loads(out)["engine"]["precision"] == "int8"
    assert "--precision int8" in err.splitlines()[-1]  # the next command keeps it
    path = tmp_path / "scores.json"
    path.write_text(out)
    code, report = run_json("replay", bundle_copy, path)
    assert (code, report["engine"]["precision"], report["departed"]) == (0, "int8", {})
    code, report = run_json("replay", bundle_copy, path, "--precision", "float32")
    assert (code, stages(report)) == (6, ["engine"])
    assert report["notes"] == ["1 verdict recorded with precision int8, here float32"]


def test_records_of_two_colour_orders_are_replayed_apart(run, bundle_dir, line, write, good):
    digests = line()["digests"]
    other = {**digests, "served": {**digests["served"], "color": "rgb"}}
    path = write(line(file=str(good)), line(file=str(good), digests=other))
    code, out, err = run("replay", bundle_dir, path)
    assert (code, out) == (1, "")
    assert "recorded with color 'bgr' and 'rgb'" in err
    assert "replay the records separately" in err


def test_lines_find_their_frames_as_evidence_or_by_name(
    run_json, bundle_dir, line, write, good, tmp_path
):
    saved = tmp_path / "saved"
    saved.mkdir()
    shutil.copy(good, saved / "20260102T030405678Z_00000007_frame.png")
    shutil.copy(good, saved / "part.png")
    path = write(
        line(7),
        line(8, file="gone/part.png"),
        line(9),  # not saved
        {"frame": 10, "captured": "2026-01-02T03:04:05.678Z", "error": "no picture"},
        {key: value for key, value in line(11).items() if key != "digests"},
    )
    code, report = run_json("replay", bundle_dir, path, "--frames", saved)
    assert (code, stages(report)) == (0, [None, None])
    assert [Path(v["image"]).name for v in report["verdicts"]] == [
        "20260102T030405678Z_00000007_frame.png", "part.png",
    ]  # fmt: skip
    assert (report["without_frame"], report["without_digests"]) == (1, 1)
    assert report["notes"] == [
        "1 verdict without digests left out",
        "1 verdict without a saved frame left out",
    ]


def test_evidence_whose_frame_was_moved(run, run_json, bundle_dir, line, good, tmp_path):
    seen, moved = tmp_path / "seen", tmp_path / "moved"
    seen.mkdir()
    moved.mkdir()
    stem = "20260102T030405678Z_00000007"
    (seen / f"{stem}_verdict.json").write_text(json.dumps(line(file=""), indent=2))
    code, _, err = run("replay", bundle_dir, seen)
    assert code == 1
    assert f"its frame {seen / stem}_frame.png is missing" in err
    shutil.copy(good, moved / f"{stem}_frame.png")
    assert run_json("replay", bundle_dir, seen, "--frames", moved)[0] == 0


def test_a_frame_that_is_gone_does_not_stop_the_others(run, run_json, bundle_dir, recorded, good):
    good.unlink()
    code, report = run_json("replay", bundle_dir, recorded)
    assert code == 1
    failed = [v for v in report["verdicts"] if "error" in v]
    assert len(failed) == 1
    assert f"its frame {good} is missing: copy it back, or name the" in failed[0]["error"]
    assert report["repeated"] == 1
    code, out, err = run("replay", bundle_dir, recorded)
    assert code == 1
    assert "found  1 of 1 verdict repeated" in out
    assert "failed 1 verdict, named above" in out
    assert "--frames DIR" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"frame": 3, "score": 0.', "line 1 is not a JSON object: it is damaged"),
        ("[1]\n", "line 1 is not a JSON object"),
        ("", "holds no verdict of a frame that was scored"),
        ('{"frame": 3, "error": "no picture"}\n', "holds no verdict of a frame"),
        ('{"frame": 3, "score": 0.5}\n', "record with edgead watch --digests or edgead score"),
        ('{"frame": 3, "score": 0.5, "digests": {}}\n', "line 1 is damaged: digests.frame"),
    ],
)
def test_damaged_records(run, bundle_dir, tmp_path, text, said):
    path = tmp_path / "verdicts.jsonl"
    path.write_text(text)
    code, out, err = run("replay", bundle_dir, path)
    assert (code, out) == (1, "")
    assert said in err
    assert str(path) in err


def test_a_damaged_line_is_named_before_anything_is_scored(run, bundle_dir, line, write, good):
    path = write(line(file=str(good)), line(file=str(good), score="high"))
    code, out, err = run("replay", bundle_dir, path)
    assert (code, out) == (1, "")
    assert "line 2 is damaged: score is 'high', expected a number" in err


def test_lines_without_any_saved_frame(run, bundle_dir, line, write, tmp_path):
    path = write(line())
    assert "--frames DIR" in run("replay", bundle_dir, path)[2]
    code, _, err = run("replay", bundle_dir, path, "--frames", tmp_path)
    assert code == 1
    assert "no frame of" in err and "edgead watch --evidence" in err


def test_folders_that_are_none(run, bundle_dir, recorded, tmp_path, good):
    code, _, err = run("replay", bundle_dir, tmp_path)
    assert code == 1
    assert "holds no verdict.json: expected the folder of edgead watch --evidence" in err
    code, _, err = run("replay", bundle_dir, recorded, "--frames", tmp_path / "absent")
    assert code == 1
    assert "expected the folder of saved frames" in err
    code, _, err = run("replay", bundle_dir, tmp_path / "absent.jsonl")
    assert code == 1
    assert "does not exist" in err
    code, _, err = run("replay", bundle_dir, good)
    assert code == 1
    assert "is not text" in err


def test_score_has_digests_in_json_only(run, bundle_dir, good):
    code, out, err = run("score", bundle_dir, good, "--digests")
    assert (code, out) == (1, "")
    assert "add --json" in err
