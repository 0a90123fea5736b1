"""The systems as processes: what each runs, what it answers, how long it takes to start."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from environments import Environment, Skipped

HERE = Path(__file__).parent


@dataclass
class System:
    """A row of the table, and how to start it: ``script`` in ``environment`` with ``arguments``."""

    system: str
    method: str
    environment: Environment
    script: str
    arguments: list[str]
    scores: bool = True
    times_ms: list[float] = field(default_factory=list)
    found: list[float] = field(default_factory=list)
    cold_ms: list[float] = field(default_factory=list)
    rss_mb: float = 0.0

    def command(self) -> list[str]:
        """The process."""
        return [str(self.environment.python), str(HERE / self.script), *self.arguments]

    def take(self, answer: dict[str, Any]) -> None:
        """Keep what it answered about one image."""
        self.times_ms.append(answer["ms"])
        self.rss_mb = answer["rss_mb"]
        if self.scores:
            self.found.append(answer["score"])


class Worker:
    """A running system, until ``close``.

    Errors: Skipped when it cannot be started.
    """

    def __init__(self, system: System, folder: Path) -> None:
        self.system = system
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / f"{system.environment.path.name}-{system.method}.log"
        try:
            with self._log.open("w") as log:
                self._process = subprocess.Popen(
                    system.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                    text=True, cwd=folder, env={**os.environ, "HF_HUB_OFFLINE": "1"},
                )  # fmt: skip
        except OSError as error:
            raise Skipped(f"{system.method} of {system.system} does not start: {error}") from error

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None  # asked for above
            with suppress(BrokenPipeError):  # a question that it did not take
                stream.close()

    def answer(self) -> dict[str, Any]:
        """The next answer. Errors: Skipped, with its last words, when it ended instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith("\n"):  # it died, perhaps in the middle of an answer
            words = self._log.read_text(errors="replace").strip().splitlines() or ["nothing"]
            raise Skipped(f"{self.system.method} of {self.system.system} failed: {words[-1]}")
        return dict(json.loads(line))

    def ask(self, image: Path) -> dict[str, Any]:
        """Let it score an image."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{image}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its last words are the answer
        return self.answer()


def cold_start_ms(system: System, folder: Path, image: Path) -> float:
    """From the start of a process to the score of one image: imports, loading, reading, scoring."""
    started = perf_counter()
    with closing(Worker(system, folder)) as worker:
        worker.answer()
        worker.ask(image)
        return 1e3 * (perf_counter() - started)
