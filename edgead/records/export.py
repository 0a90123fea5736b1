"""The records in forms that others read: a table (CSV, Parquet) or a data set to learn from."""

from __future__ import annotations

import csv
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from edgead.errors import InputError, MissingExtraError
from edgead.images import encode_png, read_image
from edgead.installation import cure
from edgead.records.reviews import Entry, Reviews

COLUMNS = tuple(field.name for field in fields(Entry) if field.name != "claimed_by")
AT_ONCE = 1000


def export_csv(reviews: Reviews, path: Path) -> int:
    """Write a row for each verdict, the first first; how many.

    Raises:
        OSError: it cannot be written; nothing is left then.
    """
    with _in_place_of(path) as temporary, open(temporary, "x", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        count = 0
        for rows in _rows(reviews):
            writer.writerows([["" if v is None else v for v in row.values()] for row in rows])
            count += len(rows)
    return count


def export_parquet(reviews: Reviews, path: Path) -> int:
    """Write a row for each verdict, the first first; how many.

    Raises:
        MissingExtraError: pyarrow is not installed.
        OSError: it cannot be written; nothing is left then.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"--parquet needs pyarrow: {cure('records')}") from error
    kinds = {
        "number": pyarrow.int64(),
        **dict.fromkeys(("score", "p_value", "threshold"), pyarrow.float64()),
        **dict.fromkeys(("is_anomalous", "is_sampled"), pyarrow.bool_()),
    }
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in COLUMNS])
    count = 0
    with _in_place_of(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for rows in _rows(reviews):
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
            count += len(rows)
    return count


def export_mvtec(reviews: Reviews, path: Path, camera: str | None) -> dict[str, int]:
    """Copy the marked frames into a data set in MVTec's layout; images in each folder.

    Good frames that were no part of the random sample go to ``train/good``, as does the earlier
    half of the sampled ones; the later half goes to ``test/good``, and defective ones to
    ``test/defective``. So the test set has good frames as the line shows them, and frames of one
    part, which come one after the other, are not on both sides.

    Args:
        reviews: of the records.
        path: of the new folder.
        camera: whose frames; None where the records have one camera.

    Raises:
        InputError: no such camera, several of them, no good frame, or ``path`` is there already.
        OSError: it cannot be written; nothing is left then.
    """
    marked = reviews.marked(camera)
    cameras = sorted({entry.camera for entry in marked})
    if len(cameras) > 1:
        raise InputError(
            f"the marked frames are of {', '.join(cameras)}: one data set shows one scene, choose "
            "with --camera NAME"
        )
    good = [entry for entry in marked if entry.label == "good"]
    if not good:
        raise InputError(
            f"no frame{f' of {camera}' if camera else ''} is marked good: review some first"
        )
    if path.exists():
        raise InputError(f"{path} is there already: expected a new folder")
    sampled = [entry for entry in good if entry.is_sampled]
    held_out = {entry.id for entry in sampled[(len(sampled) + 1) // 2 :]}
    counts = {"train/good": 0, "test/good": 0, "test/defective": 0}
    with _in_place_of(path) as temporary:
        temporary.mkdir(parents=True)
        for entry in marked:
            kind = "test/defective" if entry.label == "defective" else "train/good"
            kind = "test/good" if entry.id in held_out else kind
            counts[kind] += 1
            folder = temporary / kind
            folder.mkdir(parents=True, exist_ok=True)
            assert entry.frame is not None  # marked frames are not pruned
            # Encoded anew: what edgead saves by itself has a mark, and is not learnt from.
            (folder / f"{entry.id}.png").write_bytes(encode_png(read_image(entry.frame)))
    return counts


def _rows(reviews: Reviews) -> Iterator[list[dict[str, Any]]]:
    """All verdicts as rows, AT_ONCE at a time, in the order of recording."""
    after = 0
    while entries := reviews.after(after, AT_ONCE):
        after = entries[-1].number
        yield [_row(entry, reviews.folder) for entry in entries]


def _row(entry: Entry, folder: Path) -> dict[str, Any]:
    row = {name: getattr(entry, name) for name in COLUMNS}
    for key in ("frame", "heatmap"):
        row[key] = None if row[key] is None else row[key].relative_to(folder).as_posix()
    return row


@contextmanager
def _in_place_of(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, which takes its place when all went well."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()
        raise
