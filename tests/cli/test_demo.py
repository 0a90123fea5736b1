"""The bookkeeping of examples/demo.py: nothing twice, nothing stale, nothing half."""

from __future__ import annotations

import importlib.util
import itertools
import json
import subprocess
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.py"


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """The module, at home in an empty folder."""
    spec = importlib.util.spec_from_file_location("demo_under_test", DEMO)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    module.FOLDER.mkdir()
    return module


@pytest.fixture
def play(demo):
    """Run two stages, the second of which reads the first; gives the names of those that ran."""

    def run(first: int = 1, second: int = 1, version: str = "1", stop_in: str = "") -> list[str]:
        ran: list[str] = []

        def work(name: str, output: Path) -> None:
            ran.append(name)
            if name == stop_in:
                raise KeyboardInterrupt
            output.write_text(name)

        stages = demo.Stages({"version": version})
        for name, setting in (("first", first), ("second", second)):
            output = demo.FOLDER / name
            stages.run(name, {"setting": setting}, output, lambda n=name, o=output: work(n, o))
        return ran

    return run


def test_the_second_time_nothing_runs(play):
    assert play() == ["first", "second"]
    assert play() == []


def test_a_setting_changes_its_stage_and_those_after_it(play):
    play()
    assert play(second=2) == ["second"]
    assert play(first=2, second=2) == ["first", "second"]
    assert play(first=2, second=2, version="2") == ["first", "second"]


def test_a_lost_output_is_made_again(play, demo):
    play()
    (demo.FOLDER / "first").unlink()
    assert play() == ["first"]


def test_a_stage_that_was_stopped_runs_again_and_keeps_what_it_has(play, demo):
    with pytest.raises(KeyboardInterrupt):
        play(stop_in="second")
    (demo.FOLDER / "second").write_text("a checkpoint")
    with pytest.raises(KeyboardInterrupt):
        play(stop_in="second")
    assert (demo.FOLDER / "second").read_text() == "a checkpoint"
    assert play() == ["second"]


def test_what_other_settings_left_behind_is_removed_before_a_stage_runs(play, demo):
    with pytest.raises(KeyboardInterrupt):
        play(stop_in="second")
    (demo.FOLDER / "second").write_text("a checkpoint")
    with pytest.raises(KeyboardInterrupt):
        play(second=2, stop_in="second")
    assert not (demo.FOLDER / "second").exists()


def test_training_takes_up_a_checkpoint_and_nothing_less(demo, monkeypatch):
    calls: list[tuple] = []
    monkeypatch.setattr(demo, "run_edgead", lambda *words: calls.append(words))
    demo.RUN.mkdir()
    (demo.RUN / "run.json").write_text("{}")
    demo.train(1)
    assert not demo.RUN.exists()
    demo.RUN.mkdir()
    (demo.RUN / "checkpoint.safetensors").write_text("")
    demo.train(1)
    (demo.RUN / "model.safetensors").write_text("")
    demo.train(1)
    assert [words[-1] == "--resume" for words in calls] == [False, True]


def test_a_command_that_fails_or_is_stopped_stops_the_demo(demo, monkeypatch):
    with pytest.raises(demo.subprocess.CalledProcessError) as failed:
        demo.run_edgead("no-such-command")
    assert failed.value.returncode == 1
    monkeypatch.setattr(demo, "STOPPED", (1,))
    with pytest.raises(KeyboardInterrupt):
        demo.run_edgead("no-such-command")


def test_images_only_writes_the_images_and_learns_nothing(demo, monkeypatch, capsys):
    monkeypatch.setattr(demo, "write_data", demo.DATA.mkdir)
    monkeypatch.setattr(demo, "run_edgead", lambda *_: pytest.fail("it goes on"))
    monkeypatch.setattr("sys.argv", ["demo.py", "--images-only"])
    assert demo.main() == 0
    assert demo.DATA.is_dir() and "demo/data" in capsys.readouterr().out


COMMANDS = (
    *("learn", "verify", "evaluate", "train", "export", "verify", "evaluate"),
    *("export", "verify", "evaluate"),
)
STAGE_OF = (
    *("learn", "learn", "evaluate", "train", "export", "export", "alone"),
    *("join", "join", "compare"),
)


@pytest.fixture
def whole(demo, monkeypatch):
    """``whole(at, with_)``: run the demo with commands that only leave what they would leave.

    The command number ``at`` raises ``with_`` instead. Gives (exit code, the commands that ran).
    """
    figures = {"image_auroc": 0.9, "false_reject_promised": 0.05, "false_reject_reached": 0.04}

    def run(at: int | None = None, with_: BaseException | None = None):
        calls: list[tuple] = []

        def command(*words):
            calls.append(words)
            if len(calls) - 1 == at:
                raise with_
            named = dict(itertools.pairwise(words))
            if words[0] in ("learn", "export"):
                named["--out"].mkdir(exist_ok=True)
            elif words[0] == "train":
                named["--out"].mkdir(exist_ok=True)
                (named["--out"] / "model.safetensors").touch()
            elif words[0] == "evaluate":
                found = {**figures, **({"beside": figures} if "--beside" in words else {})}
                named["--json"].write_text(json.dumps(found))

        monkeypatch.setattr(demo, "run_edgead", command)
        monkeypatch.setattr(demo, "write_data", lambda: demo.DATA.mkdir(exist_ok=True))
        monkeypatch.setattr(demo, "draw_picture", demo.README_PICTURE.touch)
        monkeypatch.setattr("sys.argv", ["demo.py"])
        return demo.main(), calls

    return run


def test_it_learns_and_measures_before_it_trains_and_then_shows_all(whole, demo, capsys):
    code, calls = whole()
    assert code == 0 and tuple(words[0] for words in calls) == COMMANDS
    assert calls[-1][:5] == ("evaluate", demo.LEARNT, demo.DATA, "--beside", demo.JOINED)
    assert calls[-3] == ("export", demo.RUN, "--with", "instant", "--out", demo.JOINED)
    printed = capsys.readouterr().out
    learnt, train = printed.index("learnt on cells"), printed.index("train     took")
    assert printed.index("picture   took") < learnt < train
    assert str(demo.BOTH_REPORT / "index.html") in printed[train:]
    assert all(str(path) in printed[train:] for path in (demo.LEARNT, demo.TRAINED, demo.JOINED))
    assert whole() == (0, [])


@pytest.mark.parametrize("at", range(len(COMMANDS)))
def test_ctrl_c_in_any_command_goes_on_with_its_stage(whole, at, capsys):
    code, calls = whole(at, KeyboardInterrupt())
    assert code == 130 and len(calls) == at + 1
    assert "make demo goes on from here" in capsys.readouterr().out
    code, calls = whole()
    first = STAGE_OF.index(STAGE_OF[at])
    assert code == 0 and tuple(words[0] for words in calls) == COMMANDS[first:]


@pytest.mark.parametrize("at", range(len(COMMANDS)))
def test_a_command_that_fails_ends_the_demo_with_its_code(whole, at):
    code, calls = whole(at, subprocess.CalledProcessError(4, "edgead"))
    assert code == 4 and len(calls) == at + 1
