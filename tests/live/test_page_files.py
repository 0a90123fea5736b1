"""The files that a browser loads: served as they are, naming no other server, and no others."""

from __future__ import annotations

import re

import pytest

from edgead.live.page.files import FILES, FOLDER


def test_the_page_asks_nobody_else(page):
    for name, (data, _) in FILES.items():
        text = data.decode()
        found = set(re.findall(r"https?://[^\"')\s]+", text))
        assert found <= {"http://www.w3.org/2000/svg", "https://github.com/leeoniya/uPlot"}, name
        assert re.search(r"<[^>]*\s(on[a-z]+|style)=", text) is None, name  # the policy forbids it


@pytest.mark.parametrize("name", sorted(FILES))
def test_each_file_of_the_page_is_served_with_its_kind(page, name):
    kinds = {"js": "text/javascript", "css": "text/css", "html": "text/html", "svg": "image/svg"}
    status, headers, data = page.ask(f"/static/{name}")
    assert status == 200 and data == (FOLDER / name).read_bytes()
    assert headers["Content-Type"].startswith(kinds[name.rpartition(".")[2]])


@pytest.mark.parametrize(
    "path",
    [
        "/page.html",
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/",
        "/../server.py",
        "/%2e%2e/server.py",
        "//etc/passwd",
        "/state/..",
        "*",
    ],
)
def test_no_file_is_served(page, path):
    assert page.ask(path)[::2] == (404, b"there is no such page\n")
