"""What comes over the network: whole or not at all, from where it stopped, and never more."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgead.bundle.storage import open_bundle
from edgead.updating import fetching, sources

MODEL = "model.onnx"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PAUSE_S", 0.0)


@pytest.fixture
def offered(server: Any, versions: dict[str, Path]) -> Path:
    """``new`` on the server; nothing of it is on the device, whose bundle has another graph."""
    shutil.copytree(versions["new"], server.folder / "x.edgead")
    return server.folder / "x.edgead"


@pytest.fixture
def fetch(run: Any, server: Any, offered: Path, keys: Path, tmp_path: Path) -> Any:
    """``fetch(*words)``: the first update of empty slots, from the server."""

    def call(*words: object) -> tuple[int, str, str]:
        given = ["--from", f"{server.url}/x.edgead", "--slots", tmp_path / "fresh"]
        return run(*given, "--trust", keys, "--device", "cpu", "--threads", 1, *words)

    return call


def is_whole(folder: Path, offered: Path) -> bool:
    return open_bundle(folder / "current").sha256 == open_bundle(offered).sha256


def test_all_of_it_comes(fetch: Any, offered: Path, tmp_path: Path, server: Any) -> None:
    code, out, _ = fetch()
    assert code == 0 and "fetch  7 files" in out and is_whole(tmp_path / "fresh", offered)
    assert len(server.asked) == 9  # each file once


def test_a_cut_transfer_goes_on_where_it_stopped(
    fetch: Any, offered: Path, tmp_path: Path, server: Any
) -> None:
    server.cut = {MODEL: 1000, "golden/2.png": 1}
    assert fetch()[0] == 0 and is_whole(tmp_path / "fresh", offered)
    assert (MODEL, "bytes=1000-") in server.asked and ("golden/2.png", "bytes=1-") in server.asked


def test_a_process_that_was_stopped_goes_on_where_it_stopped(
    fetch: Any, offered: Path, tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TRIES", 1)
    server.cut = {MODEL: 1000}
    code, _, err = fetch()
    assert code == 1 and "ended after 1000 of" in err and "the same command goes on" in err
    assert not (tmp_path / "fresh/current").exists()
    server.asked.clear()
    assert fetch()[0] == 0 and is_whole(tmp_path / "fresh", offered)
    assert (MODEL, "bytes=1000-") in server.asked
    assert not [name for name, _ in server.asked if name.startswith("golden/0")]  # was here


def test_a_server_without_ranges_begins_anew(
    fetch: Any, offered: Path, tmp_path: Path, server: Any
) -> None:
    server.ranges, server.cut = False, {MODEL: 1000}
    assert fetch()[0] == 0 and is_whole(tmp_path / "fresh", offered)


def test_a_server_that_comes_back(fetch: Any, offered: Path, tmp_path: Path, server: Any) -> None:
    server.down = 2
    assert fetch()[0] == 0 and is_whole(tmp_path / "fresh", offered)
    server.down = 99
    code, _, err = fetch()
    assert code == 1 and "503" in err and is_whole(tmp_path / "fresh", offered)


@pytest.mark.parametrize("name", [MODEL, "manifest.json", "signatures.json"])
def test_more_than_was_said_is_refused(fetch: Any, tmp_path: Path, server: Any, name: str) -> None:
    server.more = {name}
    code, _, err = fetch()
    assert code == 1 and "sends more than the" in err and "refused" in err
    assert not (tmp_path / "fresh/current").exists()


@pytest.mark.parametrize("name", [MODEL, "manifest.json"])
def test_a_file_without_a_length_is_refused(fetch: Any, server: Any, name: str) -> None:
    server.endless = {name}
    code, _, err = fetch()
    assert code == 1 and "does not say how long the file is" in err


@pytest.mark.parametrize(
    ("name", "length", "says"),
    [
        (MODEL, 10**13, "--most-mb"),
        ("manifest.json", 10**9, "expected at most 67108864"),
        ("signatures.json", 10**6, "expected at most 65536"),
    ],
)
def test_too_much_is_refused_before_it_is_read(
    fetch: Any, server: Any, name: str, length: int, says: str
) -> None:
    server.said = {name: length}
    code, _, err = fetch()
    assert code == 1 and says in err


def test_a_bundle_larger_than_allowed(
    fetch: Any, server: Any, offered: Path, versions: Any, run: Any, keys: Path, tmp_path: Path
) -> None:
    from edgead.signing.trust import read_trusted_keys

    offer = fetching.read_offer(sources.source_of(str(offered)), read_trusted_keys(keys))
    size = sum(p.stat().st_size for p in offered.rglob("*") if p.name not in (
        "manifest.json", "signatures.json") and p.is_file())  # fmt: skip
    fetching.fetch(offer, tmp_path / "a", [], size)
    with pytest.raises(Exception, match="--most-mb"):
        fetching.fetch(offer, tmp_path / "b", [], size - 1)


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing", "longer"])
def test_a_half_uploaded_bundle_is_refused(
    fetch: Any, offered: Path, tmp_path: Path, damage: str
) -> None:
    file = offered / MODEL
    data = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(data[:-100])
    elif damage == "longer":
        file.write_bytes(data + b"x")
    else:
        data[500] ^= 1
        file.write_bytes(data)
    code, _, err = fetch()
    assert code == 1 and "half uploaded" in err and not (tmp_path / "fresh/current").exists()


def test_an_altered_part_is_fetched_anew(
    fetch: Any, offered: Path, tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TRIES", 1)
    server.cut = {MODEL: 1000}
    assert fetch()[0] == 1
    monkeypatch.undo()
    (part,) = (tmp_path / "fresh/incoming/parts").iterdir()
    part.write_bytes(b"\0" * 1000)
    assert fetch()[0] == 0 and is_whole(tmp_path / "fresh", offered)
    assert server.asked[-1][0] and (MODEL, None) in server.asked[3:]


def test_an_address_that_is_not_ascii(
    run: Any, server: Any, versions: dict[str, Path], keys: Path, tmp_path: Path
) -> None:
    shutil.copytree(versions["new"], server.folder / "Zelle ü.edgead")
    given = ["--slots", tmp_path / "fresh", "--trust", keys, "--device", "cpu"]
    for name in ("Zelle ü.edgead", "Zelle%20%C3%BC.edgead/"):  # the second serves already
        code, _, err = run("--from", f"{server.url}/{name}", *given)
        assert code == 0, err


@pytest.mark.parametrize("address", ["http://[::1/x", "http://ü..de/x"])
def test_an_address_that_is_none_is_a_sentence(
    run: Any, keys: Path, tmp_path: Path, address: str
) -> None:
    code, _, err = run("--from", address, "--slots", tmp_path / "fresh", "--trust", keys)
    assert code == 1 and address in err


def test_no_redirect_leads_to_a_file(tmp_path: Path, keys: Path) -> None:
    source = sources.WebSource("file:///etc")
    with pytest.raises(Exception, match="unknown url type"):
        source.open("hostname", 0)


def test_a_folder_that_others_fill_meanwhile(tmp_path: Path) -> None:
    """A file that grows while it is read gives what it had, and one byte more is refused."""
    (tmp_path / "f").write_bytes(b"x" * 10)
    stream = sources.FolderSource(tmp_path).open("f", 0)
    assert stream is not None
    with (tmp_path / "f").open("ab") as more:
        more.write(b"y")
    with pytest.raises(Exception, match="more than the 10 bytes"):
        b"".join(stream.chunks)
    os.mkfifo(tmp_path / "pipe")  # is not waited for
    with pytest.raises(Exception, match="not a plain file"):
        sources.FolderSource(tmp_path).open("pipe", 0)
