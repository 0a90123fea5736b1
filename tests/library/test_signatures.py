"""Trusted keys in C: the corpus that Python's tests read, and a libcrypto that is not there."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import cases  # type: ignore[import-not-found]
import pytest

from edgead.bundle.storage import open_bundle


def test_signatures_of_the_corpus(
    library: Any, refused: type[Exception], bundle_copy: Path
) -> None:
    file, keys = bundle_copy / "signatures.json", bundle_copy.parent / "trusted.keys"
    served = 0
    for case in cases.signatures(open_bundle(bundle_copy).sha256):
        file.unlink(missing_ok=True)
        if case.signatures is not None:
            file.write_bytes(case.signatures)
        keys.write_text(case.keys, newline="")
        if case.says is None:
            with library.detector(bundle_copy, trusted_keys=keys) as detector:
                info = library.info(detector)
                assert info.signed_by.decode() == case.by and info.counter == case.counter
            served += 1
            continue
        with pytest.raises(refused) as caught:
            library.open(bundle_copy, trusted_keys=keys)
        where = "" if case.of_keys else f"bundle {bundle_copy} "
        assert str(caught.value) == where + case.says.replace("KEYS", str(keys)), case.name
        assert caught.value.status == ("INPUT" if case.of_keys else "SIGNATURE"), case.name
    assert served > 5


def test_nobody_is_asked_without_a_list(library: Any, bundle_copy: Path) -> None:
    (bundle_copy / "signatures.json").write_bytes(b"broken")  # and not even read as JSON
    with library.detector(bundle_copy) as detector:
        assert library.info(detector).signed_by == b"" and library.info(detector).counter == 0


def test_what_is_no_list_of_keys(
    library: Any, refused: type[Exception], bundle_copy: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"#" * (2**20 + 1))
    for name, says in {
        "nothing": "No such file",
        "pipe": "not a plain file",
        "large": "1 MiB at most",
        ".": "not a plain file",
    }.items():
        with pytest.raises(refused, match=says) as caught:
            library.open(bundle_copy, trusted_keys=tmp_path / name)
        assert caught.value.status == "INPUT"


def test_libcrypto_is_no_dependency(installed: Path) -> None:
    needed = subprocess.run(
        ["readelf", "-d", installed / "lib/libedgead.so"], capture_output=True, check=True
    ).stdout
    assert b"NEEDED" in needed and b"crypto" not in needed and b"ssl" not in needed


def test_a_library_built_without_signatures(
    bundle_copy: Path,
) -> None:
    """The file that differs, with what it needs."""
    root = Path(__file__).resolve().parents[2]
    program = bundle_copy.parent / "without.cpp"
    program.write_text(
        '#include "libcrypto.h"\n#include <cstdio>\nint main() try { '
        'edgead::read_trusted_keys("x"); return 1; } catch (const edgead::Failure& failure) { '
        "std::puts(failure.what()); return failure.status; }\n"
    )
    sources = [
        program,
        *(root / "csrc" / name for name in (
            "runtime/libcrypto.cpp", "bundle/signature.cpp", "bundle/folder.cpp",
            "bundle/json.cpp", "kernels/wording.cpp",
        )),
    ]  # fmt: skip
    import importlib.util

    json_folder = importlib.util.find_spec("nlohmann_json")
    assert json_folder is not None and json_folder.origin is not None
    folders = [root / "csrc" / name for name in ("runtime", "bundle", "kernels", "include")]
    folders.append(next(Path(json_folder.origin).parent.rglob("nlohmann")).parent)
    made = bundle_copy.parent / "without"
    command = ["c++", "-std=c++17", "-O0", *(f"-I{folder}" for folder in folders), *sources]
    subprocess.run(list(map(str, [*command, "-o", made, "-ldl"])), check=True)
    done = subprocess.run([made], capture_output=True, text=True)
    assert done.returncode == 4  # EDGEAD_ERROR_DEVICE
    assert "built with EDGEAD_SIGNATURES=OFF; build it with ON" in done.stdout


def scored(installed: Path, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """``edgead-score``; its stderr names the libraries that the loader loads."""
    return subprocess.run(
        list(map(str, [installed / "edgead-score", *words])),
        capture_output=True,
        text=True,
        env={**os.environ, "LD_DEBUG": "files", **environment},
    )


def test_the_program_loads_libcrypto_where_keys_are_given(
    installed: Path, bundle_copy: Path
) -> None:
    keys = bundle_copy.parent / "trusted.keys"
    good = cases.signatures(open_bundle(bundle_copy).sha256)[0]
    keys.write_text(good.keys)
    image = bundle_copy / "golden/0.png"
    done = scored(installed, bundle_copy, image, "--json")
    assert done.returncode == 0 and "file=libopenvino" in done.stderr
    assert "file=libcrypto" not in done.stderr
    done = scored(installed, bundle_copy, image, "--json", "--trust", keys)
    assert done.returncode == 1 and "is not signed" in done.stderr
    assert "file=libcrypto.so" in done.stderr
    (bundle_copy / "signatures.json").write_bytes(good.signatures)
    done = scored(installed, bundle_copy, image, "--json", "--trust", keys)
    assert done.returncode == 0 and json.loads(done.stdout)["frames"]


def test_without_libcrypto_nothing_is_trusted(
    installed: Path, bundle_copy: Path, tmp_path: Path
) -> None:
    keys, folder = tmp_path / "trusted.keys", tmp_path / "empty"
    good = cases.signatures(open_bundle(bundle_copy).sha256)[0]
    keys.write_text(good.keys)
    (bundle_copy / "signatures.json").write_bytes(good.signatures)
    folder.mkdir()
    for name in ("libcrypto.so.3", "libcrypto.so.1.1"):  # in the way of the right ones
        (folder / name).touch()
    words = (bundle_copy, bundle_copy / "golden/0.png", "--json")
    done = scored(installed, *words, LD_LIBRARY_PATH=str(folder))
    assert done.returncode == 0
    done = scored(installed, *words, "--trust", keys, LD_LIBRARY_PATH=str(folder))
    assert done.returncode == 2 and done.stdout == ""
    assert "neither libcrypto.so.3 nor libcrypto.so.1.1 can be loaded; install" in done.stderr
