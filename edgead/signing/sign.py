"""Sign a bundle: ``signatures.json`` beside its manifest."""

from __future__ import annotations

import json
import time

from edgead import _cpu
from edgead.bundle.storage import Bundle, with_signatures
from edgead.errors import InputError
from edgead.signing.ed25519 import PrivateKey

MOST_SIGNATURES = 8
"""Of a bundle; readers refuse more (``csrc/bundle``)."""


def default_counter() -> int:
    """Minutes since 1970: it grows by itself, on a machine whose clock is right."""
    return int(time.time() // 60)


def sign(
    bundle: Bundle, key: PrivateKey, counter: int | None = None, *, again: bool = False
) -> Bundle:
    """Sign the manifest of ``bundle``, and with it every file; nothing else of it changes.

    Args:
        bundle: an opened one.
        key: signs.
        counter: 0 to 2147483647, higher than that of the bundle before: devices go back to no
            lower one. None: that of the signatures which are there, else ``default_counter``.
        again: leave out the signatures which are there.

    Returns:
        The bundle, opened anew.

    Raises:
        InputError: a counter out of its range, or another than that of the signatures which are
            there; a key that has signed already; as many signatures as there may be.
        BundleError: the bundle cannot be written, or its signatures are damaged.
    """
    if counter is not None and not 0 <= counter <= _cpu.MOST_COUNTER:
        raise InputError(f"counter {counter}: expected 0 to {_cpu.MOST_COUNTER}")
    before = None if again else bundle.read_signatures()
    found, kept = (None, {}) if before is None else _cpu.read_signatures(before)
    hint = "--again signs it anew, without the signatures that are there"
    if key.public in kept:
        raise InputError(f"bundle {bundle.path} is signed by {key.public} already; {hint}")
    if len(kept) >= MOST_SIGNATURES:
        raise InputError(
            f"bundle {bundle.path} has {len(kept)} signatures, and no bundle has more; {hint}"
        )
    if found is not None and counter not in (None, found):
        raise InputError(
            f"bundle {bundle.path} is signed with counter {found}, not {counter}, and all "
            f"signatures of a bundle have one counter; {hint}"
        )
    if counter is None:
        counter = default_counter() if found is None else found
    signatures = {**kept, key.public: key.sign(_cpu.signed_text(bundle.sha256, counter))}
    rows = [{"key": name, "signature": data.hex()} for name, data in signatures.items()]
    text = json.dumps({"counter": counter, "signatures": rows}, indent=1) + "\n"
    return with_signatures(bundle, text.encode())
