"""edgead sign and edgead verify --trust: keys, counters, a second key, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgead.signing import sign as signing

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def key(run: Run, tmp_path: Path) -> Path:
    path = tmp_path / "line3.key"
    assert run("sign", "--new-key", path, "--name", "line 3")[0] == 0
    return path


def signature_of(out: str) -> dict:
    return json.loads(out.splitlines()[0])["signature"]


def test_a_key_and_the_list_that_trusts_it(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    word, public, name = (key.parent / "line3.key.pub").read_text().split(maxsplit=2)
    assert (word, name) == ("trust", "line 3\n")
    assert public.startswith("ed25519:") and len(public) == 8 + 64


def test_sign_then_verify(run: Run, key: Path, bundle_copy: Path) -> None:
    before = (bundle_copy / "manifest.json").read_bytes()
    code, out, _ = run("sign", bundle_copy, "--key", key, "--counter", 7)
    assert code == 0 and "counter 7" in out
    assert out.splitlines()[-1] == f"next   edgead verify {bundle_copy} --trust {key}.pub"
    assert (bundle_copy / "manifest.json").read_bytes() == before
    code, out, _ = run("verify", bundle_copy, "--trust", f"{key}.pub", "--json")
    public = Path(f"{key}.pub").read_text().split()[1]
    assert code == 0 and signature_of(out) == {
        "signed_by": public, "trusted": True, "counter": 7, "keys": [public],
    }  # fmt: skip
    code, out, _ = run("verify", bundle_copy, "--json")
    assert code == 0 and signature_of(out)["trusted"] is False
    assert signature_of(out)["signed_by"] == public
    code, out, _ = run("verify", bundle_copy, "--trust", f"{key}.pub")
    assert f"signed by {public} (line 3), counter 7: trusted" in out
    code, out, _ = run("inspect", bundle_copy)
    assert code == 0 and f"signed by {public}, counter 7; edgead verify" in out


def test_an_unsigned_bundle(run: Run, key: Path, bundle_dir: Path) -> None:
    code, out, _ = run("verify", bundle_dir, "--json")
    assert code == 0 and signature_of(out) == {
        "signed_by": None, "trusted": False, "counter": None, "keys": [],
    }  # fmt: skip
    for command in (["verify", bundle_dir], ["score", bundle_dir, bundle_dir / "golden/0.png"]):
        code, out, err = run(*command, "--trust", f"{key}.pub")
        assert code == 1 and "is not signed" in err


def test_the_counter_grows_by_itself(
    run: Run, key: Path, bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing.time, "time", lambda: 60 * 29_000_000.5)
    code, out, _ = run("sign", bundle_copy, "--key", key, "--json")
    assert code == 0 and json.loads(out)["counter"] == 29_000_000


def test_a_ninth_key_does_not_spoil_the_bundle(run: Run, key: Path, bundle_copy: Path) -> None:
    for number in range(9):
        other = key.with_name(f"{number}.key")
        run("sign", "--new-key", other)
        code, _, err = run("sign", bundle_copy, "--key", other, "--counter", 7)
        assert code == (number == 8), err
    assert "has 8 signatures, and no bundle has more" in err
    assert len(signature_of(run("verify", bundle_copy, "--json")[1])["keys"]) == 8


def test_a_second_key_signs_beside_the_first(run: Run, key: Path, bundle_copy: Path) -> None:
    other = key.with_name("other.key")
    run("sign", "--new-key", other)
    assert run("sign", bundle_copy, "--key", key, "--counter", 7)[0] == 0
    code, _, err = run("sign", bundle_copy, "--key", other, "--counter", 8)
    assert code == 1 and "signed with counter 7, not 8" in err and "--again" in err
    code, out, _ = run("sign", bundle_copy, "--key", other, "--json")
    assert code == 0 and len(json.loads(out)["signed_by"]) == 2 and json.loads(out)["counter"] == 7
    for trusted in (key, other):
        assert run("verify", bundle_copy, "--trust", f"{trusted}.pub")[0] == 0


def test_a_manifest_signed_twice(run: Run, key: Path, bundle_copy: Path) -> None:
    assert run("sign", bundle_copy, "--key", key, "--counter", 7)[0] == 0
    before = (bundle_copy / "signatures.json").read_bytes()
    code, _, err = run("sign", bundle_copy, "--key", key)
    assert code == 1 and "is signed by ed25519:" in err and "already; --again" in err
    assert (bundle_copy / "signatures.json").read_bytes() == before
    code, out, _ = run("sign", bundle_copy, "--key", key, "--again", "--counter", 9, "--json")
    assert code == 0 and json.loads(out)["counter"] == 9 and len(json.loads(out)["signed_by"]) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_signs_nothing(
    run: Run, key: Path, bundle_copy: Path, mode: int
) -> None:
    key.chmod(mode)
    code, _, err = run("sign", bundle_copy, "--key", key)
    assert code == 1 and "may be read by others" in err and f"chmod 600 {key}" in err
    assert not (bundle_copy / "signatures.json").exists()


def test_a_key_of_openssl_signs(run: Run, bundle_copy: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    for name, more in {"plain": [], "locked": ["-aes256", "-pass", "pass:secret"]}.items():
        out = ["-out", tmp_path / name]
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", *more, *out], check=True)
        (tmp_path / name).chmod(0o600)
    assert run("sign", bundle_copy, "--key", tmp_path / "plain")[0] == 0
    code, _, err = run("sign", bundle_copy, "--key", tmp_path / "locked")
    assert code == 1 and "has a passphrase" in err and "openssl pkey" in err


def test_what_is_no_key(run: Run, bundle_copy: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    kinds = {"text": (b"secret", "not a private key"), "other": (other, "of another kind")}
    for name, (data, says) in kinds.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
        code, _, err = run("sign", bundle_copy, "--key", tmp_path / name)
        assert code == 1 and says in err and "edgead sign --new-key FILE" in err
    (tmp_path / "line3.key.pub").write_text("trust ed25519:00 line 3")
    code, _, err = run("sign", bundle_copy, "--key", tmp_path / "line3.key.pub")
    assert code == 1 and "is the list for devices" in err and "chmod" not in err
    code, _, err = run("sign", bundle_copy, "--key", tmp_path / "nothing")
    assert code == 1 and "does not exist" in err


def test_a_key_is_not_written_over(run: Run, key: Path, bundle_copy: Path) -> None:
    before = key.read_bytes()
    code, _, err = run("sign", "--new-key", key)
    assert code == 1 and "is not written over" in err and key.read_bytes() == before
    key.unlink()
    code, _, err = run("sign", "--new-key", key)  # its list is still there
    assert code == 1 and "is not written over" in err and not key.exists()
    code, _, err = run("sign", "--new-key", bundle_copy / "new.key")
    assert code == 1 and "inside a bundle" in err and not (bundle_copy / "new.key").exists()


def test_what_is_asked_has_to_fit(run: Run, key: Path, bundle_copy: Path) -> None:
    for words, says in (
        ([], "--new-key FILE makes a key"),
        ([bundle_copy], "--key FILE"),
        ([bundle_copy, "--new-key", "x"], "signs nothing"),
        ([bundle_copy, "--key", key, "--counter", -1], "expected 0 to 2147483647"),
        ([bundle_copy, "--key", key, "--counter", "1e3"], "whole number"),
        ([bundle_copy, "--key", key, "--name", "x"], "--name is of --new-key"),
    ):
        try:
            code, _, err = run("sign", *words)
        except SystemExit as stop:
            code, err = stop.code, ""
        assert code == 1 and (not err or says in err), words
    assert not (bundle_copy / "signatures.json").exists()


def test_signing_is_written_whole_or_not_at_all(
    run: Run, key: Path, bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("edgead.files.write_synced", full)
    code, _, err = run("sign", bundle_copy, "--key", key)
    assert code == 1 and "No space left" in err
    monkeypatch.undo()
    assert run("verify", bundle_copy)[0] == 0
    assert sorted(p.name for p in bundle_copy.parent.iterdir()) == [
        "copy.edgead", "line3.key", "line3.key.pub",
    ]  # fmt: skip


def test_what_is_made_of_a_signed_bundle_is_said_to_be_unsigned(
    run: Run, key: Path, bundle_copy: Path, tmp_path: Path, make_frame: Callable[..., object]
) -> None:
    import cv2

    (tmp_path / "good").mkdir()
    for seed in range(20):
        cv2.imwrite(str(tmp_path / f"good/{seed}.png"), make_frame(seed))
    assert run("sign", bundle_copy, "--key", key)[0] == 0
    words = ["calibrate", bundle_copy, tmp_path / "good", "--in-place"]
    code, out, err = run(*words, "--device", "cpu")
    assert code == 0, err
    assert f"{bundle_copy} is signed, and {bundle_copy} is not" in out
    assert run("verify", bundle_copy, "--trust", f"{key}.pub")[0] == 1
    code, out, _ = run(*words, "--device", "cpu")
    assert code == 0 and "is signed" not in out


def test_without_the_package(
    run: Run, key: Path, bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    assert run("sign", bundle_copy, "--key", key)[0] == 0
    name = "cryptography.hazmat.primitives.asymmetric.ed25519"
    monkeypatch.setitem(sys.modules, name, None)
    for words in (["sign", bundle_copy, "--key", key], ["verify", bundle_copy]):
        code, _, err = run(*words)
        assert code == 1 and "cryptography" in err and "sign]" in err
    assert run("score", bundle_copy, bundle_copy / "golden/0.png")[0] == 0  # nobody is asked
