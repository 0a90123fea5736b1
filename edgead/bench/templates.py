"""Pages of one file that need no network, from templates that escape whatever they are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edgead.errors import printable

BASE = Path(__file__).parent  # of base.html, which every page extends


def render(template: Path, *filters: Callable[..., object], **content: object) -> bytes:
    """The page that `template` makes of `content`.

    Args:
        template: a file that extends base.html
        filters: functions that it uses as filters, by their names
    Returns: UTF-8; what no reader sees of a name, such as bytes that are not UTF-8 or a mark that
        turns the direction of writing, becomes a visible escape.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, BASE]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        keep_trailing_newline=True,
        lstrip_blocks=True,
    )
    environment.filters |= {each.__name__: each for each in filters}
    page = environment.get_template(template.name).render(content)
    return page.encode("utf-8", "backslashreplace")


def _shown(value: object) -> object:
    """See ``printable``; what a template marked as safe is left as it is."""
    return printable(value) if type(value) is str else value
