"""What a watched folder holds beside frames is counted and said."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from edgead.live.source import parse_source
from edgead.live.sources.folder import FolderReader


@pytest.mark.parametrize("kind", ["TIFF", "WebP", "PNG"])
def test_pages_after_the_first_are_named(tmp_path, frames, script, kind):
    pages = [Image.fromarray(frame[:, :, ::-1].copy()) for frame in frames[:3]]
    data, said = io.BytesIO(), []
    pages[0].save(data, kind, save_all=True, append_images=pages[1:])
    reader = FolderReader(parse_source(str(tmp_path)), lambda *words: said.append(words))
    reader.open()
    said.clear()
    (tmp_path / f"part.{kind.lower()}").write_bytes(data.getvalue())
    assert reader.read(script(None, None, None)).image.shape == (70, 90, 3)
    (words,) = said
    assert words[0] == "note" and words[1].endswith(" has 3 pages: the first was read")


def test_folders_and_links_to_nothing_are_counted_as_what_they_are(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "README").touch()
    for number in range(3):
        (tmp_path / f"{number}.png").symlink_to("nowhere")
    reader = FolderReader(parse_source(str(tmp_path)))
    assert reader.open().endswith(
        "5 entries left out: 3 dangling links, 1 folder (not searched), 1 without suffix"
    )
