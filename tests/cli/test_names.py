"""Names of files on lines for people, and in JSON: no name makes a line, and none is altered."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgead.bench.command import main as bench
from edgead.cli import console
from edgead.cli.console import Console, table
from edgead.cli.main import main
from edgead.errors import printable

PLAIN = "plain"
NAMES = [
    "a\nedgead: forged", "a\r\nb", "a\x1b[31mred\x1b[0m", "a\x1b]0;title\x07", "a\u202etxt.exe",
    "a\u200bb", "a\u200db", "a\u2028b", "a\x85b", "a\x0bb", "a\tb", "a\u2066b", "\ufeffa", "a\xa0b",
    os.fsdecode(b"caf\xe9"), os.fsdecode(b"\xff\xfe"), "日本 部品", "Prüfling №1", "a\\nb", "%s{}",
]  # fmt: skip
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")


@given(st.text(st.characters()))
def test_what_is_printed_is_one_line_of_what_can_be_seen(text):
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")


@given(st.text(st.characters(blacklist_characters="\0")), st.booleans())
def test_a_line_for_people_is_one_line_whatever_it_says(text, coloured):
    import io

    stream = io.StringIO()
    speaker = Console()
    speaker.stream, speaker._coloured = stream, coloured
    speaker.say(f"{speaker.paint('good', 'green')} {text}")
    said = stream.getvalue()
    green = "\x1b[32mgood\x1b[0m" if coloured else "good"
    assert said == f"{green} {printable(text)}\n"


@given(st.lists(st.text(st.characters()), min_size=1, max_size=4))
def test_a_table_has_a_line_for_each_row(cells):
    lines = table([["head"] * len(cells), cells])
    assert len(lines) == 2 and all(line.isprintable() for line in lines)


@given(st.text(st.characters()))
def test_json_is_ascii_on_one_line_and_exact(text):
    import contextlib
    import io

    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    with contextlib.redirect_stdout(out):
        console.print_json({"path": text}, indent=None)
    (line,) = out.buffer.getvalue().decode("ascii").splitlines()
    assert json.loads(line) == {"path": text}


def shape(text: str) -> list[bool]:
    """What stays the same of a command's lines: how many there are; each one can be seen."""
    lines = text.split("\n")
    assert all(line.isprintable() for line in lines), text
    return [bool(line) for line in lines]


@pytest.fixture
def scene(tmp_path, bundle_dir, make_frame):
    """``scene(name)``: a folder with a bundle, good parts, a damaged image and a video so named."""

    def make(name: str) -> dict[str, str]:
        root = tmp_path / "scenes" / name
        root.mkdir(parents=True)
        shutil.copytree(bundle_dir, root / f"{name}.edgead")
        (root / f"{name} parts").mkdir()
        for number in range(40):
            picture = cv2.imencode(".png", make_frame(number))[1].tobytes()
            (root / f"{name} parts" / f"{name}{number}.png").write_bytes(picture)
        for label in ("good", f"{name} scratch"):
            folder = root / f"{name} data" / "test" / label
            folder.mkdir(parents=True)
            (folder / f"{name}.png").write_bytes(picture)
        (root / f"{name}.png").write_bytes(picture)
        (root / f"{name}-cut.png").write_bytes(picture[: len(picture) // 2])
        return {
            "bundle": str(root / f"{name}.edgead"), "parts": str(root / f"{name} parts"),
            "image": str(root / f"{name}.png"), "cut": str(root / f"{name}-cut.png"),
            "absent": str(root / f"{name}-absent"), "out": str(root / f"{name}-out"),
            "data": str(root / f"{name} data"),
        }  # fmt: skip

    return make


COMMANDS = {
    "score": "score {bundle} {image} {cut}",
    "heatmaps": "score {bundle} {image} --heatmap {out}",
    "nothing to score": "score {bundle} {absent}",
    "no bundle": "score {absent} {image}",
    "damaged": "inspect {image}",
    "inspect": "inspect {bundle}",
    "verify": "verify {bundle}",
    "calibrate": "calibrate {bundle} {parts} --out {out}",
    "calibrate with none": "calibrate {bundle} {absent}",
    "mask": 'mask {bundle} --polygon 0,0_9,0_9,9 --preview {image} {out}.png',
    "replay": "replay {bundle} {image}",
    "watch": "watch {image} --bundle {bundle}",
    "watch what is not there": "watch {absent} --bundle {bundle}",
    "frames": "frames {cut} --out {out}",
    "evaluate": "evaluate {bundle} {absent}",
    "report": "evaluate {bundle} {data} --report {out} --json {out}.json",
    "export": "export {absent} --out {out}",
    "train": "train redi {absent} --out {out}",
    "train on one": "train redi {image} --out {out}",
    "unknown": "{absent}",
    "option": "score {bundle} {image} --precision {absent}",
    "choice": "score {bundle} {image} --color {absent}",
}  # fmt: skip

EXPECTED: dict[str, tuple[object, list[bool], list[bool]]] = {}
"""What the commands say of a plain name; filled by the first test that needs it."""


def run_words(template: str, places: dict[str, str], capsys) -> tuple[object, str, str]:
    words = [word.replace("_", " ").format(**places) for word in template.split()]
    capsys.readouterr()
    try:
        code: object = main(words)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_no_name_makes_a_line(scene, name, capsys, no_gpu):
    if not EXPECTED:
        plain = scene(PLAIN)
        for what, template in COMMANDS.items():
            code, out, err = run_words(template, plain, capsys)
            EXPECTED[what] = code, shape(out), shape(err)
    strange = scene(name)
    for what, template in COMMANDS.items():
        code, out, err = run_words(template, strange, capsys)
        assert (code, shape(out), shape(err)) == EXPECTED[what], what
        assert "\nedgead: forged" not in f"\n{out}\n{err}"


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_json_has_the_exact_path(scene, name, run_json, no_gpu):
    places = scene(name)
    _, report = run_json("score", places["bundle"], places["image"], places["cut"])
    assert [frame["path"] for frame in report["frames"]] == [places["image"], places["cut"]]
    _, report = run_json("inspect", places["bundle"])
    assert os.fsencode(report["path"]) == os.fsencode(places["bundle"])


@pytest.mark.parametrize("name", [NAMES[0], NAMES[4], NAMES[14]], ids=ascii)
def test_a_bench_of_a_bundle_of_any_name(scene, name, tmp_path, capsys):
    """Its lines depend on the machine, so only their form is compared."""
    pytest.importorskip("jinja2")
    bundle = scene(name)["bundle"]
    files = {kind: str(tmp_path / f"found.{kind}") for kind in ("json", "csv", "html")}
    words = [bundle, "--repeats=3", "--warm-up=0", "--cold-starts=0"]
    assert bench(words + [f"--{kind}={path}" for kind, path in files.items()]) == 0
    captured = capsys.readouterr()
    assert all(map(shape, captured.out.split("\n"))) and captured.err == ""
    report = json.loads(Path(files["json"]).read_bytes())
    assert report["identity"]["bundle"] == bundle
    assert os.fsencode(bundle) in Path(files["csv"]).read_bytes()
    page = Path(files["html"]).read_text(encoding="utf-8")
    assert printable(name).replace("'", "&#39;") in page


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "shift_jis"])
def test_a_terminal_that_lacks_a_character_is_no_error(scene, encoding):
    places = scene(os.fsdecode("日本№\u202e".encode() + b"\xff"))
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C", "LANG": "C"}
    for more, parses in (([], False), (["--json"], True)):
        done = subprocess.run(
            [sys.executable, "-m", "edgead", "inspect", os.fsencode(places["bundle"]), *more],
            capture_output=True, env=environment,
        )  # fmt: skip
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
        if parses:
            path = json.loads(done.stdout)["path"]
            assert os.fsencode(path) == os.fsencode(places["bundle"])
    done = subprocess.run(
        [sys.executable, "-m", "edgead", "--help"], capture_output=True, env=environment
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_plan_cache_of_a_strange_name(monkeypatch, tmp_path, capsys):
    shapes = []
    for name in (PLAIN, *NAMES):
        monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / name))
        for words in (["doctor"], ["build", "--list"]):
            code, out, err = run_words(" ".join(words), {}, capsys)
            shapes.append((words, code, shape(out), shape(err)))
    assert all(each in shapes[:2] for each in shapes)


def test_a_process_without_stdout_and_stderr():
    for closed in ("1>&-", "2>&-", "1>&- 2>&-"):
        done = subprocess.run(
            f"{sys.executable} -m edgead doctor {closed}", shell=True, capture_output=True
        )
        assert done.returncode == 0 and b"Traceback" not in done.stderr


def test_a_full_disk_behind_stdout_is_a_sentence():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    done = subprocess.run(
        f"{sys.executable} -m edgead doctor > /dev/full", shell=True, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("edgead: no space left") and done.stderr.count("\n") == 1
