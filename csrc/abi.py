"""``make abi``: the table of what programs built with edgead.h rely on, in csrc/abi.txt.

Usage: abi.py LIBRARY [HEADER]. Prints sizes and offsets of structs, values of enums, functions and
the versions of their symbols. tests/library/test_abi.py holds the library against the table.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

CSRC = Path(__file__).resolve().parent
TABLE = CSRC / "abi.txt"
HEADER = CSRC / "include" / "edgead.h"


def _run(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def _fields(body: str) -> list[tuple[str, str]]:
    """(type, name) of the fields of a struct, in order."""
    found = []
    for declaration in filter(None, map(str.strip, body.split(";"))):
        kind, first, more = re.fullmatch(
            r"(.*?)(\w+)((?:,\s*\w+)*)", declaration, re.DOTALL
        ).groups()  # type: ignore[union-attr]
        names = [first, *re.findall(r"\w+", more)]
        found += [(" ".join(kind.split()), name) for name in names]
    return found


def _measured(header: Path, questions: list[str]) -> list[str]:
    """The values of whole numbers in C, which a program of the header's prints."""
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "abi.c", Path(folder) / "abi"
        lines = "".join(f'  printf("%lld\\n", (long long)({q}));\n' for q in questions)
        source.write_text(
            f'#include "{header.resolve()}"\n#include <stdio.h>\n'
            f"int main(void) {{\n{lines}  return 0;\n}}\n"
        )
        _run("cc", source, "-o", program)
        return _run(program).split()


def declared(header: Path) -> list[str]:
    """What the header says: enums, structs, types of functions and functions."""
    text = _run("cc", "-E", "-P", "-D__attribute__(x)=", header)
    structs = {
        name: _fields(body)
        for name, body in re.findall(r"typedef struct (edgead_\w+) \{(.*?)\} \1;", text, re.DOTALL)
    }
    enums = {
        name: re.findall(r"EDGEAD_\w+", body)
        for name, body in re.findall(r"typedef enum (edgead_\w+) \{(.*?)\} \1;", text, re.DOTALL)
    }
    questions = ["EDGEAD_API_VERSION"]
    for name, values in enums.items():
        questions += [f"sizeof({name})", *values]
    for name, fields in structs.items():
        questions += [f"sizeof({name})"]
        questions += [f"offsetof({name}, {field})" for _, field in fields]
    values = iter(_measured(header, questions))
    lines = [f"EDGEAD_API_VERSION {next(values)}"]
    for name, members in enums.items():
        lines += [f"enum {name}: {next(values)} bytes"]
        lines += [f"  {member} = {next(values)}" for member in members]
    for name, fields in structs.items():
        lines += [f"struct {name}: {next(values)} bytes"]
        lines += [f"  {name}.{field}: {kind}, at {next(values)}" for kind, field in fields]
    outside = re.sub(r"\{.*?\}", "", text, flags=re.DOTALL)
    statements = [" ".join(s.split()) for s in outside.split(";")]
    lines += sorted(s for s in statements if re.match(r"typedef [^(]*\(\*edgead_\w+\)", s))
    function = re.compile(r"(?!typedef|static|return)[\w *]*?\bedgead_\w+\(.*\)")
    return lines + sorted(f"function {s}" for s in statements if function.fullmatch(s))


def exported(library: Path) -> list[str]:
    """Which symbols the library has, with their versions, and what it is asked for by."""
    dynamic = _run("readelf", "-dW", library)
    name = re.search(r"SONAME.*\[(.*)\]", dynamic)
    listed = _run("nm", "-D", "--defined-only", library).splitlines()
    symbols = [line.split()[-1] for line in listed]
    lines = [f"soname {name[1] if name else 'none'}"]
    return lines + sorted(f"symbol {symbol}" for symbol in symbols if "@" in symbol)


def table(library: Path, header: Path = HEADER) -> str:
    """Everything, a line each."""
    first = "What programs built with edgead.h rely on, with 64-bit pointers; `make abi` writes it."
    return "\n".join([f"# {first}", *exported(library), *declared(header)]) + "\n"


def difference(kept: str, found: str) -> str:
    """What is to be done about a table that is not the one that is kept; empty where it is."""
    old, new = kept.splitlines(), found.splitlines()
    gone, come = [x for x in old if x not in new], [x for x in new if x not in old]
    if not gone and not come:
        return ""
    # A struct that begins with its size may grow: the fields that were there stay where they were.
    grows = {x.split(":")[0] for x in come if x.startswith("struct ")}
    grown = [x for x in gone if x.split(":")[0] in grows]
    sized = all(f"  {x.split()[1][:-1]}.struct_size: size_t, at 0" in old for x in grown)
    larger = all(
        int(y.split()[-2]) > int(x.split()[-2])
        for x in grown
        for y in come
        if x.split(":")[0] == y.split(":")[0]
    )
    version = [x for x in gone if x.startswith("EDGEAD_API_VERSION ")]
    breaks = len(gone) > len(grown) + len(version) or not sized or not larger
    changes = "\n".join([*(f"- {x}" for x in gone), *(f"+ {x}" for x in come)])
    if breaks:
        cure = (
            "Programs that were built before would break. If edgead was released with this table: "
            "raise SOVERSION in csrc/library.cmake and EDGEAD_1 in csrc/edgead.map, or leave what "
            "was there and add beside it. Then `make abi`."
        )
    else:
        cure = (
            "Programs that were built before still work. If edgead was released with this table: "
            "raise EDGEAD_API_VERSION in edgead.h and VERSION in csrc/library.cmake; SOVERSION "
            "stays. Then `make abi`."
        )
    return f"edgead.h or libedgead differs from csrc/abi.txt:\n{changes}\n{cure}"


if __name__ == "__main__":
    print(table(*map(Path, sys.argv[1:])), end="")
