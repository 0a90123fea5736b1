"""Any text in any argument of any command gives a value, or a sentence and the exit code 1."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "learning"))

from good_parts import write_small_backbone  # type: ignore[import-not-found]

from edgead.bench import command as bench
from edgead.cli.main import COMMANDS, command_parser, main

DIGITS = "9" * 5000  # more than int() reads
NUMBERS = [
    DIGITS, f"-{DIGITS}", f"0.{DIGITS}", f"1e{DIGITS}", f"1e-{DIGITS}", "1e400", "1e-320", "-1e400",
    "inf", "-inf", "Infinity", "nan", "-nan", "NaN", "-0", "-0.0", "0", "+1", "1_000", "1_0.5", "٣",
    "１２", "๓", "²", "½", "一", " 1", "1 ", "\t1", "1\n", "0x10", "1e3", "1.", ".5", ".", "-", "+",
    "1,5", "1.5.5", "2147483648", "9223372036854775808", "1000000001", "-1000000001", "True",
]  # fmt: skip
TEXTS = [
    "", " ", "\n", "\0", "a\0b", "\udcff", "\ud800", "a\nedgead: forged", "\x1b[31mred", "\u200b",
    "\u202eabc", "a" * 5000, "a/" * 3000, "%s", "{0}", "%(prog)s", "-", "--", "---", "-1", "--json",
    "=", "a=", "=a", "~nobody/x", "~", ".", "..", "/", "/dev/null", "/dev/null/x", "\\", "'", '"',
    ",", ",,", "a,,b", "0x0", "1x", "x1", "999999x999999", "1-", "5-1", "1..2", "::", ":", ":0",
    ":99999", "[::1]:80", "a" * 64 + ".b:80", "..:80", "host:٣", f"host:{DIGITS}", "cuda:٣",
    f"cuda:{DIGITS}", "sm_٣", f"sm_{DIGITS}", "(", "(?P<a>x)(?P<a>y)", "x{9999999999}", "(" * 3000,
    "[" * 5000, "((a)", "[a[b]", "size=" + "[" * 100_000, f"steps={DIGITS}", f"steps=1{'0' * 400}",
    "learning_rate=1e999", "learning_rate=NaN", "size=[1e9,1e9]", "size=[999999968,999999968]",
    "steps=null", "steps={}", "pooling=[[]]", "\ufeff", "é" * 300, "CON", "NUL", "a\tb", "a\rb",
    f"{DIGITS},1 2,2 3,3", "nan,nan 1,1 2,2", "1_0,0 9,0 9,9", "٣,0 9,0 9,9", "1e999,0 0,0 1,1",
]  # fmt: skip
NASTY = [*NUMBERS, *TEXTS]
QUICK = [
    DIGITS, "1e-320", "nan", "٣", "-1", "", "a\0b", "\udcff", "a\nedgead: forged", "a" * 5000, "--",
    "size=" + "[" * 100_000, f"steps=1{'0' * 400}", f"cuda:{DIGITS}", "(" * 3000, f"host:{DIGITS}",
]  # fmt: skip
ANY_TEXT = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=30),
    st.text(st.characters(), max_size=5),  # surrogates too
    st.integers().map(str),
    st.floats().map(repr),
)


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for name, (module, _) in COMMANDS.items():
        yield name, command_parser(name, importlib.import_module(module))
    yield "edgead-bench", bench._parser()


PARSERS = dict(parsers())
PLACES = [
    (name, action)
    for name, parser in PARSERS.items()
    for action in parser._actions
    if action.nargs != 0
]


def words_with(parser: argparse.ArgumentParser, place: argparse.Action, text: str) -> list[str]:
    """A command line that is right but for ``text`` in one place."""
    words: list[str] = []
    for action in parser._actions:
        if action is not place and action.option_strings and not action.required:
            continue
        one = text if action is place else "1"
        values = [one] * (action.nargs if isinstance(action.nargs, int) else 1)
        if action.option_strings and len(values) == 1:
            words.append(f"{action.option_strings[-1]}={one}")
        elif action.option_strings:
            words += [action.option_strings[-1], *values]
        else:
            words = [*values, *words]
    return words


def check_refusal(code: object, said: str) -> None:
    """The exit code of a caller's mistake, and one sentence with where to read on."""
    assert code == 1
    first, second, *more = said.splitlines()
    assert first.startswith("edgead: ") and first.isprintable() and len(first) < 1000
    assert second.startswith("edgead: see edgead") and second.endswith(" --help")
    assert not more


def identity(place: tuple[str, argparse.Action]) -> str:
    return f"{place[0]} {'/'.join(place[1].option_strings) or place[1].dest}"


@pytest.mark.parametrize("place", PLACES, ids=identity)
def test_any_text_in_any_argument_is_a_value_or_a_sentence(place):
    name, action = place
    parser = PARSERS[name]

    @settings(max_examples=15)
    @given(ANY_TEXT)
    def parse(text: str) -> None:
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                args = parser.parse_args(words_with(parser, action, text))
        except SystemExit as stop:
            check_refusal(stop.code, said.getvalue())
        else:
            value = getattr(args, action.dest)
            if isinstance(value, (int, float)):
                assert abs(value) <= 10**9  # so never NaN or infinite

    parse()
    for text in NASTY:
        parse.hypothesis.inner_test(text)


def test_every_argument_has_one_of_the_types_of_the_options():
    """``int``, ``float``, ``str`` and ``Path`` take what no command can use."""
    from edgead.cli import options

    known = {options.word, options.file_path, options.whole, options.number}
    other = {
        identity((name, action))
        for name, action in PLACES
        if action.type not in known and action.choices is None
    }
    assert not other


@pytest.mark.parametrize("text", ["12", "+12", "012", "1000000000", "-1000000000", "-0"])
def test_whole_numbers(text):
    args = PARSERS["score"].parse_args(["a", "b", f"--threads={text}"])
    assert args.threads == int(text)


@pytest.mark.parametrize("text", ["0.05", ".05", "5.", "5e-2", "+0.05", "1E3", "-0.0"])
def test_numbers(text):
    args = PARSERS["score"].parse_args(["a", "b", f"--false-reject-rate={text}"])
    assert args.false_reject_rate == float(text)


@pytest.fixture(scope="module")
def places(bundle_dir, tmp_path_factory, make_frame) -> dict[str, str]:
    """What the commands need, by the names of their arguments; and a folder to write into."""
    import cv2

    folder = tmp_path_factory.mktemp("arguments")
    (folder / "parts").mkdir()
    for number in range(3):
        assert cv2.imwrite(str(folder / f"parts/{number}.png"), make_frame(number))
    video = cv2.VideoWriter(str(folder / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for number in range(3):
        video.write(make_frame(number, (48, 64, 3)))
    video.release()
    write_small_backbone(folder / "small.onnx")
    return {
        "network": "mine.onnx", "backbone": f"{folder}/small.onnx",
        "engine": str(bundle_dir), "bundle": str(bundle_dir), "bundles": str(bundle_dir),
        "images": f"{folder}/parts", "folder": f"{folder}/parts", "data": f"{folder}/parts",
        "source": f"{folder}/film.avi", "videos": f"{folder}/film.avi", "method": "redi",
        "run": f"{folder}/run", "records": f"{folder}/records", "out": f"{folder}/new",
        "action": "export", "id": "left-1-1", "label": "good", "slots": f"{folder}/slots",
    }  # fmt: skip


EXTRA = {  # so that an option is not refused for another one that is missing
    "bench": [],
    "build": ["--flavour=rtx"],
    "edgead-bench": ["--repeats=1", "--warm-up=0", "--cold-starts=0"],
    "learn": ["--backbone={backbone}", "--size=64", "--memory=9"],
    "records": ["--csv={out}.csv"],
    "mask": ["--polygon=0,0 9,0 9,9", "--preview", "{images}/0.png", "{out}.png"],
    "train": ["--steps=1"],
    "watch": ["--every-frame"],
}
LONG = {
    *("edgead-bench --repeats", "edgead-bench --warm-up", "edgead-bench --cold-starts"),
    *("edgead-bench --minutes", "edgead-bench --hz", "train --out", "train --steps"),
    *("train --minutes", "train --seed", "train --calibration"),
}
"""What takes time where the value is right; only wrong ones are run."""


def run_command(name: str, words: list[str]) -> tuple[object, str]:
    said, out = io.StringIO(), io.TextIOWrapper(io.BytesIO())
    command = bench.main if name == "edgead-bench" else main
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(out):
            code: object = command(words if name == "edgead-bench" else [name, *words])
    except SystemExit as stop:
        code = stop.code
    return code, said.getvalue()


def command_with(place: tuple[str, argparse.Action], text: str, places: dict[str, str]):
    name, action = place
    words: list[str] = []
    for each in PARSERS[name]._actions:
        if each is action or (each.option_strings and not each.required):
            continue
        value = places[each.dest]
        words += [f"{each.option_strings[-1]}={value}"] if each.option_strings else [value]
    for extra in EXTRA.get(name, []):
        if action.option_strings and extra.startswith(action.option_strings[-1]):
            continue
        if any(action in each._group_actions for each in PARSERS[name]._mutually_exclusive_groups):
            continue
        words.append(extra.format(**places))
    number = action.nargs if isinstance(action.nargs, int) else 1
    if not action.option_strings:
        at = [a for a in PARSERS[name]._actions if not a.option_strings].index(action)
        return [*words[:at], text, *words[at:]]
    if number == 1:
        return [*words, f"{action.option_strings[-1]}={text}"]
    return [*words, action.option_strings[-1], *[text] * number]


@pytest.mark.parametrize("place", PLACES, ids=identity)
def test_a_command_with_a_strange_argument_ends_in_a_sentence(place, places, monkeypatch, no_gpu):
    check_command(place, QUICK, places, monkeypatch)


@pytest.mark.exhaustive
@pytest.mark.parametrize("place", PLACES, ids=identity)
def test_a_command_with_any_strange_argument_ends_so(place, places, monkeypatch, no_gpu):
    check_command(place, NASTY, places, monkeypatch)


def check_command(place, texts: list[str], places: dict[str, str], monkeypatch) -> None:
    """No traceback, no defect; what is refused is told on lines that begin with edgead:."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("EDGEAD_CACHE", f"{folder}/cache")
        for text in texts:
            if identity(place) in LONG and not refused_by_parser(place, text):
                continue
            if text in (os.sep, "..") or (identity(place), text) == ("watch source", "."):
                continue  # the whole disk; a folder that is watched for ever
            code, said = run_command(place[0], command_with(place, text, places))
            assert code in (0, 1, 2, 4, 6), (text[:50], code, said)
            assert all(line.isprintable() for line in said.splitlines()), text[:50]


def refused_by_parser(place: tuple[str, argparse.Action], text: str) -> bool:
    name, action = place
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            PARSERS[name].parse_args(words_with(PARSERS[name], action, text))
        except SystemExit:
            return True
    return False


def test_an_empty_path_is_not_the_present_folder(places):
    code, said = run_command("calibrate", [places["bundle"], places["images"], "--out="])
    assert code == 1 and "empty" in said


if sys.platform != "win32":

    def test_a_name_that_is_not_utf8_is_a_path(tmp_path):
        name = os.fsdecode(b"\xff")
        args = PARSERS["score"].parse_args(["a", "b", f"--heatmap={name}"])
        assert args.heatmap == Path(name)
