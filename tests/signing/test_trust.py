"""Which bundles are trusted: the corpus, which C reads too, and Detector."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import cases
import pytest

import edgead
from edgead import _cpu
from edgead.bundle.storage import open_bundle
from edgead.errors import InputError, SignatureError
from edgead.signing.ed25519 import fits
from edgead.signing.trust import check_signature, open_trusted, read_trusted_keys

# RFC 8032, section 7.1, TEST 3: key, message, signature.
RFC_KEY = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
RFC_MESSAGE = "af82"
RFC_SIGNATURE = (
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
)


def test_the_vector_of_the_rfc() -> None:
    key, message, signature = map(bytes.fromhex, (RFC_KEY, RFC_MESSAGE, RFC_SIGNATURE))
    assert fits(key, signature, message)
    assert not fits(key, signature, message + b"\0")
    assert not fits(b"\xff" * 32, signature, message)  # no point of the curve


def test_what_is_signed_is_what_the_page_says() -> None:
    said = "edgead bundle, signature 1\ncounter 7\nmanifest abc\n"
    assert _cpu.signed_text("abc", 7) == said.encode()


@pytest.fixture
def signed_bundle(bundle_copy: Path) -> Any:
    """``signed_bundle(case)``: (the bundle, a list of keys) as a row of the corpus has them."""

    def make(case: Any) -> tuple[Path, Path]:
        file, keys = bundle_copy / "signatures.json", bundle_copy.parent / "trusted.keys"
        file.unlink(missing_ok=True)
        if case.signatures is not None:
            file.write_bytes(case.signatures)
        keys.write_text(case.keys, newline="")
        return bundle_copy, keys

    return make


def test_the_corpus(bundle_copy: Path, signed_bundle: Any) -> None:
    found = cases.signatures(open_bundle(bundle_copy).sha256)
    assert len(found) > 30
    for case in found:
        path, keys = signed_bundle(case)
        if case.says is None:
            bundle, signed = open_trusted(path, keys)
            assert signed is not None and signed.trusted, case.name
            assert (signed.by, signed.counter) == (case.by, case.counter), case.name
            assert check_signature(bundle, None).counter == case.counter
            continue
        with pytest.raises(InputError if case.of_keys else SignatureError) as caught:
            open_trusted(path, keys)
        where = "" if case.of_keys else f"bundle {path} "
        assert str(caught.value) == where + case.says.replace("KEYS", str(keys)), case.name


def test_without_a_list_a_signature_still_has_to_fit(bundle_copy: Path, signed_bundle: Any) -> None:
    names = {"a bit of the signature", "cut", "signed by another", "not signed"}
    found = [c for c in cases.signatures(open_bundle(bundle_copy).sha256) if c.name in names]
    assert len(found) == len(names)
    for case in found:
        bundle = open_bundle(signed_bundle(case)[0])
        if case.name == "not signed":
            assert check_signature(bundle, None) is None
        elif case.name == "signed by another":
            signed = check_signature(bundle, None)
            assert signed is not None and not signed.trusted and signed.by == cases.public(2)
        else:
            with pytest.raises(SignatureError):
                check_signature(bundle, None)


def test_a_detector_opens_what_is_trusted_and_nothing_else(
    bundle_copy: Path, signed_bundle: Any, make_frame: Any
) -> None:
    good, *_ = rows = cases.signatures(open_bundle(bundle_copy).sha256)
    path, keys = signed_bundle(good)
    with edgead.Detector(path, device="cpu", threads=1, trusted_keys=keys) as detector:
        info = detector.info()
        assert (info["signed_by"], info["counter"]) == (good.by, "3")
        score = detector.score(make_frame(3)).score
        again = copy.copy(detector)  # opened anew, as from a pickle
        assert again.info()["signed_by"] == good.by and again.score(make_frame(3)).score == score
        keys.write_text(f"trust {cases.public(4)} another\n")
        with pytest.raises(SignatureError):  # asked again where it is opened again
            copy.copy(detector)
    with edgead.Detector(path, device="cpu", threads=1) as detector:  # a file more harms nobody
        assert "signed_by" not in detector.info()
    unsigned = next(case for case in rows if case.name == "not signed")
    path, keys = signed_bundle(unsigned)
    with pytest.raises(SignatureError, match="is not signed"):
        edgead.Detector(path, device="cpu", threads=1, trusted_keys=keys)


def test_a_changed_file_of_a_signed_bundle_is_found(
    bundle_copy: Path, signed_bundle: Any, edit: Any
) -> None:
    """Behind its digest, as who may write the bundle can: the signature does not fit."""
    path, keys = signed_bundle(cases.signatures(open_bundle(bundle_copy).sha256)[0])
    edit(path, lambda manifest: manifest["calibration"].update(false_reject_rate=0.9))
    open_bundle(path)
    with pytest.raises(SignatureError, match="does not fit"):
        open_trusted(path, keys)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "does not exist"),
        (b"\xff\xfe", "not UTF-8"),
        (b"#" * (2**20 + 1), "1 MiB at most"),
        (b"", "trusts no key"),
        (b"\0\0", "begins with"),
    ],
)
def test_what_is_no_list_of_keys(tmp_path: Path, data: bytes | None, says: str) -> None:
    if data is not None:
        (tmp_path / "keys").write_bytes(data)
    with pytest.raises(InputError, match=says):
        read_trusted_keys(tmp_path / "keys")


def test_a_manifest_cannot_name_the_signatures(bundle_copy: Path, edit: Any) -> None:
    edit(bundle_copy, None, {"signatures.json": b"{}"})
    with pytest.raises(edgead.BundleError, match="signs the manifest, and cannot be in it"):
        open_bundle(bundle_copy)


def test_openssl_says_the_same(bundle_copy: Path, tmp_path: Path) -> None:
    """The program of another project reads key, text and signature."""
    import shutil

    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    from edgead.signing.ed25519 import new_key
    from edgead.signing.sign import sign

    key = new_key(tmp_path / "key.pem")
    bundle = sign(open_bundle(bundle_copy), key, 5)
    made = json.loads((bundle_copy / "signatures.json").read_text())
    (tmp_path / "text").write_bytes(_cpu.signed_text(bundle.sha256, 5))
    (tmp_path / "signature").write_bytes(bytes.fromhex(made["signatures"][0]["signature"]))
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-inkey", tmp_path / "key.pem"]
    command += ["-in", tmp_path / "text", "-sigfile", tmp_path / "signature"]
    assert b"Verified" in subprocess.run(command, capture_output=True, check=True).stdout
    (tmp_path / "text").write_bytes(_cpu.signed_text(bundle.sha256, 6))
    assert subprocess.run(command, capture_output=True).returncode != 0
