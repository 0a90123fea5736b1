"""Cases that the tests of Python and of the C library both read, from ``tests/corpus``.

``manifest.json`` has every entry that a manifest may have. ``manifests.json`` has changes of it, a
row for each: ``at``, keys and indices; what ``is`` there then, without which it is taken away; and
what is said of it, null where it is read. The sentences are those of the implementation in Python
that was there before both shared one. ``p_values.json`` was counted by hand. ``signatures.json``
has good and broken signatures; see ``signatures``.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus"


def manifests() -> list[tuple[dict[str, Any], str | None]]:
    """(manifest, what is said of it) for each row of ``manifests.json``."""
    whole = json.loads((CORPUS / "manifest.json").read_text(encoding="utf-8"))
    return [
        (_changed(whole, row), row["says"])
        for row in json.loads((CORPUS / "manifests.json").read_text(encoding="utf-8"))
    ]


def _changed(whole: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    manifest = copy.deepcopy(whole)
    place: Any = manifest
    *path, last = row["at"]
    for key in path:
        place = place[key]
    if "is" in row:
        place[last] = row["is"]
    else:
        del place[last]
    return manifest


def p_values() -> list[dict[str, Any]]:
    """The rows of ``p_values.json``: a score and its p-value, or a rate and what follows of it."""
    found: list[dict[str, Any]] = json.loads((CORPUS / "p_values.json").read_text(encoding="utf-8"))
    return found


@dataclass(frozen=True)
class SignatureCase:
    """A row of ``signatures.json``, made for one manifest.

    ``signatures``: of the bundle, None for none. ``keys``: the list. ``says``: the sentence, with
    KEYS for the list's path, None where it is trusted. ``of_keys``: of the list alone.
    """

    name: str
    signatures: bytes | None
    keys: str
    by: str | None
    counter: int
    says: str | None
    of_keys: bool


def signing_key(number: int) -> Any:
    """A private key of Ed25519; never one to sign with in earnest."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def public(number: int) -> str:
    """Its public key, as lists and bundles name it."""
    return f"ed25519:{signing_key(number).public_key().public_bytes_raw().hex()}"


def signatures(manifest_sha256: str) -> list[SignatureCase]:
    """The rows of ``signatures.json`` for the manifest with this digest.

    ``signed``: numbers of keys. What happens to the file then: ``then``, other values in it;
    ``flip``, a bit of that signature; ``as``, the key it names; ``shorten``, digits taken off;
    ``cut``, bytes left; ``text``, another one. What is signed is written here once more.
    """
    rows = json.loads((CORPUS / "signatures.json").read_text(encoding="utf-8"))
    return [_signature_case(row, manifest_sha256) for row in rows]


def _signature_case(row: dict[str, Any], digest: str) -> SignatureCase:
    counter = row.get("counter", 0)
    digest = "0" * 64 if row.get("manifest") == "other" else digest
    text = f"edgead bundle, signature 1\ncounter {counter}\nmanifest {digest}\n".encode()
    each = []
    for place, number in enumerate(row["signed"]):
        signature = bytearray(signing_key(number).sign(text))
        if row.get("flip") == place:
            signature[20] ^= 4
        digits = signature.hex()
        digits = digits[: len(digits) - row.get("shorten", 0)]
        each.append({"key": public(row.get("as", number)), "signature": digits})
    whole = json.dumps({"counter": counter, "signatures": each, **row.get("then", {})})
    data = row.get("text", whole).encode()[: row.get("cut")]
    keys = [re.sub(r"^(\s*\w+\s+)([0-9])(?=\s|$)", _named_key, line) for line in row["keys"]]
    says = row["says"]
    if says is not None:
        says = re.sub(r"<(\d)(?::(\d+))?>", lambda m: public(int(m[1]))[: int(m[2] or 99)], says)
    return SignatureCase(
        name=row["case"],
        signatures=data if row["signed"] else None,
        keys="\n".join(keys) + "\n",
        by=public(row["by"]) if "by" in row else None,
        counter=counter,
        says=says,
        of_keys=row.get("of_keys", False),
    )


def _named_key(found: re.Match[str]) -> str:
    return found[1] + public(int(found[2]))
