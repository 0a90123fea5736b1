"""The real argument parsers, without running a command."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import shlex

from edgead.bench import command as bench
from edgead.cli import main as cli


def parser_of(place: str, words: list[str]) -> argparse.ArgumentParser:
    """The parser of ``edgead COMMAND`` or ``edgead-bench``."""
    if words[0] == "edgead-bench":
        return bench._parser()
    name = words[1] if len(words) > 1 else ""
    assert name in cli.COMMANDS, f"{place}: there is no command {name!r}"
    return cli.command_parser(name, importlib.import_module(cli.COMMANDS[name][0]))


def arguments(place: str, words: list[str]) -> None:
    """Parse the whole command. Errors: AssertionError with what the parser says."""
    parser = parser_of(place, words)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parser.parse_args(words[1 if words[0] == "edgead-bench" else 2 :])
    except SystemExit:
        raise AssertionError(f"{place}: {' '.join(words)}\n{complaint.getvalue()}") from None


def check_options(place: str, code: str) -> None:
    """A command in the text may leave out arguments; it and its options have to exist."""
    words = shlex.split(code.replace("'", ""))
    if not words[1:] or not (words[1] in cli.COMMANDS or words[0] == "edgead-bench"):
        allowed = {"COMMAND", "--version", "--help"}
        assert words[0] == "edgead-bench" or set(words[1:2]) <= allowed, f"{place}: no such command"
        return
    known = parser_of(place, words)._option_string_actions
    for word in words:
        if word.startswith("--"):
            assert word in known, f"{place}: there is no option {word}"
