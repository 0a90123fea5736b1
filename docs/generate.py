"""The reference of the commands, from the parsers that --help prints: docs/command-line.md.

python docs/generate.py          write the section between the markers
python docs/generate.py --check  exit with 1 where the page is not what the parsers say
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from edgead.bench import command as bench
from edgead.cli.main import COMMANDS
from edgead.files import write_file

PAGE = Path(__file__).with_name("command-line.md")
BEGIN, END = "<!-- commands:begin -->\n", "<!-- commands:end -->\n"


def main() -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    old = PAGE.read_text(encoding="utf-8")
    new = page(old)
    if check:
        return int(old != new)
    write_file(PAGE, new.encode())
    return 0


def page(old: str) -> str:
    """``old`` with the commands between the markers made anew."""
    before, rest = old.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + "\n" + "\n".join(_commands()) + "\n" + END + after


def _commands() -> Iterator[str]:
    """A section for each command, then edgead-bench."""
    for name, (module_name, _) in COMMANDS.items():
        module = importlib.import_module(module_name)
        parser = argparse.ArgumentParser(
            prog=f"edgead {name}", description=module.__doc__, add_help=False
        )
        module.add_arguments(parser)
        yield from _section(parser, getattr(module, "EXAMPLE", ""))
    parser = bench._parser()
    yield from _section(parser, (parser.epilog or "").removeprefix("example:\n"))


def _section(parser: argparse.ArgumentParser, example: str) -> Iterator[str]:
    yield f"## {parser.prog}\n"
    description = (parser.description or "").strip().removeprefix(f"{parser.prog}: ")
    yield f"{_escape(description[:1].upper() + description[1:])}\n"
    yield f"```text\n{_usage(parser)}\n```\n"
    for title, actions in _groups(parser):
        rows = [_row(parser, action) for action in actions]
        yield f"| {title} | meaning |\n|---|---|\n{''.join(rows)}"
    if example:
        yield f"```sh\n{_example(example)}\n```\n"


def _groups(parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[argparse.Action]]]:
    """Arguments and options together, then the groups that have a title of their own."""
    first, options, *named = parser._action_groups
    groups = [("argument", first._group_actions + options._group_actions)]
    groups += [(str(group.title), group._group_actions) for group in named]
    for title, actions in groups:
        if shown := [action for action in actions if _shown(action)]:
            yield title, shown


def _shown(action: argparse.Action) -> bool:
    return action.help != argparse.SUPPRESS and "--help" not in action.option_strings


def _usage(parser: argparse.ArgumentParser) -> str:
    """The command with everything that it requires."""
    words = [parser.prog]
    options = False
    for action in filter(_shown, parser._actions):
        if not action.option_strings:
            many = "…" if action.nargs in ("+", "*") else ""
            name = f"{_metavar(action)}{many}"
            words.append(f"[{name}]" if action.nargs in ("?", "*") else name)
        elif action.required:
            words.append(f"{action.option_strings[0]} {_metavar(action)}")
        else:
            options = True
    return " ".join([*words, *(["[options]"] if options else [])])


def _metavar(action: argparse.Action) -> str:
    """What stands for the value; empty for a flag."""
    if action.nargs == 0:
        return ""
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    if action.metavar is None and action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    name = action.metavar or action.dest.upper()
    return f"[{name}]" if action.nargs == "?" and action.option_strings else name


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    argument = f"{names} {_metavar(action)}".strip()
    if action.option_strings and action.nargs == "+":
        argument += "…"
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    required = " (required)" if action.option_strings and action.required else ""
    return f"| `{argument.replace('|', chr(92) + '|')}` | {_escape(text)}{required} |\n"


def _escape(text: str) -> str:
    """Help as Markdown: no table, HTML or emphasis by accident; pages become links."""
    text = re.sub(r"([|<>*_])", r"\\\1", text)
    return re.sub(r"\bdocs/(\w+\.md)", r"[\1](\1)", text)


def _example(text: str) -> str:
    """Commands, and what stands behind them after spaces as comments of the shell."""
    lines = []
    for line in text.strip().splitlines():
        command, *comment = re.split(r" {2,}", line.strip(), maxsplit=1)
        lines.append(f"{command}  # {comment[0]}" if comment else command)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
