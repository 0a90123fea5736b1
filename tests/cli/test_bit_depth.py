"""--bit-depth on the commands: scores, refusals, warnings, what is kept in the bundle."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.bundle.storage import open_bundle

N = 24


@pytest.fixture
def eight(tiny, tmp_path) -> Path:
    """The tiny bundle without its golden frame of 16 bits."""
    from dataclasses import replace

    from edgead.bundle.storage import write_bundle

    files = {n: d for n, d in tiny.files.items() if not n.startswith("golden/2")}
    manifest = replace(tiny.manifest, golden=tiny.manifest.golden[:2])
    return write_bundle(tmp_path / "eight.edgead", manifest, files).path


def test_score_of_one_part_at_three_depths(run_json, run, bundle_dir, save, make_frame, at) -> None:
    frame = make_frame(100)
    paths = [save("8.png", frame), save("12.tif", at(frame, 12)), save("16.png", at(frame, 16))]
    found = []
    for path, words in zip(paths, ([], ["--bit-depth", 12], ["--bit-depth", 16]), strict=True):
        code, report = run_json("score", bundle_dir, path, *words)
        assert code == 0
        found.append(report["frames"][0]["score"])
    assert found == pytest.approx([found[0]] * 3, abs=5e-3)
    code, out, err = run("score", bundle_dir, paths[2], "--bit-depth", 12)
    assert code == 1
    assert "16.png" in err and "at most 4095" in err and "Traceback" not in err
    code, out, _ = run("score", bundle_dir, paths[1], "--bit-depth", 12)
    assert code == 0 and "warning" not in out
    assert "--bit-depth 12 --heatmap heatmaps" in out


def test_score_warns_once_of_a_set_that_uses_12_bits_only(run, bundle_dir, save, make_frame, at):
    for index in range(6):
        save(f"set/{index}.png", at(make_frame(index), 12))
    code, out, _ = run("score", bundle_dir, save("set/0.png", at(make_frame(0), 12)).parent)
    assert code == 0
    assert out.count("warning: no value of the 6 frames in 16 bits is above") == 1
    assert "--bit-depth 12;" in out
    save("set/bright.png", at(make_frame(7), 16))  # one that uses them: dark by chance
    code, out, _ = run("score", bundle_dir, save("set/0.png", at(make_frame(0), 12)).parent)
    assert code == 0 and "warning" not in out


@pytest.mark.parametrize("bits", ["8", "17", "-1", "0", "999999999"])
def test_a_depth_out_of_its_range_is_one_sentence(run, bundle_dir, good, tmp_path, bits) -> None:
    for words in (
        ["score", bundle_dir, good],
        ["calibrate", bundle_dir, tmp_path, "--false-reject-rate", 0.5],
        ["watch", tmp_path, "--bundle", bundle_dir],
        ["mask", bundle_dir, "--polygon", "0,0 9,0 9,9", "--preview", good, tmp_path / "p.png"],
    ):
        code, _, err = run(*words, "--bit-depth", bits)
        assert code == 1, words
        assert f"bit_depth is {bits}, expected" in err and err.count("\n") == 1


@pytest.fixture
def deep(save, make_frame, at) -> Path:
    """N good images of 12 bits."""
    paths = [save(f"deep/{i:02d}.png", at(make_frame(300 + i), 12)) for i in range(N)]
    return paths[0].parent


def test_calibrate_keeps_the_depth_and_uses_it(
    run, tiny, of_depth, tmp_path, deep, make_frame, save, at
) -> None:
    bundle = of_depth(tmp_path / "twelve.edgead", 12)
    out = tmp_path / "new.edgead"
    code, said, err = run("calibrate", bundle.path, deep, "--out", out)
    assert (code, err) == (0, "") and "--bit-depth" not in said
    new = open_bundle(out).manifest
    assert new.preprocess.bit_depth == 12
    expected = [tiny.truth(make_frame(300 + i))[1] for i in range(N)]  # of the same at 8 bits
    assert new.calibration.scores == pytest.approx(expected, abs=5e-3)
    save("deep/99.png", at(make_frame(1), 16))
    code, _, err = run("calibrate", bundle.path, deep, "--out", out)
    assert code == 1 and "99.png" in err and "at most 4095" in err


def test_calibrate_refuses_a_depth_that_golden_frames_do_not_have(run, bundle_dir, deep, tmp_path):
    code, _, err = run(
        "calibrate", bundle_dir, deep, "--bit-depth", 12, "--out", tmp_path / "n.edgead"
    )
    assert code == 1 and "16 bits" in err and "train again with --bit-depth 12" in err
    assert not (tmp_path / "n.edgead").exists()


def test_calibrate_of_12_bits_as_16_is_a_warning_with_the_cure(run, bundle_dir, deep, tmp_path):
    code, out, _ = run("calibrate", bundle_dir, deep, "--out", tmp_path / "n.edgead")
    assert code == 0
    assert "warning: no value of the 24 frames in 16 bits is above" in out
    assert "--bit-depth 12;" in out
    assert open_bundle(tmp_path / "n.edgead").manifest.preprocess.bit_depth is None


def test_a_depth_that_is_declared_at_calibration_stays(run, eight, save, make_frame, at, tmp_path):
    """Learnt from images of 8 bits, for a camera that can give both."""
    for index in range(N):
        folder = save(f"g/{index:02d}.png", make_frame(300 + index)).parent
    out = tmp_path / "n.edgead"
    assert run("calibrate", eight, folder, "--bit-depth", 12, "--out", out)[0] == 0
    assert open_bundle(out).manifest.preprocess.bit_depth == 12
    code, said, _ = run("inspect", out)
    assert code == 0 and "uint16 frames of 12 bits" in said


def test_replay_repeats_frames_of_12_bits(
    run, run_json, bundle_dir, save, make_frame, at, tmp_path
):
    path = save("a.png", at(make_frame(100), 12))
    words = ("score", bundle_dir, path, "--bit-depth", 12, "--threads", 1, "--digests")
    code, report = run_json(*words)
    assert code == 0 and report["frames"][0]["digests"]["served"]["bit_depth"] == 12
    (tmp_path / "scores.json").write_text(json.dumps(report))
    code, replayed = run_json("replay", bundle_dir, tmp_path / "scores.json")
    assert code == 0 and replayed["repeated"] == 1
    code, replayed = run_json("replay", bundle_dir, tmp_path / "scores.json", "--bit-depth", 16)
    assert code == 6 and replayed["departed"] == {"preprocess": 1}


def test_mask_draws_and_calibrates_12_bits(run, eight, tmp_path, make_frame, save, at) -> None:
    frame = save("frame.png", at(make_frame(5), 12))
    words = ("mask", eight, "--polygon", "0,0 20,0 20,20", "--bit-depth", 12)
    assert run(*words, "--preview", frame, tmp_path / "look.png")[0] == 0
    shown = cv2.imread(str(tmp_path / "look.png"))
    kept = np.s_[40:, 40:]
    assert np.abs(shown[kept].astype(int) - make_frame(5)[kept]).max() <= 1


def test_bench_measures_images_of_12_bits(
    tmp_path, bundle_dir, save, make_frame, at, capsys
) -> None:
    from edgead.bench.command import main

    path = save("a.png", at(make_frame(5), 12))
    few = ["--repeats", "2", "--warm-up", "0", "--cold-starts", "1"]
    words = [str(bundle_dir), *few, "--bit-depth", "12"]
    assert main([*words, "--images", str(path), "--json", str(tmp_path / "n.json")]) == 0
    capsys.readouterr()
    report = json.loads((tmp_path / "n.json").read_text())
    assert '"bit_depth": 12' in json.dumps(report)
    assert main(words) == 1
    assert "--bit-depth without --images" in capsys.readouterr().err
    save("a.png", at(make_frame(5), 16))
    assert main([*words, "--images", str(path)]) == 1
    assert "at most 4095" in capsys.readouterr().err
