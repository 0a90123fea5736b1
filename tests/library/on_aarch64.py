"""libedgead for aarch64: cross-compiled, then run whole in an emulator, beside x86-64's.

Run by ``make test-aarch64`` alone, which takes a minute or two: it fetches OpenVINO's wheel for
aarch64 and Debian's sources of libpng and zlib, and keeps them in build/aarch64. So what is fetched
for a build (EDGEAD_FETCH) is tried too, from archives that lie here.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from hashlib import sha256
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgead.bundle.storage import open_bundle, write_bundle
from edgead.images import encode_png

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "aarch64"
CROSS = Path("/usr/aarch64-linux-gnu")  # of Debian's cross compiler
# The cores of Jetson Orin are of this generation: NEON with dot products.
EMULATOR = ["qemu-aarch64-static", "-cpu", "cortex-a76", "-L", CROSS]


def run(*command: object, cwd: Path = ROOT) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout


def openvino() -> Path:
    """OpenVINO of the version here, for aarch64."""
    version = metadata.version("openvino")
    folder = FOLDER / f"openvino-{version}"
    if not folder.exists():
        shutil.rmtree(FOLDER / "wheel", ignore_errors=True)
        options = ("--platform", "manylinux_2_35_aarch64", "--only-binary=:all:", "--no-deps")
        options = (*options, "--python-version", "3.11")  # for the libraries it does not matter
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet")
        run(*pip, *options, "-d", FOLDER / "wheel", f"openvino=={version}")
        (wheel,) = (FOLDER / "wheel").glob("*.whl")
        zipfile.ZipFile(wheel).extractall(FOLDER / "unfinished")
        (FOLDER / "unfinished").rename(folder)
    return folder / "openvino"


def sources() -> dict[str, Path]:
    """What libedgead is built with where there is no network: Debian's archives of the sources of
    libpng and zlib, and one of nlohmann-json."""
    folder, making = FOLDER / "sources", FOLDER / "unfinished"
    if not folder.exists():
        (making / "lists" / "partial").mkdir(parents=True)
        asked = ("indextargets", "--format", "$(REPO_URI) $(RELEASE) main", "Component: main")
        suites = {x for x in run("apt-get", *asked).splitlines() if "-" not in x.split()[1]}
        (making / "list").write_text("".join(f"deb-src {suite}\n" for suite in suites))
        places = {"State::Lists": "lists", "Etc::SourceList": "list", "Etc::SourceParts": "none"}
        options = [f"-oDir::{key}={making / value}" for key, value in places.items()]
        options += ["-oDir::Cache::pkgcache=", "-oDir::Cache::srcpkgcache="]
        run("apt-get", *options, "update")
        words = ("source", "--download-only", "libpng1.6", "zlib")
        run("apt-get", *options, *words, cwd=making)
        making.rename(folder)
    spec = util.find_spec("nlohmann_json")
    assert spec is not None and spec.origin is not None
    (png,), (zlib,) = folder.glob("libpng1.6_*.orig.tar.*"), folder.glob("zlib_*.orig.tar.*")
    packed = FOLDER / "json.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(Path(spec.origin).parent, "json")
    return {"LIBPNG": png, "ZLIB": zlib, "JSON": packed}


@pytest.fixture(scope="session")
def on_aarch64(build: Any) -> Path:
    """The folder of libedgead for aarch64, with libpng inside."""
    shutil.rmtree(FOLDER / "unfinished", ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    options = {
        "CMAKE_TOOLCHAIN_FILE": ROOT / "csrc/aarch64.cmake",
        "OpenVINO_DIR": openvino() / "cmake",
        "EDGEAD_FETCH": "ON",
    }
    for name, file in sources().items():
        options[f"EDGEAD_{name}_URL"] = file.as_uri() if name == "ZLIB" else file
        options[f"EDGEAD_{name}_SHA256"] = sha256(file.read_bytes()).hexdigest()
    return Path(build(FOLDER / "c", "Release", *(f"-D{key}={options[key]}" for key in options)))


@pytest.fixture(scope="session")
def both(on_aarch64: Path, installed: Path) -> Any:
    """``both(bundle, images)``: what edgead-score says of them here, and on aarch64."""

    def scores(bundle: Path, images: list[Path]) -> tuple[list[dict[str, Any]], ...]:
        words = (bundle, *images, "--json", "--threads", "2")
        here = run(installed / "bin/edgead-score", *words)
        there = run(*EMULATOR, on_aarch64 / "bin/edgead-score", *words)
        return json.loads(here)["frames"], json.loads(there)["frames"]

    return scores


def agree(bundle: Path, here: list[dict[str, Any]], there: list[dict[str, Any]]) -> None:
    tolerance = open_bundle(bundle).manifest.tolerance["float32"].score
    assert len(here) == len(there)
    for one, other in zip(here, there, strict=True):
        assert other["score"] == pytest.approx(one["score"], rel=0, abs=tolerance)
        for key in ("is_anomalous", "p_value"):
            assert other[key] == one[key]


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A bundle of `edgead learn` as the demo's, of few solar cells, and others to be scored."""
    from elpv_dataset.utils import load_dataset

    folder = tmp_path_factory.mktemp("cells")
    images, probability, kind = load_dataset()
    good = np.flatnonzero((kind == "mono") & (probability == 0))
    bad = np.flatnonzero((kind == "mono") & (probability == 1))
    paths = []
    for part, chosen in (("good", good[:24]), ("test", [*good[24:26], *bad[:2]])):
        (folder / part).mkdir()
        for index in chosen:
            paths.append(folder / part / f"{index:04d}.png")
            paths[-1].write_bytes(encode_png(images[index]))
    edgead = Path(sys.executable).parent / "edgead"
    run(edgead, "learn", folder / "good", "--out", folder / "cell.edgead", "--seed", 0)
    return folder / "cell.edgead", paths[24:]


def test_the_demos_bundle_says_the_same_as_on_x86_64(both: Any, cells: Any) -> None:
    bundle, images = cells
    here, there = both(bundle, images)
    agree(bundle, here, there)
    assert [frame["is_anomalous"] for frame in there] == [False, False, True, True]


@pytest.mark.parametrize("kind", ["bundle_dir", "with_signals", "tiled"])
def test_bundles_of_every_kind(
    both: Any, request: pytest.FixtureRequest, make_frame: Any, tmp_path: Path, kind: str
) -> None:
    bundle = request.getfixturevalue(kind)
    images = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, image in enumerate(images):
        image.write_bytes(encode_png(make_frame(seed)))
    agree(bundle, *both(bundle, images))


def test_an_engine_that_differs_is_not_qualified(
    on_aarch64: Path, bundle_dir: Path, make_frame: Any, tmp_path: Path
) -> None:
    """Its golden score is moved by ten tolerances."""
    bundle = open_bundle(bundle_dir)
    manifest, path = bundle.manifest, tmp_path / "moved.edgead"
    write_bundle(path, manifest, {name: bundle.read(name) for name in manifest.files})
    text = json.loads((path / "manifest.json").read_text())
    text["golden"][0]["score"] += 10 * manifest.tolerance["float32"].score
    (path / "manifest.json").write_text(json.dumps(text))
    (tmp_path / "0.png").write_bytes(encode_png(make_frame(0)))
    words = (on_aarch64 / "bin/edgead-score", path, tmp_path / "0.png", "--json")
    command = [*EMULATOR, *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "golden" in done.stderr


def test_no_newer_system_is_asked_for_than_jetpack_6(on_aarch64: Path) -> None:
    """At most what JetPack 6 has: glibc 2.35 and the C++ library of GCC 12."""
    most = {"GLIBC": (2, 35), "GLIBCXX": (3, 4, 30)}
    files = [on_aarch64 / "lib/libedgead.so", *(on_aarch64 / "lib/edgead").iterdir()]
    for file in files:
        text = run("aarch64-linux-gnu-readelf", "--version-info", "--wide", file)
        for name, newest in most.items():
            found = re.findall(rf"Name: {name}_([\d.]+)", text)
            assert found or file.name != "libedgead.so"
            assert max((tuple(map(int, v.split("."))) for v in found), default=(0,)) <= newest


def test_libpng_is_a_part_of_it(on_aarch64: Path) -> None:
    needed = run("aarch64-linux-gnu-readelf", "-d", on_aarch64 / "lib/libedgead.so")
    assert "libedgead.so.1" in needed and not re.search(r"libpng|libz\b", needed)
