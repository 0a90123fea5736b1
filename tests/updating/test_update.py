"""edgead update: what is taken, what is refused, and what serves afterwards."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

import edgead
from edgead.bundle.storage import open_bundle
from edgead.errors import SignatureError
from edgead.signing.ed25519 import new_key
from edgead.signing.sign import sign
from edgead.signing.trust import open_trusted, signatures_of
from edgead.updating.slots import STARTS, opened


def files_of(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_a_new_bundle_serves(bring: Any, serves: Any, slots_dir: Path, versions: Any) -> None:
    assert serves() == "old" and os.readlink(slots_dir / "current") == "a.edgead"
    code, out, _ = bring("new")
    assert code == 0 and serves() == "new" and os.readlink(slots_dir / "current") == "b.edgead"
    assert open_bundle(slots_dir / "a.edgead").manifest.name == "old"
    assert files_of(slots_dir) == {"a.edgead", "b.edgead", "current", "update.json"}
    # of ten files only the manifest differs, so nothing else comes from outside
    assert "fetch  0 files, 0.0 MB; 7 here" in out and "counter 6: trusted" in out
    assert "until they open it again" in out
    assert out.splitlines()[-1] == f"next   edgead score {slots_dir}/current IMAGE"
    state = json.loads((slots_dir / "update.json").read_text())
    assert state == {"counter": 6, "trial": None, "failed": {}}
    assert open_bundle(slots_dir / "current").sha256 == open_bundle(versions["new"]).sha256


def test_the_same_bundle_again_changes_nothing(bring: Any, slots_dir: Path) -> None:
    before = (slots_dir / "update.json").read_bytes()
    code, out, _ = bring("old")
    assert code == 0 and "serves already" in out
    assert (slots_dir / "update.json").read_bytes() == before


def test_a_program_that_opened_the_link_keeps_its_bundle(
    bring: Any, slots_dir: Path, make_frame: Any
) -> None:
    """Opened through the link, read after it leads elsewhere."""
    bundle = open_bundle(slots_dir / "current")
    assert bring("new")[0] == 0
    assert bundle.manifest.name == "old" and bundle.read_manifest()
    with edgead.Detector(bundle, device="cpu", threads=1) as detector:
        assert detector.score(make_frame(3)).score >= 0


def test_an_older_counter_is_refused(bring: Any, serves: Any) -> None:
    code, _, err = bring("older")
    assert code == 1 and "counter 4" in err and "with 5 served here" in err and serves() == "old"
    assert bring("new")[0] == 0
    code, _, err = bring("old")  # what served before, offered again
    assert code == 1 and "with 6 served here" in err and serves() == "new"


def test_the_counter_of_what_serves_counts_where_the_state_was_lost(
    bring: Any, serves: Any, slots_dir: Path
) -> None:
    for damage in (lambda p: p.unlink(), lambda p: p.write_text("{"), lambda p: p.write_text("[]")):
        damage(slots_dir / "update.json")
        assert bring("older")[0] == 1 and serves() == "old"
        (slots_dir / "update.json").touch()


@pytest.mark.parametrize("kind", ["unsigned", "other", "altered", "revoked"])
def test_what_is_not_trusted_is_refused_before_it_is_fetched(
    bring: Any, serves: Any, versions: Any, keys: Path, server: Any, kind: str, run: Any,
    slots_dir: Path, tmp_path: Path,
) -> None:  # fmt: skip
    offered = server.folder / "x.edgead"
    shutil.copytree(versions["new"], offered)
    list_of_keys = keys
    if kind == "unsigned":
        (offered / "signatures.json").unlink()
    elif kind == "altered":
        text = (offered / "signatures.json").read_text()
        (offered / "signatures.json").write_text(text.replace('"counter": 6', '"counter": 9'))
    elif kind == "other":
        list_of_keys = tmp_path / "others.keys"
        list_of_keys.write_text(f"trust ed25519:{'0' * 64} another\n")
    else:
        list_of_keys = tmp_path / "revoked.keys"
        public = keys.read_text().split()[1]
        list_of_keys.write_text(f"trust ed25519:{'0' * 64} b\n{keys.read_text()}revoke {public}\n")
    code, _, err = run(
        "--from", f"{server.url}/x.edgead", "--slots", slots_dir, "--trust", list_of_keys
    )
    says = {"unsigned": "is not signed", "other": "does not trust", "altered": "does not fit",
            "revoked": "revokes"}  # fmt: skip
    assert code == 1 and says[kind] in err and serves() == "old"
    assert {name for name, _ in server.asked} == {"manifest.json", "signatures.json"}


def test_what_this_device_does_not_reproduce_is_refused_and_remembered(
    bring: Any, serves: Any, slots_dir: Path
) -> None:
    code, _, err = bring("wrong")
    assert code == 2 and "golden frame" in err and serves() == "old"
    code, _, err = bring("wrong")
    assert code == 1 and "failed here before" in err and "--again" in err
    assert bring("wrong", "--again")[0] == 2
    assert bring("new")[0] == 0 and serves() == "new"


@pytest.fixture
def frames(tmp_path: Path, make_frame: Callable[..., Any]) -> Path:
    (tmp_path / "frames").mkdir()
    for seed in range(8):
        cv2.imwrite(str(tmp_path / f"frames/{seed}.png"), make_frame(seed))
    return tmp_path / "frames"


def test_verdicts_that_differ_are_reported(
    bring: Any, serves: Any, frames: Path, versions: Any
) -> None:
    """The truth: both bundles asked one after the other."""
    verdicts = {}
    for name in ("old", "strict"):
        with edgead.Detector(versions[name], device="cpu", threads=1) as detector:
            verdicts[name] = {
                path.name: detector.score(edgead.read_image(path)).is_anomalous
                for path in sorted(frames.iterdir())
            }
    differ = {name for name in verdicts["old"] if verdicts["old"][name] != verdicts["strict"][name]}
    assert 0 < len(differ) < 8
    (frames / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, out, _ = bring("strict", "--shadow", frames, "--json")
    assert code == 0 and serves() == "strict"
    found = json.loads(out)["shadow"]
    assert (found["frames"], found["unreadable"]) == (8, 1)
    assert {Path(one["image"]).name for one in found["changed"]} == differ
    assert found["newly_anomalous"] == found["verdicts_changed"] == len(differ)


def test_what_serves_and_cannot_judge_is_not_the_new_ones_failure(
    bring: Any, serves: Any, slots_dir: Path, frames: Path, versions: Any
) -> None:
    """As after an update of a library, where the old bundle is not reproduced any more."""
    slot = slots_dir / "a.edgead"
    shutil.rmtree(slot)
    shutil.copytree(versions["wrong"], slot)
    (slots_dir / "update.json").unlink()
    (slot / "signatures.json").unlink()
    code, _, err = bring("new", "--shadow", frames)
    assert code == 1 and "bundle that serves cannot be opened" in err and "golden frame" in err
    assert bring("new")[0] == 0 and serves() == "new"


def test_too_many_that_differ_are_refused(bring: Any, serves: Any, frames: Path) -> None:
    code, _, err = bring("strict", "--shadow", frames, "--most-changed", "0.01")
    assert code == 1 and "verdicts differ" in err and "0.01 are allowed" in err
    assert serves() == "old"
    code, _, _ = bring("strict", "--shadow", frames, "--most-changed", 1, "--again")
    assert code == 0 and serves() == "strict"


def test_bad_health_goes_back(bring: Any, serves: Any, slots_dir: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    command = f"sh -c 'readlink $EDGEAD_BUNDLE > {seen}; exit 3'"
    code, _, err = bring("new", "--health", command)
    assert code == 2 and "ended with 3" in err and "one before serves again" in err
    assert seen.read_text() == "b.edgead\n"  # it had served
    assert serves() == "old"
    state = json.loads((slots_dir / "update.json").read_text())
    assert state["counter"] == 5 and state["trial"] is None and len(state["failed"]) == 1
    assert bring("new")[0] == 1  # not taken again by itself
    assert bring("new", "--again", "--health", "true")[0] == 0 and serves() == "new"


def test_what_the_health_command_prints_is_not_in_the_json(bring: Any) -> None:
    where = "sh -c 'test /proc/$$/fd/1 -ef /proc/$$/fd/2'"  # one file for both: that of stderr
    code, out, err = bring("new", "--json", "--health", where)
    assert code == 0, err
    assert json.loads(out)["updated"]


def test_a_first_bundle_that_is_not_healthy_can_be_replaced(
    run: Any, keys: Path, versions: Any, tmp_path: Path
) -> None:
    slots = tmp_path / "fresh"
    given = ["--slots", slots, "--trust", keys, "--device", "cpu", "--threads", 1]
    given += ["--health", f"sh -c 'grep -q new {slots}/current/manifest.json'"]
    for _ in range(2):  # the same one is not healthy the second time either
        code, _, err = run("--from", versions["old"], *given)
        assert code == 1 and "is not healthy" in err and "stays until the next update" in err
    assert run("--from", versions["new"], *given)[0] == 0
    assert open_bundle(slots / "current").manifest.name == "new"
    state = json.loads((slots / "update.json").read_text())
    assert state["counter"] == 6 and state["trial"] is None


def signed_anew(versions: Any, name: str, tmp_path: Path, counter: int) -> tuple[Path, Path]:
    """(A copy of a version that another key alone signed, a list that revokes the key before)."""
    key, again = new_key(tmp_path / "next.key"), tmp_path / "again.edgead"
    shutil.copytree(versions[name], again)
    bundle = open_bundle(again)
    (before,) = signatures_of(bundle)[1]
    sign(bundle, key, counter, again=True)
    listed = tmp_path / "next.keys"
    listed.write_text(f"trust {key.public} next\nrevoke {before} stolen\n")
    return again, listed


def test_new_signatures_of_what_serves_are_brought(
    run: Any, slots_dir: Path, versions: Any, tmp_path: Path
) -> None:
    again, keys = signed_anew(versions, "old", tmp_path, 9)
    current = slots_dir / "current"
    with pytest.raises(SignatureError, match="revokes"):
        open_trusted(current, keys)
    code, out, _ = run("--from", again, "--slots", slots_dir, "--trust", keys)
    assert code == 0 and "serves already" in out
    signed = open_trusted(current, keys)[1]
    assert signed is not None and signed.counter == 9
    assert json.loads((slots_dir / "update.json").read_text())["counter"] == 9
    assert files_of(slots_dir) == {"a.edgead", "current", "update.json"}


def test_older_signatures_of_what_serves_are_refused(
    run: Any, slots_dir: Path, versions: Any, tmp_path: Path
) -> None:
    again, keys = signed_anew(versions, "old", tmp_path, 4)
    before = (slots_dir / "a.edgead/signatures.json").read_bytes()
    code, _, err = run("--from", again, "--slots", slots_dir, "--trust", keys)
    assert code == 1 and "counter 4" in err
    assert (slots_dir / "a.edgead/signatures.json").read_bytes() == before


@pytest.mark.parametrize(
    ("command", "says"),
    [("sleep 9", "took longer than 0.2 s"), ("/nothing/here", "cannot be run")],
)
def test_health_that_gives_no_answer_is_bad(
    bring: Any, serves: Any, command: str, says: str
) -> None:
    code, _, err = bring("new", "--health", command, "--health-seconds", "0.2")
    assert code == 2 and says in err and serves() == "old"


def test_a_trial_ends_by_hand(bring: Any, run: Any, serves: Any, slots_dir: Path) -> None:
    code, out, _ = bring("new", "--trial")
    assert code == 0 and "on trial" in out and serves() == "new"
    code, _, err = bring("strict")
    assert code == 1 and "is on trial" in err and serves() == "new"
    code, out, _ = run("--slots", slots_dir)
    assert code == 0 and "on trial, 3 starts left" in out and "counter 5" in out
    code, out, _ = run("--slots", slots_dir, "--confirm")
    assert code == 0 and serves() == "new"
    assert json.loads((slots_dir / "update.json").read_text())["counter"] == 6
    code, _, err = run("--slots", slots_dir, "--confirm")
    assert code == 1 and "nothing is to be confirmed" in err


def test_a_trial_that_nothing_confirms_goes_back(
    bring: Any, run: Any, serves: Any, slots_dir: Path
) -> None:
    assert bring("new", "--trial")[0] == 0
    for left in reversed(range(STARTS)):
        code, out, _ = run("--slots", slots_dir, "--start", "--json")
        assert code == 0 and json.loads(out)["trial"]["starts_left"] == left and serves() == "new"
    code, out, _ = run("--slots", slots_dir, "--start")
    assert code == 0 and "went back" in out and serves() == "old"
    assert run("--slots", slots_dir, "--start")[0] == 0 and serves() == "old"


def test_a_first_bundle_on_trial_does_not_keep_the_service_from_starting(
    run: Any, keys: Path, versions: Any, tmp_path: Path
) -> None:
    slots = tmp_path / "fresh"
    given = ["--from", versions["old"], "--trust", keys, "--device", "cpu", "--trial"]
    assert run("--slots", slots, *given)[0] == 0
    for _ in range(STARTS + 2):
        code, _, err = run("--slots", slots, "--start")
        assert code == 0, err
    assert open_bundle(slots / "current").manifest.name == "old"
    assert run("--slots", slots, "--confirm")[0] == 0


def test_a_first_bundle_on_trial_is_kept_or_replaced(
    run: Any, keys: Path, versions: Any, tmp_path: Path
) -> None:
    """There is nothing to go back to, and what is not healthy need not be confirmed."""
    slots = tmp_path / "fresh"
    given = ["--slots", slots, "--trust", keys, "--device", "cpu", "--trial"]
    code, _, err = run("--from", versions["old"], *given, "--health", "false")
    assert code == 1 and "stays until the next update" in err
    code, _, err = run("--slots", slots, "--back")
    assert code == 1 and "no way back" in err and "--from URL|DIR brings another one" in err
    code, _, err = run("--from", versions["old"], *given)
    assert code == 1 and "--confirm keeps it, another bundle replaces it" in err
    code, _, err = run("--from", versions["older"], *given)  # a counter on trial does not count
    assert code == 0, err
    assert open_bundle(slots / "current").manifest.name == "older"
    code, _, err = run("--from", versions["new"], *given)
    assert code == 1 and "--confirm or --back first" in err  # now there is a way back


def test_a_start_while_an_update_is_at_work(
    bring: Any, run: Any, serves: Any, slots_dir: Path
) -> None:
    """As where --health starts the service again, whose unit calls --start."""
    assert bring("new", "--trial")[0] == 0
    with opened(slots_dir):
        code, out, err = run("--slots", slots_dir, "--start")
        assert code == 0 and "not counted" in out + err and "3 starts left" in out
        code, _, err = run("--slots", slots_dir, "--confirm")
        assert code == 1 and "another edgead update" in err
    assert serves() == "new"


def test_back_by_hand(bring: Any, run: Any, serves: Any, slots_dir: Path) -> None:
    code, _, err = run("--slots", slots_dir, "--back")
    assert code == 1 and "no bundle served before" in err and serves() == "old"
    assert bring("new")[0] == 0
    for now, again in (("old", False), ("new", True), ("old", True)):  # there, and back again
        code, out, _ = run("--slots", slots_dir, "--back")
        assert code == 0 and serves() == now
        assert ("taken back by hand; it serves again" in out) == again
    assert json.loads((slots_dir / "update.json").read_text())["counter"] == 6  # stays
    shutil.rmtree(slots_dir / "b.edgead/golden")
    code, _, err = run("--slots", slots_dir, "--back")
    assert code == 1 and "no way back" in err and serves() == "old"


def test_one_update_at_a_time(bring: Any, serves: Any, slots_dir: Path) -> None:
    import fcntl

    descriptor = os.open(slots_dir, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        code, _, err = bring("new")
    finally:
        os.close(descriptor)
    assert code == 1 and "another edgead update" in err and serves() == "old"


def test_what_is_asked_has_to_fit(run: Any, keys: Path, versions: Any, tmp_path: Path) -> None:
    slots = tmp_path / "slots"
    new = versions["new"]
    for words, says in (
        (["--from", new], "--trust KEYS is missing"),
        (["--from", "ftp://x/y", "--trust", keys], "expected http://, https:// or a folder"),
        (["--from", "http://me:secret@x/y", "--trust", keys], "holds a login"),
        (["--from", tmp_path / "no", "--trust", keys], "no such folder"),
        (["--from", tmp_path, "--trust", keys], "is not a bundle"),
        (["--from", new, "--trust", keys, "--confirm"], "do not go together"),
        (["--from", new, "--trust", keys, "--shadow", tmp_path / "no"], "no such folder"),
        (["--from", new, "--trust", keys, "--most-changed", "0.1"], "beside --shadow"),
        (["--from", new, "--trust", keys, "--health", ""], "empty"),
        (["--from", new, "--trust", keys, "--health", "sh -c 'x"], "x: No closing quotation"),
        (["--trust", keys], "--trust goes with --from"),
        (["--confirm"], "slots"),
    ):
        try:
            code, _, err = run("--slots", slots, *words)
        except SystemExit as stop:
            code, err = stop.code, says
        assert code == 1 and says in err, words
        assert not (slots / "current").exists()
    code, _, err = run("--slots", slots, "--from", new, "--trust", keys, "--health", "false")
    assert code == 1 and "ended with 1. No complete bundle is left to return to" in err
    shutil.rmtree(slots)
    (slots / "current").mkdir(parents=True)
    code, _, err = run("--slots", slots, "--from", new, "--trust", keys)
    assert code == 1 and "is not a link" in err
