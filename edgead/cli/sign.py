"""Sign a bundle, so that devices can tell who made it; or make a key to sign with.

The signature (Ed25519) is over the manifest, which holds the digests of all other files, and over
a counter that grows from bundle to bundle, so that a device can refuse to go back. A second key
signs beside the first one. `edgead verify --trust KEYS` and Detector(trusted_keys=) hold a bundle
against a list of keys; docs/signing.md has the form of that list. Needs the extra sign.
"""

from __future__ import annotations

import argparse
import shlex

from edgead.bundle.storage import check_outside, open_bundle
from edgead.cli.console import Console, print_json
from edgead.cli.options import add, file_path, target_file, whole, word
from edgead.errors import InputError
from edgead.files import write_file
from edgead.signing.ed25519 import new_key, read_key
from edgead.signing.sign import sign
from edgead.signing.trust import signatures_of

EXAMPLE = """\
  edgead sign --new-key line3.key --name "line 3"     writes line3.key and line3.key.pub
  edgead sign cell.edgead --key line3.key
  edgead verify cell.edgead --trust line3.key.pub"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edgead sign``."""
    add(parser, "engine NAME.edgead", "the bundle", nargs="?")
    add(parser, "--key FILE", "the private key that signs; only its owner may read it")
    add(
        parser,
        "--counter N",
        "not lower than that of the bundle before (default: minutes since 1970)",
        whole,
    )
    add(parser, "--again", "leave out the signatures that are there")
    add(parser, "--new-key FILE", "make a key: FILE, and FILE.pub, a list that trusts it")
    add(parser, "--name TEXT", "with --new-key: whose it is, for people", word)
    add(parser, "--json", "one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Sign, or make a key."""
    console = Console(json_on_stdout=args.json)
    if args.new_key is not None:
        if args.engine is not None or args.key is not None:
            raise InputError("--new-key makes a key and signs nothing: give no bundle, nor --key")
        return _make(args, console)
    if args.engine is None or args.key is None:
        raise InputError("give a bundle and --key FILE; edgead sign --new-key FILE makes a key")
    if args.name is not None:
        raise InputError("--name is of --new-key")
    key = read_key(args.key)
    bundle = open_bundle(args.engine)
    bundle = sign(bundle, key, args.counter, again=args.again)
    counter, keys = signatures_of(bundle)
    if args.json:
        print_json({"path": str(bundle.path), "bundle_sha256": bundle.sha256, "counter": counter,
                    "signed_by": keys})  # fmt: skip
        return 0
    console.say(f"signed {bundle.path} by {key.public}, counter {counter}")
    if len(keys) > 1:
        console.say(f"       {len(keys)} keys have signed it")
    console.next(
        f"edgead verify {shlex.quote(str(args.engine))} --trust {shlex.quote(args.key)}.pub"
    )
    return 0


def _make(args: argparse.Namespace, console: Console) -> int:
    """A key pair: nothing is left of it where one of the files cannot be written."""
    path, public = file_path(args.new_key), file_path(f"{args.new_key}.pub")
    for file in (path, public):
        check_outside(file, "--new-key")
        target_file(str(file), "--new-key")
    if public.exists():
        raise InputError(f"{public} exists: a key is not written over; choose another name")
    name = args.name or path.stem
    if "\n" in name or "\r" in name:
        raise InputError("--name is of one line")
    key = new_key(path)
    try:
        write_file(public, f"trust {key.public} {name}\n".encode())
    except BaseException:
        path.unlink()
        raise
    if args.json:
        print_json({"key": str(path), "trusted_keys": str(public), "public": key.public})
        return 0
    console.say(f"made   {path}: keep it where you sign, and a copy in a safe place")
    console.say(f"made   {public}: a list that trusts it, for devices")
    console.next(f"edgead sign NAME.edgead --key {shlex.quote(str(path))}")
    return 0
