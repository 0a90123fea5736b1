"""``edgead watch --check``: which cameras, sinks and records can be used now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from edgead.cli.console import Console, print_json, table
from edgead.errors import EdgeadError
from edgead.files import in_words
from edgead.live.camera_settings import CameraSettings
from edgead.live.line_file import LineFile, SinkTable
from edgead.live.outlets import load_sink
from edgead.live.sources import open_reader
from edgead.records.readiness import why_not
from edgead.records.store import RecordsSettings
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
    works = [partial(_camera, each) for each in cameras]
    works += [partial(_sink, file, each) for each in sinks]
    records = None if file is None else file.records
    works += [partial(_records, records)] if records is not None else []
    whys = _in_parallel(works)
    found: list[dict[str, Any]] = []
    asked = [{"name": each.name, "source": _shown(each)} for each in cameras]
    asked += [{"name": each.name, "kind": each.settings["kind"]} for each in sinks]
    asked += [{"folder": str(records.folder)}] if records is not None else []
    for each, why in zip(asked, whys, strict=True):
        found.append({**each, "ok": why is None, "why": why})
    if as_json:
        ends = len(cameras) + len(sinks)
        print_json(
            {
                "cameras": found[: len(cameras)],
                "sinks": found[len(cameras) : ends],
                "records": found[-1] if records is not None else None,
            }
        )
    else:
        rows = []
        for one in found:
            name, what = one.get("name", "records"), one.get("source") or one.get("kind")
            rows.append(("ok" if one["ok"] else "failed", name, what or one["folder"]))
        console = Console()
        for row, line, one in zip(rows, table(rows), found, strict=True):
            if one["ok"]:
                console.say(line)
            elif one["why"].startswith(row[-1]):  # it names the source itself
                console.say(line.removesuffix(row[-1]) + one["why"])
            else:
                console.say(f"{line}: {one['why']}")
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


def _records(settings: RecordsSettings) -> None:
    if (why := why_not(settings)) is not None:
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
