"""A row for each image, the same wherever it is scored, and the Parquet files that hold them."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from edgead.errors import InputError, MissingExtraError, printable
from edgead.files import os_sentence
from edgead.images import open_image
from edgead.installation import cure
from edgead.result import Result
from edgead.scale.places import Place

READERS = 8  # files that are read at once, while others are scored
SUFFIX = ".parquet"


class Scores(Protocol):
    """What is used of a Detector."""

    @property
    def bit_depth(self) -> int | None:
        """Of uint16 frames."""

    def score(self, frame: Any) -> Result:
        """The verdict on a frame."""


@dataclass(frozen=True)
class Tally:
    """What became of some images.

    Args:
        images: rows that were written.
        failed: of them, those with an error.
        anomalous: of them.
        worst: highest score, and whose; None where none was scored.
    """

    images: int = 0
    failed: int = 0
    anomalous: int = 0
    worst: tuple[float, str] | None = None

    def __add__(self, other: Tally) -> Tally:
        ends = [one for one in (self.worst, other.worst) if one is not None]
        return Tally(
            self.images + other.images,
            self.failed + other.failed,
            self.anomalous + other.anomalous,
            max(ends, default=None),
        )


def pyarrow() -> Any:
    """pyarrow with its Parquet. Raises: MissingExtraError where it is not installed."""
    try:
        import pyarrow as found
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"rows in Parquet need {error.name}: {cure('scale')}") from error
    return found


def schema() -> Any:
    """The columns: an image has a score or an error."""
    arrow = pyarrow()
    whole, real = arrow.int32(), arrow.float64()
    region = [(name, whole) for name in ("x", "y", "width", "height", "area")]
    return arrow.schema(
        [
            ("path", arrow.string()),
            ("score", real),
            ("p_value", real),
            ("threshold", real),
            ("is_anomalous", arrow.bool_()),
            ("regions", arrow.list_(arrow.struct([*region, ("peak", real)]))),
            ("height", whole),
            ("width", whole),
            ("error", arrow.string()),
        ]
    )


def scored_rows(detector: Scores, source: Place, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row for each image, in the order given; at most ``2 * READERS`` are in memory."""
    waiting: deque[tuple[str, Future[bytes]]] = deque()
    following = iter(names)
    with ThreadPoolExecutor(READERS, "read") as pool:
        try:
            while True:
                while len(waiting) < 2 * READERS and (name := next(following, None)) is not None:
                    waiting.append((name, pool.submit(source.read, name)))
                if not waiting:
                    return
                name, data = waiting.popleft()
                yield _row(detector, name, data)
        finally:
            for _, data in waiting:
                data.cancel()


def _row(detector: Scores, name: str, data: Future[bytes]) -> dict[str, Any]:
    """Of one image. Raises: DeviceError, which is none of the image's."""
    try:
        content = data.result()
    except OSError as error:
        return {"path": name, "error": f"cannot read image {name}: {error.strerror or error}"}
    try:
        frame = open_image(name, bit_depth=detector.bit_depth, data=content).frame
        result = detector.score(frame)
    except InputError as error:
        return {"path": name, "error": str(error)}
    return {
        "path": name,
        "score": float(result.score),
        "p_value": float(result.p_value),
        "threshold": float(result.threshold),
        "is_anomalous": bool(result.is_anomalous),
        "regions": [asdict(region) for region in result.regions],
        "height": frame.shape[0],
        "width": frame.shape[1],
    }


def score_part(detector: Scores, source: Place, out: Place, names: Sequence[str]) -> Tally:
    """Score some images and write their rows as one file, whose name follows from theirs.

    Done twice, as after the death of a process, it writes the same file again.

    Raises:
        DeviceError: the device fails; nothing is written.
        InputError: the file cannot be written.
    """
    rows = list(scored_rows(detector, source, names))
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()
    _write(out, f"part-{digest[:16]}{SUFFIX}", pyarrow().Table.from_pylist(rows, schema=schema()))
    scored = [row for row in rows if "error" not in row]
    ends = [(row["score"], row["path"]) for row in scored]
    bad = sum(row["is_anomalous"] for row in scored)
    return Tally(len(rows), len(rows) - len(scored), bad, max(ends, default=None))


def read_done(out: Place, *, forget_errors: bool) -> tuple[set[str], Tally]:
    """Images that have a row already; a second row of an image is taken away.

    An actor whose driver was killed may end its part while the next driver, which knows nothing of
    it, has the same images scored in other parts.

    Args:
        out: where the rows are.
        forget_errors: take the rows with an error away, to try those images again.

    Returns:
        Their names, and the tally of their rows.

    Raises:
        InputError: a file that is not one of rows.
    """
    arrow, tally, done = pyarrow(), Tally(), set[str]()
    for part in out.listed(SUFFIX):
        try:
            table = arrow.parquet.read_table(arrow.BufferReader(out.read(part)))
            rows = zip(table["path"].to_pylist(), table["error"].to_pylist(), strict=True)
            kept = [name not in done and not (error and forget_errors) for name, error in rows]
            if not all(kept):
                table = table.filter(arrow.array(kept))
                _write(out, part, table)
            failed = len(table) - table["error"].null_count
            names = table["path"].to_pylist()
            bad = arrow.compute.sum(table["is_anomalous"]).as_py() or 0
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{printable(out.given)}/{part} cannot be read as rows of edgead score: "
                f"{printable(error)}; remove it, and its images are scored again"
            ) from error
        done.update(names)
        tally += Tally(len(names), failed, bad)
    return done, tally


def _write(out: Place, name: str, table: Any) -> None:
    stream = io.BytesIO()
    pyarrow().parquet.write_table(table, stream)
    try:
        out.write(name, stream.getvalue())
    except OSError as error:
        raise InputError(f"the rows cannot be written: {os_sentence(error)}") from error
