"""Whatever was done to a bundle on its way is found, and named."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgead.bundle.storage import open_bundle, write_bundle
from edgead.errors import BundleError


def test_open(bundle_dir: Path, tiny: Any) -> None:
    bundle = open_bundle(bundle_dir)
    assert bundle.sha256 == hashlib.sha256((bundle_dir / "manifest.json").read_bytes()).hexdigest()
    assert bundle.manifest.calibration == tiny.manifest.calibration
    assert bundle.read("model.onnx") == tiny.files["model.onnx"]
    assert bundle.path_of("golden/0.png") == bundle_dir / "golden/0.png"
    assert "tiny" in repr(bundle)
    with pytest.raises(BundleError, match=r"no file 'absent\.onnx'"):
        bundle.read("absent.onnx")
    with pytest.raises(BundleError, match="no file"):
        bundle.read("../tiny.edgead/model.onnx")


def test_plain_files_only(bundle_dir: Path) -> None:
    found = {p.relative_to(bundle_dir).as_posix() for p in bundle_dir.rglob("*") if p.is_file()}
    golden = {f"golden/{i}.{suffix}" for i in range(3) for suffix in ("png", "npy")}
    assert found == {"manifest.json", "model.onnx", *golden}


def test_a_link_to_the_bundle_is_fine(bundle_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "current.edgead").symlink_to(bundle_dir)
    assert open_bundle(tmp_path / "current.edgead").manifest.name == "tiny"


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        open_bundle(tmp_path / "absent.edgead")
    (tmp_path / "file.edgead").touch()
    with pytest.raises(BundleError, match="is a file"):
        open_bundle(tmp_path / "file.edgead")
    with pytest.raises(BundleError, match=r"no manifest\.json; expected a directory NAME\.edgead"):
        open_bundle(tmp_path)


def test_what_to_give_in_place_of_a_folder(tmp_path: Path, bundle_dir: Path) -> None:
    for name in ("a", "b", "c", "d"):
        shutil.copytree(bundle_dir, tmp_path / f"{name}.edgead")
    with pytest.raises(
        BundleError, match=r"give a bundle in it: a\.edgead, b\.edgead, c\.edgead, …$"
    ):
        open_bundle(tmp_path)
    (tmp_path / "run.json").touch()
    with pytest.raises(BundleError, match=r"run of edgead train: edgead export .* --out NAME"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "golden/1.png", "golden/2.npy"])
def test_missing(bundle_copy: Path, name: str) -> None:
    (bundle_copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        open_bundle(bundle_copy)


@pytest.mark.parametrize("name", ["model.onnx", "golden/1.png", "golden/2.npy"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_truncated_or_altered(bundle_copy: Path, name: str, damage: str) -> None:
    data = bytearray((bundle_copy / name).read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    else:
        del data[len(data) // 2 if damage == "truncate" else 0 :]
    (bundle_copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} was truncated or altered"):
        open_bundle(bundle_copy)


@pytest.mark.parametrize("name", ["extra.txt", "golden/extra.png", "deep/er/extra", ".DS_Store"])
def test_added(bundle_copy: Path, name: str) -> None:
    (bundle_copy / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle_copy / name).touch()
    with pytest.raises(BundleError, match=f"{name} is not in the manifest"):
        open_bundle(bundle_copy)


def test_truncated_manifest(bundle_copy: Path) -> None:
    data = (bundle_copy / "manifest.json").read_bytes()
    (bundle_copy / "manifest.json").write_bytes(data[:-40])
    with pytest.raises(BundleError, match=r"copy\.edgead.*manifest.json is truncated"):
        open_bundle(bundle_copy)


def test_newer_schema(bundle_copy: Path, edit: Callable[..., None]) -> None:
    edit(bundle_copy, lambda manifest: manifest.update(schema_version=3))
    with pytest.raises(BundleError, match="upgrade edgead"):
        open_bundle(bundle_copy)


def test_altered_between_open_and_read(bundle_copy: Path) -> None:
    bundle = open_bundle(bundle_copy)
    with open(bundle_copy / "model.onnx", "ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleError, match="altered"):
        bundle.read("model.onnx")


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/passwd", "golden/../../secret", "a\\b", "./model", "C:x", "", ".", "a//b"],
)
def test_names_that_lead_out(
    bundle_copy: Path, edit: Callable[..., None], name: str, tiny: Any, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    edit(bundle_copy, lambda manifest: manifest["files"].update({name: digest}))
    with pytest.raises(BundleError, match="not a plain relative name"):
        open_bundle(bundle_copy)
    with pytest.raises(BundleError, match="not a plain relative name"):
        write_bundle(tmp_path / "new.edgead", tiny.manifest, {**tiny.files, name: b"secret"})
    assert not (tmp_path / "new.edgead").exists()
    assert (tmp_path / "secret").read_bytes() == b"secret"


@pytest.mark.parametrize("name", ["model.onnx", "golden", "manifest.json"])
def test_symbolic_links(bundle_copy: Path, tmp_path: Path, name: str) -> None:
    """The content is right, but it lies outside and can change at any time."""
    (bundle_copy / name).rename(tmp_path / "outside")
    (bundle_copy / name).symlink_to(tmp_path / "outside")
    with pytest.raises(BundleError, match=f"{name} is a symbolic link"):
        open_bundle(bundle_copy)


def test_a_pipe_does_not_hang(bundle_copy: Path) -> None:
    (bundle_copy / "model.onnx").unlink()
    os.mkfifo(bundle_copy / "model.onnx")
    with pytest.raises(BundleError, match="no plain file"):
        open_bundle(bundle_copy)


def test_a_file_the_manifest_uses_but_does_not_list(
    bundle_copy: Path, edit: Callable[..., None], tiny: Any, tmp_path: Path
) -> None:
    edit(bundle_copy, lambda manifest: manifest["models"].update(float32="other.onnx"))
    with pytest.raises(BundleError, match=r"'other\.onnx' is used"):
        open_bundle(bundle_copy)
    files = {name: data for name, data in tiny.files.items() if name != "golden/0.npy"}
    with pytest.raises(BundleError, match=r"'golden/0\.npy' is used"):
        write_bundle(tmp_path / "new.edgead", tiny.manifest, files)


def test_write_replaces_a_bundle_and_nothing_else(tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "made" / "a.edgead"
    first = tiny.write(path)
    second = tiny.write(path, name="second")
    assert (first.manifest.name, second.manifest.name) == ("tiny", "second")
    assert open_bundle(path).manifest.name == "second"
    assert list(path.parent.iterdir()) == [path]

    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(BundleError, match="directory but no bundle"):
        tiny.write(tmp_path / "home")
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"
    (tmp_path / "file").write_text("dear")
    with pytest.raises(BundleError, match="not a directory"):
        tiny.write(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "dear"


def test_an_empty_directory_and_a_link_can_be_targets(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.edgead").mkdir()
    tiny.write(tmp_path / "empty.edgead")
    (tmp_path / "link.edgead").symlink_to("empty.edgead")
    tiny.write(tmp_path / "link.edgead", name="second")
    assert (tmp_path / "link.edgead").is_symlink()
    assert open_bundle(tmp_path / "empty.edgead").manifest.name == "second"


def test_others_may_read_it(tiny: Any, tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        tiny.write(tmp_path / "a.edgead")
    finally:
        os.umask(mask)
    assert (tmp_path / "a.edgead").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "a.edgead" / "model.onnx").stat().st_mode & 0o777 == 0o644
