"""``edgead watch --check``: which cameras and sinks can be reached now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from edgead.cli.console import Console, print_json, table
from edgead.errors import EdgeadError
from edgead.files import in_words
from edgead.live.camera_settings import CameraSettings
from edgead.live.line_file import LineFile, SinkTable
from edgead.live.outlets import load_sink
from edgead.live.sources import open_reader
from edgead.serving.limits import limits_of
from edgead.signing.trust import open_trusted

LONGEST_S = 30.0
"""Until a camera or sink that does not answer is given up."""


def run(
    cameras: Sequence[CameraSettings],
    sinks: Sequence[SinkTable],
    *,
    as_json: bool,
    file: LineFile | None = None,
) -> int:
    """Try all at once, and print what came of it; 0 when all can be reached, else 2."""
    works = [lambda each=each: _camera(each) for each in cameras]
    works += [lambda each=each: _sink(file, each) for each in sinks]
    whys = _in_parallel(works)
    found: list[dict[str, Any]] = []
    asked: list[CameraSettings | SinkTable] = [*cameras, *sinks]
    for each, why in zip(asked, whys, strict=True):
        one: dict[str, Any] = {"name": each.name}
        if isinstance(each, CameraSettings):
            one["source"] = _shown(each)
        else:
            one["kind"] = each.settings["kind"]
        found.append({**one, "ok": why is None, "why": why})
    if as_json:
        print_json({"cameras": found[: len(cameras)], "sinks": found[len(cameras) :]})
    else:
        rows = [
            ("ok" if one["ok"] else "failed", one["name"], one.get("source") or one["kind"])
            for one in found
        ]
        console = Console()
        for line, one in zip(table(rows), found, strict=True):
            console.say(line if one["ok"] else f"{line}: {one['why']}")
    return 0 if all(one["ok"] for one in found) else 2


def _shown(settings: CameraSettings) -> str:
    """The source without its login."""
    try:
        return settings.check().label
    except (EdgeadError, OSError):
        return settings.name


def _camera(settings: CameraSettings) -> None:
    """Open the camera, and close it; its bundle is read, its engine is not opened."""
    bundle, _ = open_trusted(settings.bundle, settings.trusted_keys)
    manifest = bundle.manifest
    if settings.false_reject_rate is not None:
        limits_of(manifest, settings.false_reject_rate, settings.precision or "float32")
    source = settings.check()
    depth = manifest.declared(settings.bit_depth).preprocess.bit_depth
    said: list[str] = []
    reader = open_reader(
        source, settings.setup(depth, lambda word, text, kind="": said.append(text))
    )
    try:
        reader.open()
    finally:
        reader.close()


def _sink(file: LineFile | None, sink: SinkTable) -> None:
    assert file is not None  # where there are sinks, there is a file
    why = load_sink(file, sink).check()
    if why is not None:
        raise EdgeadError(why)


def _in_parallel(works: Sequence[Callable[[], None]]) -> list[str | None]:
    """Why each failed, None where it did not; one that never answers delays no other."""
    whys: list[str | None] = [f"does not answer within {LONGEST_S:g} s"] * len(works)

    def work(index: int) -> None:
        try:
            works[index]()
            whys[index] = None
        except EdgeadError as error:
            whys[index] = str(error)
        except Exception as error:
            whys[index] = in_words(error)

    threads = [
        threading.Thread(target=work, args=[index], daemon=True) for index in range(len(works))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONGEST_S)
    return whys
