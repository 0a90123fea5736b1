"""The command ``edgead``: finds the command's module, runs it, turns errors into sentences.

Exit codes: 0 fine; 1 the caller's mistake; 2 the device's; 3 an anomalous frame, where
``score --exit-code`` asks for it; 4 and 5 too slow for ``edgead-bench``; 6 a verdict that
``replay`` does not repeat; 129, 130, 141 and 143 when stopped by a closed terminal, Ctrl-C, a
closed pipe or kill, as in every shell. An exception that is none of these is a defect of edgead
and shows its traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NoReturn

from edgead.cli.console import complain
from edgead.cli.signals import CLOSED, ended, stopped
from edgead.errors import DeviceError, EdgeadError, MissingExtraError, shortened
from edgead.files import os_sentence, scarcity
from edgead.installation import __version__, cure, extra_of, opencv_trouble

# Loaded by name, and only the one that is asked for: the runtime must not import torch.
COMMANDS: dict[str, tuple[str, str]] = {
    "learn": ("edgead_export.learn_command", "a bundle of images of good parts, in seconds"),
    "train": ("edgead_training.commands.train", "train a method on images of good parts"),
    "export": ("edgead_export.command", "turn a training run into a bundle NAME.edgead"),
    "backbone": ("edgead_export.backbone_command", "write a network as a file to learn with"),
    "build": ("edgead.cli.build", "build the TensorRT plan of a bundle"),
    "evaluate": ("edgead_training.commands.evaluate", "measure a bundle on a labelled test set"),
    "calibrate": ("edgead.cli.calibrate", "set the threshold with images of this camera"),
    "frames": ("edgead_training.commands.frames", "extract frames from videos into a data set"),
    "score": ("edgead.cli.score", "score images with a bundle"),
    "watch": ("edgead.cli.watch", "score a camera, stream, video file or folder, live"),
    "replay": ("edgead.cli.replay", "score saved frames again and compare the verdicts"),
    "records": ("edgead.cli.records", "export recorded verdicts and reviewed frames"),
    "serve-repository": (
        "edgead.cli.serve_repository",
        "write a model repository for the Triton server",
    ),
    "mask": ("edgead.cli.mask", "exclude parts of the frame from the score"),
    "inspect": ("edgead.cli.inspect", "show what is in a bundle"),
    "sign": ("edgead.cli.sign", "sign a bundle, or make a key to sign with"),
    "verify": ("edgead.cli.verify", "check a bundle's files and qualify it on this machine"),
    "update": ("edgead.cli.update", "bring a signed bundle to this device, and back if need be"),
    "doctor": ("edgead.cli.doctor", "check this installation and suggest fixes"),
}

EXAMPLE = """\
from a folder of good images to scored frames:
  edgead learn DATA --out NAME.edgead
  edgead score NAME.edgead IMAGES
or, to train a method:
  edgead train redi DATA --out RUN --minutes 10
  edgead export RUN --out NAME.edgead

edgead COMMAND --help explains a command."""


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake in the arguments exits with 1, as every mistake of the caller."""

    def __init__(self, prog: str, description: str, epilog: str, usage: str | None = None) -> None:
        raw = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, usage, description.strip(), epilog, formatter_class=raw)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, which makes ``--option=--`` an empty list and not a text."""
        for word in args or ():
            if word.startswith("--") and word.endswith("=--"):
                self.error(f"argument {word[:-3]}: expected one argument")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        complain(shortened(message))
        self.exit(1, f"edgead: see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the arguments after ``edgead``; None for those of the process
    """
    return guard(lambda: _dispatch(list(sys.argv[1:] if argv is None else argv)))


def guard(work: Callable[[], int]) -> int:
    """Do ``work`` and return its exit code; errors become a sentence and their own code."""
    _prepare_streams()
    try:
        code = work()
        sys.stdout.flush()  # a closed pipe shows here, not in the interpreter's last breath
        return code
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt) or ended():
            return stopped()
        if isinstance(error, EdgeadError):
            return _complain(str(error), error.exit_code)
        sentence = _broken_package(error)
        if isinstance(error, MemoryError | RuntimeError | ImportError | AttributeError):
            sentence = scarcity(error) or _refused_code(error) or sentence
        if sentence:
            return _complain(sentence, DeviceError.exit_code)
        if not isinstance(error, OSError):
            raise
        _drop_output()
        if isinstance(error, BrokenPipeError):  # the reader went away (`edgead score … | head`)
            return CLOSED
        return _complain(os_sentence(error), 1)


def _refused_code(error: BaseException) -> str | None:
    """What keeps PyTorch from compiling its kernels, and the cure; None for any other error."""
    if "could not create a primitive" not in str(error):  # of oneDNN, in PyTorch
        return None
    from edgead.cpu.restrictions import code_refused

    return code_refused("PyTorch")


def _broken_package(error: BaseException) -> str | None:
    """What is wrong with a package that edgead needs, and the cure; None for a defect of edgead."""
    if isinstance(error, ModuleNotFoundError):
        of_a_package = error.name == "cv2"
    elif isinstance(error, AttributeError):
        of_a_package = getattr(error.obj, "__name__", "") == "cv2"
    else:
        of_a_package = isinstance(error, ImportError)
    if not of_a_package:
        return None
    trouble = opencv_trouble()
    if trouble is not None:
        return f"OpenCV cannot be used, {trouble[0]}: {trouble[1]}"
    return f"a library cannot be loaded ({error}): edgead doctor says which, and the cure"


def _prepare_streams() -> None:
    """Let stdout and stderr take any text: a terminal's encoding may lack a character of a name.

    A service may have been started without them; what is printed then goes nowhere.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif stream.errors in ("strict", "surrogateescape") and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Let the flush at exit write to /dev/null where stdout takes no more."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):  # a stream in memory has no descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(sentence: str, code: int) -> int:
    with contextlib.suppress(OSError):  # stderr may be a terminal that was closed
        complain(sentence)
    return code


def _dispatch(argv: list[str]) -> int:
    """Find the command in ``argv``, load its module and run it."""
    parser = _top_parser()
    if not argv:
        parser.print_help()
        return 1
    if argv[0].startswith("-"):
        parser.parse_args(argv[:1])  # --help, --version or a mistake: none of them comes back
    name, rest = argv[0], argv[1:]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(COMMANDS)} was expected"
        parser.error(f"there is no command {name!r}: {hint}")
    try:
        module = importlib.import_module(COMMANDS[name][0])
        return int(module.run(command_parser(name, module).parse_args(rest)))
    except ModuleNotFoundError as error:
        extra = extra_of(error.name or "")
        if extra is None:
            raise
        raise MissingExtraError(
            f"edgead {name} needs the package {error.name}, which is not installed: {cure(extra)}"
        ) from error


def command_parser(name: str, module: ModuleType) -> Parser:
    """The parser of one command; its module's docstring is the description."""
    parser = Parser(
        f"edgead {name}", module.__doc__ or "", f"example:\n{getattr(module, 'EXAMPLE', '')}"
    )
    module.add_arguments(parser)
    return parser


def _top_parser() -> Parser:
    width = max(map(len, COMMANDS)) + 2
    listing = "\n".join(f"  {name:<{width}}{text}" for name, (_, text) in COMMANDS.items())
    description = (
        "Visual anomaly detection for the edge: learn from good parts, serve a qualified engine."
    )
    epilog = f"commands:\n{listing}\n\n{EXAMPLE}"
    parser = Parser("edgead", description, epilog, "edgead COMMAND …")
    parser.add_argument("--version", action="version", version=f"edgead {__version__}")
    return parser
