"""A device that is killed: run as a process, it updates and ends itself at one call of the system.

Usage: killing.py CONFIG.json. ``at``: the number of the call (0: of none) before which the process
kills itself with SIGKILL; ``step``: the step at whose beginning it does. Before it dies it makes
every file that it wrote and did not sync empty, as a file system may after a loss of power. Calls
are counted into ``count``.
"""

from __future__ import annotations

import builtins
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

COUNTED = ("rename", "replace", "symlink", "unlink", "rmdir", "mkdir", "fsync")


class Power:
    """Counts calls, and goes at one of them."""

    def __init__(self, at: int, folder: Path) -> None:
        self.at, self.folder, self.calls = at, folder, 0
        self.written: dict[str, Path] = {}
        self._synced: set[tuple[int, int]] = set()
        self._open = builtins.open
        for name in COUNTED:
            setattr(os, name, self._counted(name, getattr(os, name)))
        builtins.open = self._opened  # type: ignore[assignment]
        shutil.rmtree = self._rmtree  # type: ignore[assignment]

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*words: Any, **more: Any) -> Any:
            self.tick()
            done = call(*words, **more)
            if name == "fsync":
                about = os.fstat(words[0])
                self._synced.add((about.st_dev, about.st_ino))
            return done

        return counted

    def _opened(self, file: Any, mode: str = "r", *words: Any, **more: Any) -> Any:
        writes = isinstance(file, (str, Path)) and set(mode) & set("wxa+")
        if writes and self.folder in Path(file).absolute().parents:
            self.tick()
            self.written[str(file)] = Path(file)
        return self._open(file, mode, *words, **more)

    def _rmtree(self, path: Any, ignore_errors: bool = False) -> None:
        """File by file, each of them a call."""
        for folder, folders, files in os.walk(path, topdown=False):
            for name in files:
                os.unlink(Path(folder, name))
            for name in folders:
                os.rmdir(Path(folder, name))
        if os.path.isdir(path):
            os.rmdir(path)

    def tick(self) -> None:
        """Count a call; go where it is the one."""
        self.calls += 1
        if self.calls == self.at:
            self.go()

    def go(self) -> None:
        """What was not synced is lost."""
        written = {os.path.basename(name) for name in self.written}
        for path in self.folder.rglob("*"):
            if path.is_symlink() or not path.is_file():
                continue
            about = path.stat()
            if (about.st_dev, about.st_ino) in self._synced:
                continue
            if path.name in written or path.suffix == ".tmp":
                os.truncate(path, 0)
        os.kill(os.getpid(), signal.SIGKILL)


def main(config: dict[str, Any]) -> None:
    from edgead.signing.trust import read_trusted_keys
    from edgead.updating.slots import opened
    from edgead.updating.sources import FolderSource
    from edgead.updating.update import Options, update

    folder = Path(config["slots"])
    power = Power(config.get("at", 0), folder)

    def on_step(step: str) -> None:
        if step == config.get("step"):
            power.go()

    engine = {"device": "cpu", "threads": 1}
    options = Options(engine, health=tuple(config.get("health", ())), on_step=on_step, again=True)
    with opened(folder) as slots:
        update(
            slots, FolderSource(Path(config["source"])), read_trusted_keys(config["keys"]), options
        )
    if "count" in config:
        Path(config["count"]).write_text(str(power.calls))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
