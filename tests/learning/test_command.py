"""edgead learn: from a folder to verdicts, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from good_parts import scratched  # type: ignore[import-not-found]
from steps import run  # type: ignore[import-not-found]

import edgead
from edgead.bundle.storage import open_bundle
from edgead.cpu import engine
from edgead.errors import DeviceError
from edgead.learning import features
from edgead.learning.backbone import KEY


@pytest.fixture
def learn(backbone_file: Path, good_folder: Path, tmp_path: Path):
    def call(*words: object, data: Path = good_folder, out: str = "disc.edgead") -> int:
        command = ["learn", data, "--out", tmp_path / out, "--backbone", backbone_file]
        return run(*command, "--size", 64, "--memory", 150, *words)

    return call


def test_from_a_folder_to_verdicts(learn, tmp_path: Path, capsys) -> None:
    assert learn("--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["images"] == 19 and printed["calibration"] == 5 and printed["kept"] == 150
    assert printed["false_reject_rate"] == pytest.approx(1 / 6) and printed["warnings"] == []
    bundle = open_bundle(printed["bundle"])
    assert bundle.sha256 == printed["bundle_sha256"]
    assert bundle.manifest.provenance["contents"]["learnt"]["images"] == 19
    cv2.imwrite(str(tmp_path / "bad.png"), scratched(500))
    assert run("score", bundle.path, tmp_path / "bad.png", "--exit-code") == 3
    assert run("inspect", bundle.path) == 0
    assert "memories (1)" in capsys.readouterr().out
    assert run("verify", bundle.path, "--device", "cpu") == 0


def test_the_network_of_another_bundle(learn, good_folder: Path, tmp_path: Path) -> None:
    assert learn() == 0
    out = tmp_path / "other.edgead"
    command = ["learn", good_folder, "--out", out, "--like", tmp_path / "disc.edgead"]
    assert run(*command, "--size", 64, "--memory", 150) == 0
    first, second = open_bundle(tmp_path / "disc.edgead"), open_bundle(out)
    files = [{**one.manifest.files, "card.md": ""} for one in (first, second)]  # it has the name
    assert files[0] == files[1]


def test_workers_of_a_cluster_find_a_relative_folder(
    learn, good_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    """They have the folder in which the cluster was started; a stand-in works in another one."""

    class Elsewhere:
        cpus = 1

        def __init__(self, *_: object) -> None:
            pass

        def rows(self, worker, given, items, *, ordered: bool):
            monkeypatch.chdir(tmp_path)
            opened = worker(*given)
            for item in items:
                row = opened({name: [value] for name, value in item.items()})
                assert row["said"] == [""]
                yield {name: value[0] for name, value in row.items()}
            monkeypatch.chdir(good_folder.parent)

    monkeypatch.setattr("edgead.scale.learning.Cluster", Elsewhere)
    monkeypatch.chdir(good_folder.parent)
    assert learn("--all-images", "--ray", data=Path(good_folder.name)) == 0


def test_how_the_part_lies_is_found_or_given(learn, capsys) -> None:
    assert learn("--placement", "loose") == 0
    assert "given  loose: " in capsys.readouterr().out
    assert learn() == 0
    assert "found  " in capsys.readouterr().out


def test_nothing_else_is_written_into_a_bundle(learn, good_folder, tmp_path, capsys) -> None:
    """It would not open any more."""
    assert learn() == 0
    bundle = tmp_path / "disc.edgead"
    for words in (
        ["learn", good_folder, "--out", tmp_path / "x.edgead", "--report", bundle / "page"],
        ["score", bundle, good_folder, "--heatmap", bundle],
        ["evaluate", bundle, good_folder, "--report", bundle],
        ["watch", good_folder, "--bundle", bundle, "--evidence", bundle / "seen"],
    ):
        capsys.readouterr()
        assert run(*words) == 1
        assert "is inside a bundle" in capsys.readouterr().err
    open_bundle(bundle)


def test_images_that_are_not_held_are_said(learn, monkeypatch, capsys) -> None:
    """Without any room two are, so that there are parts to compare."""
    monkeypatch.setattr(features, "MOST_BYTES", 1)
    assert learn("--json") == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert "only 2 of 19 images are learnt from" in warning and "--size" not in warning


def test_a_trained_bundle_gives_no_network(bundle_dir, good_folder, tmp_path, capsys) -> None:
    out = tmp_path / "x.edgead"
    assert run("learn", good_folder, "--out", out, "--like", bundle_dir) == 1
    assert "was trained, not learnt with" in capsys.readouterr().err


def test_learning_again_and_calibrating_refuse_what_was_learnt(learn, good_folder, tmp_path,
                                                               capsys) -> None:  # fmt: skip
    assert learn() == 0
    words = ["calibrate", tmp_path / "disc.edgead", good_folder]
    assert run(*words, "--out", tmp_path / "new.edgead") == 1
    assert "learnt" in capsys.readouterr().err


def test_copies_count_once(learn, good_folder, tmp_path, capsys) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    for number in range(30):
        source = good_folder / f"{number % 6:02}.png"
        shutil.copyfile(source, folder / f"{number}.png")
    assert learn("--json", data=folder) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["images"] + printed["calibration"] == 6
    assert "30 images are 6 different ones" in printed["warnings"][0]


@pytest.mark.parametrize("other", ["grey", "deep", "both"])
def test_images_of_several_kinds_are_named(learn, good_folder, tmp_path, other, capsys) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for number, path in enumerate(sorted(good_folder.iterdir())[:10]):
        image = cv2.imread(str(path))
        if number < 3 and other != "deep":
            image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        if number < 3 and other != "grey":
            image = image.astype(np.uint16) * 257
        cv2.imwrite(str(folder / path.name), image)
    assert learn("--json", data=folder) == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    kind = f"{'colour' if other == 'deep' else 'grey'} of {8 if other == 'grey' else 16} bits"
    assert f"3 {kind} (00.png, 01.png, 02.png), 7 colour of 8 bits" in warning


def test_what_is_learnt_and_tested_is_named(learn, good_folder, tmp_path, capsys) -> None:
    for place in ("train/good", "test/good", "test/scratch"):
        (tmp_path / "set" / place).mkdir(parents=True)
    for path in good_folder.iterdir():
        shutil.copyfile(path, tmp_path / "set/train/good" / path.name)
    shutil.copyfile(good_folder / "03.png", tmp_path / "set/test/good/other.png")
    cv2.imwrite(str(tmp_path / "set/test/scratch/0.png"), scratched(7))
    assert learn("--json", data=tmp_path / "set") == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert "1 of 2 test images, such as test/good/other.png, are copies of" in warning


def test_twelve_bits(learn, good_folder, tmp_path, capsys) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    for path in good_folder.iterdir():
        image = cv2.imread(str(path)).astype(np.uint16) * 16
        cv2.imwrite(str(folder / path.name), image)
    assert learn("--bit-depth", 12, data=folder) == 0
    assert open_bundle(tmp_path / "disc.edgead").manifest.preprocess.bit_depth == 12
    capsys.readouterr()
    assert learn("--json", data=folder, out="plain.edgead") == 0
    assert any("--bit-depth 12" in line for line in json.loads(capsys.readouterr().out)["warnings"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--size", "63"], "multiples of 8"),
        (["--size", "-8"], "size"),
        (["--memory", "0"], "at least 1"),
        (["--seed", "-1"], "at least 0"),
        (["--placement", "Aligned"], "expected one of aligned, loose, filling, unknown"),
        (["--report", "disc.edgead"], "inside a bundle"),
        (["--calibration", "1"], "not a share"),
        (["--false-reject-rate", "0.001"], "0.001"),
        (["--group", "x(y)"], "x(y)"),
        (["--group", "absent.csv"], "cannot read the list of --group"),
        (["--threads", "0"], "threads"),
    ],
)
def test_bad_options(learn, tmp_path, words, sentence, capsys) -> None:
    assert learn(*words) in (1, 2)
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "disc.edgead").exists()


def test_parts_by_a_list_are_on_one_side(learn, good_folder, tmp_path, capsys) -> None:
    names = sorted(path.name for path in good_folder.iterdir())
    group = tmp_path / "tiles.json"
    group.write_text(json.dumps({name: i // 4 for i, name in enumerate(names)}))
    assert learn("--group", group, "--json") == 0
    told = capsys.readouterr()
    parts = -(-len(names) // 4)
    assert f"to calibrate with, by --group {group}" in told.err
    found = re.search(r"parts  (\d+) to learn from, (\d+) to calibrate with", told.err)
    assert found is not None and int(found[1]) + int(found[2]) == parts
    assert "count as one when the threshold is set" in told.err
    result, held_out = json.loads(told.out), int(found[2])
    assert result["false_reject_rate"] == max(0.05, 1 / (held_out + 1))
    usual = max(0.05, 1 / (parts + 1))
    takes = f"{100 * usual:.3g} % takes {round(1 / usual) - 1} parts to calibrate with"
    assert takes in told.err
    assert result["images"] + result["calibration"] == len(names)
    manifest = open_bundle(tmp_path / "disc.edgead").manifest
    assert manifest.provenance["data"]["group"] == "tiles.json"
    assert len(set(manifest.calibration.parts)) == held_out
    assert len(manifest.calibration.parts) == result["calibration"]
    low = 0.9 / (held_out + 1)
    assert learn("--group", group, "--false-reject-rate", low, out="one.edgead") == 1
    assert f"with {held_out} parts to calibrate with, however many" in capsys.readouterr().err
    group.write_text(json.dumps(dict.fromkeys(names, 1)))
    assert learn("--group", group, out="one.edgead") == 1
    assert f"{len(names)} good images show one part" in capsys.readouterr().err


def test_a_memory_larger_than_what_is_free_says_what_fits(
    learn, tmp_path, monkeypatch, capsys
) -> None:
    """The number it names is the largest: so many fit, and one more does not."""
    assert learn() == 0
    path = tmp_path / "disc.edgead"
    kept, channels = open_bundle(path).read_array("memory.npy").shape
    for free in (0, 24 * channels * 70, 24 * channels * 71 - 1, 24 * channels * kept - 1):
        monkeypatch.setattr(engine, "free_memory", lambda free=free: free)
        with pytest.raises(DeviceError, match=rf"the memory of {kept} features takes") as raised:
            edgead.Detector(path, device="cpu")
        fits = free // (24 * channels)
        assert f"at most {fits} features fit: learn with --memory" in str(raised.value)
    for free in (24 * channels * kept, None):
        monkeypatch.setattr(engine, "free_memory", lambda free=free: free)
        edgead.Detector(path, device="cpu").close()
    monkeypatch.setattr(engine, "free_memory", lambda: 24 * channels * 70)
    capsys.readouterr()
    assert learn(out="more.edgead") != 0
    assert "at most 70 features fit: learn with --memory 70" in capsys.readouterr().err
    assert not (tmp_path / "more.edgead").exists()


def test_mixed_sizes_and_colours_are_named_at_the_beginning(
    learn, good_folder, tmp_path, capsys
) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(good_folder, mixed)
    first, second = sorted(mixed.iterdir())[:2]
    cv2.imwrite(str(first), cv2.resize(cv2.imread(str(first)), (50, 70)))
    cv2.imwrite(str(second), cv2.imread(str(second), cv2.IMREAD_GRAYSCALE))
    assert learn("--json", data=mixed) == 0
    told = capsys.readouterr()
    kinds, sizes = json.loads(told.out)["warnings"][:2]
    assert "1 grey of 8 bits" in kinds and second.name in kinds
    assert "1 of 70 x 50" in sizes and first.name in sizes
    assert told.err.index("several kinds") < told.err.index("features of the good images")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"features": {"name": "features", "channels": 99, "stride": 4}}, "of 99 channels at"),
        ({"graph_sha256": None}, "key 'graph_sha256' is missing; write it again with: edgead back"),
        ({"graph_sha256": "0" * 64}, "digest differs"),
        ({"multiple": "x"}, "between -2^31 and 2^31; write it again with: edgead backbone"),
        ({"more": 1}, "unknown key 'more'; write it again with: edgead backbone"),
        ({"levels": []}, "a backbone has levels"),
    ],
)
def test_a_backbone_file_that_is_another_is_refused_before_images_are_read(
    backbone_file, good_folder, tmp_path, change, sentence, capsys
) -> None:
    model = onnx.load(backbone_file)
    (entry,) = (one for one in model.metadata_props if one.key == KEY)
    facts = {**json.loads(entry.value), **change}
    entry.value = json.dumps({key: value for key, value in facts.items() if value is not None})
    onnx.save(model, tmp_path / "other.onnx")
    words = ["--backbone", tmp_path / "other.onnx", "--size", 64]
    assert run("learn", good_folder, "--out", tmp_path / "x.edgead", *words) == 1
    said = capsys.readouterr().err
    assert sentence in said and "checking the images" not in said
    assert not (tmp_path / "x.edgead").exists()


def test_sets_that_teach_nothing(learn, tmp_path, capsys) -> None:
    for number, image in enumerate([np.zeros((64, 64), np.uint8)] * 3):
        (tmp_path / "black").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "black" / f"{number}.png"), image)
    assert learn(data=tmp_path / "black") == 1
    assert "copies of one picture" in capsys.readouterr().err


def test_neither_torch_nor_onnx_is_loaded(backbone_file, good_folder, tmp_path) -> None:
    words = ["learn", good_folder, "--out", tmp_path / "x.edgead", "--backbone", backbone_file]
    words = [str(word) for word in [*words, "--size", 64, "--memory", 50]]
    script = (
        "import sys; from edgead.cli.main import main; "
        f"code = main({words!r}); "
        "loaded = [n for n in ('torch', 'onnx', 'onnxruntime', 'sklearn') if n in sys.modules]; "
        "sys.exit(code or repr(loaded) if loaded else code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_a_backbone_the_sentence_says_where_to_get_one(
    good_folder, tmp_path, monkeypatch, capsys
) -> None:
    """As on a device, where the extra train is not installed."""
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert run("learn", good_folder, "--out", tmp_path / "x.edgead") == 1
    error = capsys.readouterr().err
    assert "--backbone FILE.onnx" in error and "--like" in error


@pytest.mark.parametrize("name", ["lite1", "lite2"])
def test_a_network_by_its_name_is_made_once_and_taken_from_the_cache(
    name: str, backbone_file, good_folder, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    words = ["learn", good_folder, "--out", tmp_path / "x.edgead", "--backbone", name]
    monkeypatch.setattr(sys, "executable", "/bin/false")  # what would make it
    assert run(*words) == 1
    assert f"the backbone {name} is not in this user's cache" in capsys.readouterr().err
    shutil.copy(backbone_file, tmp_path / "cache" / "backbones" / f"{name}.onnx")
    assert run(*words, "--size", 64, "--memory", 50) == 0
    told = open_bundle(tmp_path / "x.edgead").manifest.provenance["learn"]["backbone"]
    assert told["name"] == "small"  # that of the file in the cache
