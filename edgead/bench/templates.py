"""Pages of one file that need no network, from templates that escape whatever they are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

BASE = Path(__file__).parent  # of base.html, which every page extends


def render(template: Path, *filters: Callable[..., object], **content: object) -> bytes:
    """The page that `template` makes of `content`.

    Args:
        template: a file that extends base.html
        filters: functions that it uses as filters, by their names
    Returns: UTF-8; bytes of file names that are not UTF-8 become visible escapes.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, BASE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        lstrip_blocks=True,
    )
    environment.filters |= {each.__name__: each for each in filters}
    page = environment.get_template(template.name).render(content)
    return page.encode("utf-8", "backslashreplace")
