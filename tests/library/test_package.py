"""What is installed of libedgead: linked against from C, moved, stripped to what a device needs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgead import Detector
from edgead.images import encode_png

ROOT = Path(__file__).resolve().parents[2]
HEADER = (ROOT / "csrc/include/edgead.h").read_text()
# Opens the bundle that it is given, and says the version.
PROGRAM = r"""
#include <edgead.h>
#include <stdio.h>
int main(int count, char** arguments) {
  edgead_detector* detector = NULL;
  char why[1000] = "";
  if (count != 2 || edgead_detector_open(EDGEAD_API_VERSION, arguments[1], NULL, &detector)) {
    edgead_last_error(why, sizeof why);
    fprintf(stderr, "%s\n", why);
    return 1;
  }
  edgead_detector_close(detector);
  puts(edgead_version());
  return 0;
}
"""
CMAKE_LISTS = """
cmake_minimum_required(VERSION 3.24)
project(consumer LANGUAGES C CXX)
find_package(edgead REQUIRED COMPONENTS static)
add_executable(shared open.c)
target_link_libraries(shared PRIVATE edgead::edgead)
add_executable(static open.c)
target_link_libraries(static PRIVATE edgead::edgead_static)
"""


def run(*command: object, **options: Any) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout


def cmake() -> str:
    return shutil.which("cmake") or str(Path(sys.executable).parent / "cmake")


@pytest.fixture(scope="module")
def work(installed: Path) -> Path:
    """CMake's folder of the installed library."""
    return installed.with_name(f"{installed.name}.build")


@pytest.fixture(scope="module")
def moved(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installed for /usr below a DESTDIR, then moved to where nobody has said."""
    folder = tmp_path_factory.mktemp("moved")
    stage = {**os.environ, "DESTDIR": str(folder / "stage")}
    run(cmake(), "--install", work, "--prefix", "/usr", env=stage)
    return (folder / "stage/usr").rename(folder / "a place")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "open.c").write_text(PROGRAM)
    return tmp_path / "open.c"


def opens(program: Path, bundle: Path) -> None:
    from edgead import __version__

    environment = {k: v for k, v in os.environ.items() if not k.startswith("LD_")}
    assert run(program, bundle, env=environment) == f"{__version__}\n"


def needs_libedgead(program: Path) -> bool:
    return "libedgead.so.1" in run("readelf", "-d", program)


def test_the_library_shows_what_the_header_declares_and_nothing_else(installed: Path) -> None:
    text = re.sub(r"(?s)/\*.*?\*/", "", HEADER)
    declared = set(re.findall(r"EDGEAD_API\b[^;]*?\b(edgead_[a-z_0-9]+)\(", text))
    lines = run("nm", "-D", "--defined-only", installed / "lib/libedgead.so").splitlines()
    shown = {line.split()[2] for line in lines} - {"EDGEAD_1"}
    assert len(declared) > 10
    assert shown == {f"{name}@@EDGEAD_1" for name in declared}


def test_the_archive_takes_no_name_that_is_not_edgeads(installed: Path) -> None:
    """Templates and inline functions of others are weak: any other copy may take their place."""
    lines = run("nm", "-g", "--defined-only", installed / "lib/libedgead.a").splitlines()
    strong = [line.split()[2] for line in lines if re.search(r" [TDBR] ", line)]
    assert len(strong) > 100
    assert [name for name in strong if not re.match(r"edgead_|_ZT?[A-Z]*N?K?6edgead", name)] == []


@pytest.mark.parametrize("static", [False, True])
def test_pkg_config_says_what_a_c_program_needs(
    moved: Path, source: Path, bundle_dir: Path, static: bool
) -> None:
    if shutil.which("pkg-config") is None:
        pytest.skip("pkg-config is not installed")
    environment = {**os.environ, "PKG_CONFIG_LIBDIR": str(moved / "lib/pkgconfig")}
    words = ["--static"] if static else []
    flags = run("pkg-config", *words, "--cflags", "--libs", "edgead", env=environment)
    if static:  # the linker prefers libedgead.so, which is there too
        flags = flags.replace("-ledgead", "-l:libedgead.a")
    program = source.with_suffix("")
    rpath = [] if static else [f"-Wl,-rpath,{moved / 'lib'}"]
    command = f"cc {source} -o {program} {flags.strip()}"
    run("sh", "-c", f'{command} "$@"', "sh", *rpath)
    assert needs_libedgead(program) != static
    opens(program, bundle_dir)


def test_cmake_links_against_both(moved: Path, source: Path, bundle_dir: Path) -> None:
    (source.parent / "CMakeLists.txt").write_text(CMAKE_LISTS)
    made = source.parent / "made"
    run(cmake(), "-S", source.parent, "-B", made, f"-DCMAKE_PREFIX_PATH={moved}")
    run(cmake(), "--build", made)
    for name in ("shared", "static"):
        assert needs_libedgead(made / name) == (name == "shared")
        opens(made / name, bundle_dir)


def test_an_unknown_component_is_refused(moved: Path, tmp_path: Path) -> None:
    lists = CMAKE_LISTS.replace("COMPONENTS static", "COMPONENTS gpu")
    (tmp_path / "CMakeLists.txt").write_text(lists)
    command = [cmake(), "-S", tmp_path, "-B", tmp_path / "made", f"-DCMAKE_PREFIX_PATH={moved}"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode != 0 and "edgead has no component gpu" in done.stderr


def test_nothing_that_is_installed_names_the_folders_of_its_build(moved: Path) -> None:
    for file in [*moved.rglob("*.cmake"), *moved.rglob("*.pc")]:
        assert str(ROOT) not in file.read_text(), file
    for file in ("bin/edgead-score", "lib/edgead/libedgead_openvino.so.1"):
        (path,) = re.findall(r"RUNPATH.*\[(.*)\]", run("readelf", "-d", moved / file))
        assert re.fullmatch(r"\$ORIGIN[./a-z]*", path)
    assert "RUNPATH" not in run("readelf", "-d", moved / "lib/libedgead.so")


def loaded(errors: str) -> set[Path]:
    """The libraries that a program has loaded, by what LD_DEBUG=files makes the linker say."""
    return {Path(path).resolve() for path in re.findall(r"calling init: (/\S+)", errors)}


def test_the_runtime_folder_is_enough(
    work: Path, bundle_dir: Path, make_frame: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "runtime"
    run(cmake(), "--install", work, "--prefix", folder, "--component", "runtime", "--strip")
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in files if path.suffix in (".a", ".h", ".cmake", ".pc")]
    assert len(list((folder / "lib/edgead").iterdir())) == 5
    assert sum(path.stat().st_size for path in files) < 105e6
    frame = make_frame(3)
    (tmp_path / "frame.png").write_bytes(encode_png(frame))
    command = (folder / "bin/edgead-score", bundle_dir, tmp_path / "frame.png", "--json")
    environment = {"LD_DEBUG": "files"}  # and nothing else
    done = subprocess.run(
        list(map(str, command)), env=environment, cwd="/", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-1000:]
    libraries = loaded(done.stderr)
    own = {path for path in libraries if path.is_relative_to(folder.resolve())}
    system = {path for path in libraries if re.match(r"/(usr/)?lib(64)?/", str(path))}
    assert libraries == own | system
    # libedgead, its library for OpenVINO, and OpenVINO's four: all that is there is needed, all
    # that is needed is there.
    assert own == {path for path in files if ".so" in path.name and path.parent.name != "bin"}
    assert not [path for path in system if re.search("openvino|tbb", path.name)]
    with Detector(bundle_dir, device="cpu") as detector:
        result = detector.score(frame)
    (said,) = json.loads(done.stdout)["frames"]
    assert (said["score"], said["is_anomalous"]) == (result.score, result.is_anomalous)


def names_in(package: Path) -> list[str]:
    """The files of a Debian package."""
    listed = run("dpkg-deb", "--contents", package).splitlines()
    return [line.split()[5].removeprefix(".") for line in listed if not line.startswith("d")]


def field(package: Path, name: str) -> str:
    return run("dpkg-deb", "--field", package, name).strip()


def install(root: Path, *packages: Path) -> None:
    """Below a folder, by dpkg itself, which looks at what one says of the other."""
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    force = ["--force-depends", "--force-not-root", "--force-script-chrootless"]
    run("dpkg", f"--root={root}", "--log=/dev/null", *force, "--install", *packages)


@pytest.mark.exhaustive
def test_the_debian_packages(work: Path, source: Path, bundle_dir: Path, tmp_path: Path) -> None:
    """Both are installed; a C program is built against what lies there, by either library."""
    if shutil.which("dpkg-shlibdeps") is None:
        pytest.skip("dpkg-dev is not installed")
    for old in work.glob("*.deb"):
        old.unlink()
    run(cmake(), "--build", work, "--target", "package")
    (runtime,), (development,) = (
        list(work.glob(f"{name}_*.deb")) for name in ("libedgead", "libedgead-dev")
    )
    architecture = run("dpkg", "--print-architecture").strip()
    for package in (runtime, development):
        assert field(package, "Architecture") == architecture
    names = {part.split()[0] for part in field(runtime, "Depends").split(", ")}
    assert names <= {"libc6", "libgcc-s1", "libstdc++6", "libpng16-16", "libpng16-16t64"}
    assert {"libc6", "libstdc++6"} < names
    assert field(development, "Depends") == f"libedgead (= {field(runtime, 'Version')})"
    run("dpkg-deb", "--control", runtime, tmp_path / "control")
    assert (tmp_path / "control/shlibs").read_text().startswith("libedgead 1 libedgead (>= ")
    for a_device_needs, package in ((True, runtime), (False, development)):
        kinds = (
            r"\.so\.|/bin/|/doc/|_plugin\.so$" if a_device_needs else r"\.(h|hpp|a|pc|cmake|so)$"
        )
        assert [name for name in names_in(package) if not re.search(kinds, name)] == []
    root = tmp_path / "root"
    install(root, runtime, development)
    program, folder = source.with_suffix(""), root / "usr"
    where = [f"-I{folder / 'include'}", f"-L{folder / 'lib'}", f"-Wl,-rpath,{folder / 'lib'}"]
    run("cc", source, "-o", program, *where, "-ledgead")
    opens(program, bundle_dir)
    own = folder / "lib/edgead"
    (openvino,) = own.glob("libopenvino.so.*")
    where += [f"-L{own}", f"-l:{openvino.name}", f"-Wl,-rpath,{own}"]
    rest = ["-lpng16", "-lz", "-lstdc++", "-lm", "-lpthread"]
    run("cc", source, "-o", program, "-l:libedgead.a", *where, *rest)
    assert not needs_libedgead(program)
    opens(program, bundle_dir)
    assert (folder / "share/doc/libedgead/copyright").is_file()


def configured(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """``cmake -S csrc`` alone."""
    command = [cmake(), "-S", ROOT / "csrc", "-B", tmp_path, "-DEDGEAD_CUDA=OFF", *options]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def test_cmake_alone_names_what_it_builds_with(build: Any, work: Path, tmp_path: Path) -> None:
    cache = (work / "CMakeCache.txt").read_text()
    kept = {
        name: re.findall(rf"(?m)^{name}:[A-Z]+=(.*)$", cache)[0]
        for name in ("OpenVINO_DIR", "EDGEAD_JSON")
    }
    done = configured(tmp_path, *(f"-D{name}={value}" for name, value in kept.items()))
    assert done.returncode == 0, done.stderr
    for line in ("OpenVINO 20", "nlohmann-json, /", "libpng 1.6"):
        assert f"-- libedgead: {line}" in done.stdout
    for option in ("EDGEAD_FETCH", "EDGEAD_COPY_OPENVINO"):
        wrong = configured(tmp_path, f"-D{option}=yes")
        assert f"{option} is 'yes', expected AUTO, ON or OFF" in " ".join(wrong.stderr.split())
        assert configured(tmp_path, f"-D{option}=AUTO").returncode == 0
    alone = configured(tmp_path, "-DEDGEAD_FETCH=OFF", "-DCMAKE_DISABLE_FIND_PACKAGE_PNG=ON")
    said = " ".join(alone.stderr.split())
    assert alone.returncode != 0 and "apt-get install libpng-dev" in said
    none = configured(tmp_path, "-DCMAKE_DISABLE_FIND_PACKAGE_OpenVINO=ON")
    said = " ".join(none.stderr.split())
    assert none.returncode != 0 and "pip install openvino" in said and "OpenVINO_DIR" in said


def test_sources_that_are_given_have_to_be_those_of_their_digest(
    work: Path, tmp_path: Path
) -> None:
    """tests/library/on_aarch64.py builds of such sources."""
    cache = (work / "CMakeCache.txt").read_text()
    (folder,) = re.findall(r"(?m)^OpenVINO_DIR:[A-Z]+=(.*)$", cache)
    (tmp_path / "json.hpp").write_text("// nothing")
    header = f"-DEDGEAD_JSON_URL={(tmp_path / 'json.hpp').as_uri()}"
    options = (f"-DOpenVINO_DIR={folder}", "-DEDGEAD_FETCH=ON", header)
    for digest, words in (
        ("", "give what sha256sum says"),
        ("0" * 64, "does not match expected value"),
    ):
        done = configured(tmp_path / "made", *options, f"-DEDGEAD_JSON_SHA256={digest}")
        assert done.returncode != 0 and words in " ".join(done.stderr.split())
