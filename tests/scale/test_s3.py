"""A data set in S3, of a server on this machine (moto): the rows are those of a folder."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pyarrow import fs, parquet
from triton_server import free_port

from edgead.errors import InputError
from edgead.images import encode_png
from edgead.scale import score_dataset

pytestmark = pytest.mark.scale
N = 9


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """HOST:PORT of an S3 server that begins empty."""
    port = free_port()
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def bucket(server, monkeypatch) -> fs.S3FileSystem:
    """A client of the server, with the bucket ``plant``."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = fs.S3FileSystem(endpoint_override=server, scheme="http", allow_bucket_creation=True)
    latest = time.monotonic() + 60
    while True:
        try:
            client.create_dir("plant")
            return client
        except OSError:
            if time.monotonic() > latest:
                raise
            time.sleep(0.2)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """N images, one file that is none, one of another kind."""
    folder = tmp_path / "parts"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(N):
        frame = rng.integers(0, 256, (48, 64, 3), np.uint8)
        (folder / f"{number}.png").write_bytes(encode_png(frame))
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("x")
    return folder


def url(server: str, path: str) -> str:
    return f"s3://{path}?endpoint_override={server}&scheme=http"


def rows_of(place: str | Path, files: fs.FileSystem | None = None) -> list[dict[str, object]]:
    found = parquet.read_table(str(place), filesystem=files).to_pylist()
    return sorted(found, key=lambda row: row["path"])


def test_rows_of_s3_are_those_of_a_folder(bundle_dir, images, tmp_path, server, bucket):
    for path in images.iterdir():
        with bucket.open_output_stream(f"plant/parts/{path.name}") as stream:
            stream.write(path.read_bytes())
    where = {"images": url(server, "plant/parts"), "out": url(server, "plant/rows")}
    found = score_dataset(bundle_dir, **where, device="cpu", part=4)
    assert (found.images, found.failed, found.left_out) == (N + 1, 1, {".txt": 1})
    score_dataset(bundle_dir, images, tmp_path / "rows", device="cpu")
    assert rows_of("plant/rows", bucket) == rows_of(tmp_path / "rows")
    assert score_dataset(bundle_dir, **where, device="cpu").scored == 0, "all rows are there"
    names = [one.path for one in bucket.get_file_info(fs.FileSelector("plant/rows"))]
    assert not [name for name in names if name.endswith(".tmp")]


def test_a_bucket_that_is_not_there_is_named(bundle_dir, server, bucket):
    with pytest.raises(InputError, match=r"s3://nobody/parts.*cannot be listed.*NO_SUCH_BUCKET"):
        score_dataset(bundle_dir, url(server, "nobody/parts"), url(server, "plant/none"))


def test_a_server_that_does_not_answer_is_named(bundle_dir, server, bucket):
    away = url(f"127.0.0.1:{free_port()}", "plant/parts")
    with pytest.raises(InputError, match=r"s3://plant/parts.*cannot be listed.*connect"):
        score_dataset(bundle_dir, away, url(server, "plant/none"))
