"""Runs the blocks of a page, one after the other, in the folder that conftest prepared."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import doc_pages
import doc_parse
import doc_policy

from edgead.bench.command import main as bench_main
from edgead.cli.main import main as edgead_main

LABEL = re.compile(r"([a-z]+)(?= |$)")


class Runner:
    """The state of a page: names that its Python made, and what the last command printed.

    :param captured: takes what was printed since the last call, (stdout, stderr)
    """

    def __init__(self, captured: Callable[[], tuple[str, str]]) -> None:
        self._captured = captured
        self._names: dict[str, Any] = {"__name__": "page"}
        self.last_output: str | None = None  # of a command with --json that was run

    def run(self, block: doc_pages.Block) -> None:
        """Errors: AssertionError, or what the block raises."""
        if block.kind == "python":
            self._python(block)
        elif block.kind == "json":
            self._json(block)
        elif block.kind == "sh" and block.text.startswith("#!/bin/sh"):
            self._script(block)
        elif block.kind in ("sh", "console"):
            for command in doc_pages.commands(block):
                self._command(block.page, command)
        else:
            assert block.kind in doc_policy.OUTPUT_KINDS, f"{block.place}: is not classified"

    def _python(self, block: doc_pages.Block) -> None:
        code = compile("\n" * block.line + block.text, block.page, "exec")
        compiled = (
            page == block.page and text in block.text for page, text, _ in doc_policy.COMPILED
        )
        if not any(compiled):
            exec(code, self._names)

    def _json(self, block: doc_pages.Block) -> None:
        shown = json.loads(block.text)
        if self.last_output is not None:
            found, _ = json.JSONDecoder().raw_decode(self.last_output)
            same_keys(block.place, shown, found)
        self.last_output = None

    def _script(self, block: doc_pages.Block) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(["sh", "-e", "-c", block.text], env={**os.environ, "PATH": path})
        assert done.returncode == 0, block.place

    def _command(self, page: str, command: doc_pages.Command) -> None:
        text = command.text.split("  #")[0].strip()
        self.last_output = None
        if text.startswith("torchrun "):
            words = command.words
            doc_parse.arguments(command.place, words[words.index("edgead") :])
        elif not text.startswith(("edgead ", "edgead-bench ")):
            check_tool(command.place, text)
        else:
            doc_parse.arguments(command.place, command.words)
            only = (re.match(a, page) and re.match(b, text) for a, b, _ in doc_policy.PARSED)
            if not any(only):
                self._edgead(page, command, text)

    def _edgead(self, page: str, command: doc_pages.Command, text: str) -> None:
        """Run it in this process; hold exit code and output against the page."""
        really = doc_pages.Command(
            command.place, doc_policy.RUN_SMALL.get((page, text), command.text)
        )
        words = really.words
        self._captured()
        if words[0] == "edgead-bench":
            code = bench_main([*words[1:], *doc_policy.BENCH.split()])
        else:
            code = edgead_main(words[1:])
        out, err = self._captured()
        allowed = doc_policy.EXIT_CODES.get((page, text), (0,))
        assert code in allowed, f"{command.place}: exit code {code}, not in {allowed}\n{out}\n{err}"
        if command.file is not None:
            Path(command.file).write_text(out, encoding="utf-8")
        same_labels(command, f"{out}\n{err}")
        self.last_output = out if "--json" in words else None


def check_tool(place: str, text: str) -> None:
    """A command that is not edgead's: known, and what it names exists."""
    assert any(re.match(form, text) for form, _ in doc_policy.TOOLS), f"{place}: is not classified"
    if target := re.match(r"make (\w[\w-]*)", text):
        assert doc_pages.has_target(target[1]), f"{place}: no target {target[1]}"
    if script := re.match(r"python (\S+)", text):
        assert (doc_pages.ROOT / script[1]).is_file(), f"{place}: no script {script[1]}"


def same_labels(command: doc_pages.Command, real: str) -> None:
    """Each line of the shown output that begins with a label has one like it in the real output."""
    found = {match[1] for line in re.split(r"[\r\n]+", real) if (match := LABEL.match(line))}
    for line in command.shown:
        label = LABEL.match(line)
        if label and label[1] not in doc_policy.VARYING_LABELS:
            assert label[1] in found, (
                f"{command.place}: shows {line!r}, which does not come\n{real}"
            )


def same_keys(place: str, shown: Any, found: Any) -> None:
    """Objects have the same keys, also inside; of lists the first elements are compared."""
    if isinstance(shown, dict):
        assert isinstance(found, dict) and set(shown) == set(found), f"{place}: {set(shown)}"
        for key in shown:
            same_keys(f"{place} {key}", shown[key], found[key])
    elif isinstance(shown, list):
        assert isinstance(found, list), place
        if shown and found:
            same_keys(f"{place} []", shown[0], found[0])
