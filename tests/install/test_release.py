"""`make wheels` and `make release`: versions, packing, the checklist, a wheel that works."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import edgead

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "release"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(FOLDER))  # the scripts import each other, as started from there
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    return module


wheels, materials, release = map(script, ("build_wheels", "bill_of_materials", "release"))


def test_the_version_is_that_of_the_tag() -> None:
    assert wheels.version_of("1.2.3", "v1.2.3\nnightly", "77") == "1.2.3"
    assert wheels.version_of("1.2.3", "nightly\nvast", "77") == "1.2.3.dev77"
    with pytest.raises(SystemExit, match=r"tagged \['v1.2.4'\], but .* says 1.2.3; make release"):
        wheels.version_of("1.2.3", "v1.2.4", "77")


def test_a_source_distribution_depends_on_contents_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sdist(*_: object) -> None:
        """In place of setuptools: the same files with other times, owners and order."""
        folder = wheels.WORK / "sdist"
        folder.mkdir(parents=True, exist_ok=True)
        names = ["edgead-1/b.py", "edgead-1/a.sh"]
        with tarfile.open(folder / "edgead-1.tar.gz", "w:gz") as target:
            for name in names if turn else reversed(names):
                member = tarfile.TarInfo(name)
                member.mode, member.mtime, member.uname = (
                    (0o755 if "sh" in name else 0o600),
                    turn,
                    "x",
                )
                member.uid = turn
                target.addfile(member)

    monkeypatch.setattr(wheels, "run", sdist)
    packed = []
    for turn in (0, 1_700_000_000):
        monkeypatch.setattr(wheels, "WORK", tmp_path / str(turn))
        packed.append(wheels.pack(tmp_path, "1", 1_600_000_000).read_bytes())
    assert packed[0] == packed[1]
    (tmp_path / "it.tar.gz").write_bytes(packed[0])
    with tarfile.open(tmp_path / "it.tar.gz") as read:
        found = {one.name: (one.mode, one.mtime, one.uname) for one in read}
    assert found == {
        "edgead-1/a.sh": (0o755, 1_600_000_000, ""),
        "edgead-1/b.py": (0o644, 1_600_000_000, ""),
    }


def test_a_wheel_that_asks_for_a_newer_glibc_is_none_of_a_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def auditwheel(*words: object, env: dict[str, str]) -> None:
        """In its place: names the wheel as it finds it."""
        (folder := Path(str(words[-2]))).mkdir()
        (folder / f"edgead-1-cp311-cp311-{named}.whl").touch()

    monkeypatch.setattr(wheels, "run", auditwheel)
    for named in ("manylinux2014_aarch64.manylinux_2_17_aarch64", "manylinux_2_28_aarch64"):
        found = wheels.proven(tmp_path / "plain.whl", "aarch64", tmp_path / named)
        assert found.name.endswith(f"{named}.whl") and found.exists()
    for named in ("manylinux_2_31_aarch64", "linux_aarch64", "manylinux_2_17_x86_64"):
        with pytest.raises(SystemExit, match=rf"{named}\.whl: expected at most glibc 2\.28"):
            wheels.proven(tmp_path / "plain.whl", "aarch64", tmp_path / named)


def test_a_python_that_is_not_there() -> None:
    with pytest.raises(SystemExit, match=r"python9\.9 is not installed; build for those you have"):
        wheels.usable("python9.9")


def test_what_a_wheel_requires(tmp_path: Path) -> None:
    path = tmp_path / "edgead-1-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(
            "edgead-1.dist-info/METADATA",
            "Name: edgead\nRequires-Dist: numpy>=1.24\n"
            'Requires-Dist: numpy<2; "tegra" in platform_release\n'
            'Requires-Dist: torch>=2.4; extra == "train"\nRequires-Dist: openvino>=2024.4\n',
        )
    assert materials.required(path) == ["numpy>=1.24", "openvino>=2024.4"]


def test_a_bill_names_what_is_delivered_and_nothing_of_the_environment() -> None:
    def component(name: str) -> dict[str, str]:
        return {"name": name, "bom-ref": name}

    environment = {
        "bomFormat": "CycloneDX",
        "metadata": {"component": {"name": "edgead", "bom-ref": "root"}, "timestamp": "then"},
        "components": [component("numpy"), component("pip"), component("openvino")],
        "dependencies": [
            {"ref": "numpy"},
            {"ref": "openvino", "dependsOn": ["numpy"]},
            {"ref": "pip"},
            {"ref": "root", "dependsOn": ["openvino"]},
        ],
    }
    bill = materials.completed(environment, "1.2.3", [component("pybind11")])
    assert bill["metadata"] == {
        "component": {
            "name": "edgead", "bom-ref": "root", "version": "1.2.3",
            "purl": "pkg:pypi/edgead@1.2.3",
        },
        "timestamp": "then",
    }  # fmt: skip
    assert [one["name"] for one in bill["components"]] == ["numpy", "openvino", "pybind11"]
    assert bill["dependencies"] == [
        {"ref": "numpy"},
        {"ref": "openvino", "dependsOn": ["numpy"]},
        {"ref": "root", "dependsOn": ["openvino", "pybind11"]},
    ]


def test_a_bill_names_every_part_of_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that licenses/README.md lists, for a wheel without CUDA kernels."""
    monkeypatch.setattr(materials, "version", lambda name: f"9 of {name}")
    found = {one["name"]: one["version"] for one in materials.in_the_wheel()}
    table = (ROOT / "licenses/README.md").read_text()
    assert f"[uPlot](https://github.com/leeoniya/uPlot) {found['uPlot']}, charts" in table
    listed = re.findall(r"^\| \[.+?\]\(https://(.+?)\)", table, re.MULTILINE)
    assert len(listed) == len(found) == 4
    assert found["libc++"] == "of zig 9 of ziglang"


@pytest.mark.parametrize(
    ("version", "tags", "why"),
    [
        ("1.2.3", [], ""),
        ("1.2.3", ["v1.2.2", "v1.2.3rc1"], ""),
        ("1.10.0", ["v1.9.0"], ""),
        ("1.2.3rc1", ["v1.2.3"], "v1.2.3 is there"),
        ("1.2", [], "expected MAJOR.MINOR.PATCH, as 1.2.3, or 1.2.3rc1"),
        ("v1.2.3", [], "expected MAJOR.MINOR.PATCH, as 1.2.3, or 1.2.3rc1"),
    ],
)
def test_which_version_may_follow(
    version: str, tags: list[str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        release, "git", lambda *words: "" if "--points-at" in words else "\n".join(tags)
    )
    assert release.is_next(version) == why


def test_a_release_in_a_clone_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real git: the points that write, and that a second walk changes nothing."""
    (tmp_path / "edgead").mkdir()
    (tmp_path / release.VERSION_FILE).write_text('x = 1\n__version__ = "0.1.0"\n')
    (tmp_path / release.CITATION).write_text("cff-version: 1.2.0\nversion: 0.1.0\n")
    (tmp_path / release.CHANGELOG).write_text(
        "## [0.2.0] - unreleased\n\n## [0.1.0] - 2026-01-01\n"
    )
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@e"]
    for key, value in (("user.name", "n"), ("user.email", "e@e")):
        subprocess.run([*git[:3], "init", "-q", "-b", "main"], check=True)
        subprocess.run([*git[:3], "config", key, value], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    monkeypatch.setattr(release, "ROOT", tmp_path)
    for _ in range(2):
        assert release.is_next("0.2.0") == "" and release.committed() == ""
        assert release.changelog("0.2.0") == "" and release.write_version("0.2.0") == ""
        assert release.tag("0.2.0") == ""
    assert (tmp_path / release.VERSION_FILE).read_text() == 'x = 1\n__version__ = "0.2.0"\n'
    assert (tmp_path / release.CITATION).read_text().splitlines()[1] == "version: 0.2.0"
    assert "unreleased" not in (tmp_path / release.CHANGELOG).read_text()
    log = subprocess.run([*git, "log", "--format=%s"], capture_output=True, text=True).stdout
    assert log.split("\n")[:2] == ["Release 0.2.0", "first"]
    assert release.changelog("0.3.0") == "no heading '## [0.3.0] - unreleased'"
    (tmp_path / "new").write_text("")
    assert release.committed() == "git status lists changes: commit or remove them"


def test_the_list_stops_where_a_point_does_not_hold(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[str] = []
    points = [
        ("one", lambda: ""),
        ("two", lambda: "not so"),
        ("three", lambda: done.append("") or ""),
    ]
    assert release.walk(points) == 1 and not done
    assert capsys.readouterr().out == "[x] one\n[ ] two: not so\n"


@pytest.mark.exhaustive
def test_a_wheel_works_where_nothing_can_be_compiled(tmp_path: Path) -> None:
    """Built here, installed afresh, without a compiler on PATH: the same score."""
    command = [sys.executable, FOLDER / "build_wheel.py"]
    environment = {**os.environ, "EDGEAD_CUDA": "OFF"}
    done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    wheel = ROOT / json.loads(done.stdout.splitlines()[-1])["wheels"][0]["file"]
    assert len(materials.required(wheel)) == 4  # NumPy, OpenVINO, OpenCV, simplejpeg
    python = materials.environment(sys.executable, tmp_path / "fresh")
    detector = edgead.Detector(materials.BUNDLE, device="cpu")
    golden = edgead.read_image(materials.BUNDLE / "golden/0.png")
    found = materials.prove(wheel, python)
    assert found["score"] == detector.score(golden).score
    assert {"edgead", "numpy", "openvino"} < set(found["bytes"]) and "pip" not in found["bytes"]


def test_what_is_published_are_wheels_and_source_of_this_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line is run by a shell: PyPI takes no bill of materials, and no plain linux wheel."""
    mine = ["1.2.3.tar.gz", "1.2.3-cp311-cp311-manylinux_2_17_x86_64.whl"]
    others = ["1.2.3.cdx.json", "1.2.3rc1.tar.gz", "1.2.30.tar.gz"]
    others += ["1.2.3rc1-cp311-cp311-manylinux_2_17_x86_64.whl"]
    others += ["1.2.3-cp311-cp311-linux_x86_64.whl"]
    (tmp_path / "dist").mkdir()
    for name in mine + others:
        (tmp_path / f"dist/edgead-{name}").touch()
    script("release").publish("1.2.3")
    words = capsys.readouterr().out.splitlines()[-1].partition("upload ")[2]
    said = subprocess.run(["sh", "-c", f"echo {words}"], cwd=tmp_path, capture_output=True)
    assert set(said.stdout.decode().split()) == {f"dist/edgead-{name}" for name in mine}
