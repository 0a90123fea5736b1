"""Every block of the documentation is run, parsed or classified; what it shows comes out."""

from __future__ import annotations

import re

import doc_pages
import doc_parse
import doc_policy
import pytest
from doc_execution import Runner

USER_PAGES = doc_pages.user_pages()


@pytest.mark.parametrize("page", USER_PAGES)
def test_every_block_of_the_page_does_what_it_says(page, runner: Runner) -> None:
    for block in doc_pages.blocks(page):
        runner.run(block)


@pytest.mark.parametrize("page", USER_PAGES)
def test_every_command_in_the_text_exists_with_its_options(page) -> None:
    for code in doc_pages.inline_code(page):
        if re.match(r"edgead(-bench)? ", code):
            doc_parse.check_options(f"{page}: `{code}`", code)
        if target := re.match(r"make ([\w-]+)", code):
            assert doc_pages.has_target(target[1]), f"{page}: `{code}`"


@pytest.mark.parametrize("page", USER_PAGES)
def test_a_page_has_one_title_and_fits_on_a_few_screens(page) -> None:
    text = doc_pages.read(page)
    assert len(re.findall(r"(?m)^# ", doc_pages.prose(text))) == 1
    if page != "docs/command-line.md":  # generated
        limit = 200 if page == "docs/json.md" else 150
        assert len(text.splitlines()) <= limit, page


def test_no_entry_of_the_tables_is_left_over() -> None:
    commands = [
        (page, command.text.split("  #")[0].strip())
        for page in USER_PAGES
        for block in doc_pages.blocks(page)
        if block.kind in ("sh", "console") and not block.text.startswith("#!")
        for command in doc_pages.commands(block)
    ]
    for key in [*doc_policy.RUN_SMALL, *doc_policy.EXIT_CODES]:
        assert key in commands, key
    for where, what, _ in doc_policy.PARSED:
        assert any(re.match(where, page) and re.match(what, text) for page, text in commands), what
    for what, _ in doc_policy.TOOLS:
        assert any(re.match(what, text) for _, text in commands), what
    for page, text, _ in doc_policy.COMPILED:
        assert any(text in block.text for block in doc_pages.blocks(page)), page


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```\nx\n```", "is not classified"),
        ("```yaml\nx: 1\n```", "is not classified"),
        ("```sh\nrm -rf /\n```", "is not classified"),
        ("```sh\npip install edgead\n```", "is not classified"),
        ("```sh\nmake nothing\n```", "no target"),
        ("```sh\nedgead inspect missing.edgead\n```", "exit code 1"),
        ("```sh\nedgead scores disc.edgead frame.png\n```", "no command"),
        ("```sh\nedgead train redi photos --out runs/x --hours 1\n```", "--hours"),
        ("```console\n$ edgead inspect disc.edgead\nreads  disc.edgead\n```", "reads"),
        ('```json\n{"a": 1,}\n```', "Expecting|Illegal"),
        ('```sh\nedgead inspect disc.edgead --json\n```\n```json\n{"paths": 1}\n```', "paths"),
        ("```python\nimport edgead\nedgead.Detektor\n```", "Detektor"),
        ("```python\nassert 1 == 2, 'differs'\n```", "differs"),
    ],
)
def test_a_block_that_is_wrong_is_found(text, said, runner: Runner) -> None:
    with pytest.raises((AssertionError, ValueError, AttributeError), match=said):
        for block in doc_pages.blocks(
            "docs/train.md" if "--hours " in text else "planted.md", text
        ):
            runner.run(block)
