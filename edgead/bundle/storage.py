"""The bundle: a directory ``NAME.edgead`` of plain files, each with its digest in the manifest."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgead import _cpu
from edgead.bundle.manifest import Manifest
from edgead.errors import BundleError, InputError
from edgead.files import os_cure, replace_directory

MANIFEST = "manifest.json"
SIGNATURES: str = _cpu.SIGNATURES
"""The file that signs the manifest, which does not name it; see ``edgead.signing``."""
SUFFIX = ".edgead"
_EXPECTED = f"expected a directory NAME{SUFFIX} from edgead export or learn"
_TYPES = {"|b1", "|i1", "|u1", *(f"<{kind}{n}" for kind in "iu" for n in (2, 4, 8))}
_TYPES |= {"<f2", "<f4", "<f8"}
_MOST_BYTES = 2**31 - 1  # of one file
_AGAIN = "copy the bundle again or export it again"


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose every file had the digest that the manifest promises.

    Args:
        path: of the directory.
        manifest: what it says about itself.
        sha256: SHA-256 (hex) of ``manifest.json``; as that holds the digests of all other files, it
            names the bundle's whole content.
    """

    path: Path
    manifest: Manifest
    sha256: str
    _root: ClassVar[Path]  # an attribute of each, and not a field

    def __post_init__(self) -> None:
        # Where it is, whatever folder becomes the current one and wherever a link leads later;
        # messages name it as it was given.
        object.__setattr__(self, "_root", Path(os.path.realpath(self.path)))

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process it is opened again, and has to be the same one."""
        return _reopen, (str(self._root), self.sha256)

    def __deepcopy__(self, memo: object) -> Bundle:
        return self

    def path_of(self, name: str) -> Path:
        """Path of a file.

        Args:
            name: as in ``manifest.files``.

        Raises:
            BundleError: the manifest has no such file.
        """
        if name not in self.manifest.files:
            raise BundleError(f"bundle {self.path} has no file {name!r}")
        return self._root / name

    def read(self, name: str) -> bytes:
        """Content of a file, its digest checked again.

        Args:
            name: as in ``manifest.files``.

        Raises:
            BundleError: there is no such file, or it changed since the bundle was opened.
        """
        data = _read(self.path_of(name))
        _check_digest(self.path, name, data, self.manifest.files[name])
        return data

    def read_manifest(self) -> bytes:
        """The bytes of the manifest, whose digest is ``sha256``.

        Raises:
            BundleError: it changed since the bundle was opened.
        """
        data = _read(self._root / MANIFEST)
        _check_digest(self.path, MANIFEST, data, self.sha256)
        return data

    def read_signatures(self) -> bytes | None:
        """The bytes of ``signatures.json``, not checked; None for an unsigned bundle.

        Raises:
            BundleError: it cannot be read.
        """
        path = self._root / SIGNATURES
        return _read(path) if os.path.lexists(path) else None

    def read_array(self, name: str) -> NDArray[Any]:
        """The array in a file, of any shape and dtype.

        Args:
            name: as in ``manifest.files``; of what ``npy`` makes.

        Raises:
            BundleError: as ``read``, or the file is not an array of numbers.
        """
        data, problem, array = self.read(name), None, None
        try:
            array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        except (ValueError, MemoryError) as error:
            problem = error
        if array is None or array.dtype.str not in _TYPES:
            raise BundleError(
                f"bundle {self.path}: {name} is not a NumPy array of little-endian numbers, or it "
                f"is cut; {_AGAIN}"
            ) from problem
        return np.asarray(array)

    def read_map(self, name: str, size: tuple[int, int]) -> NDArray[np.float32]:
        """A golden frame's expected map, or what its score is pooled from: finite float32.

        Args:
            name: of a file.
            size: (height, width) that is expected.

        Raises:
            BundleError: as ``read_array``, and for another array.
        """
        return self.in_core().read_map(name, size)

    def in_core(self) -> _cpu.BundleFiles:
        """The same for ``csrc/runtime``, which reads through ``read``."""
        return _cpu.BundleFiles(os.fsencode(self.path), self.manifest.core, self.read)

    def __repr__(self) -> str:
        name, method = self.manifest.name, self.manifest.method
        return f"Bundle({name!r}, {method}, {self.path}, {self.sha256[:12]})"


@dataclass(frozen=True)
class Draft(Bundle):
    """A bundle in memory, for an engine to open before anything is written."""

    files: Mapping[str, bytes]

    def __reduce__(self) -> tuple[Any, ...]:
        return Draft, (self.path, self.manifest, self.sha256, dict(self.files))

    def read(self, name: str) -> bytes:
        """The content of the file ``name``."""
        return self.files[name]

    def read_signatures(self) -> None:
        """Nobody has signed it."""


def _reopen(path: str, sha256: str) -> Bundle:
    """The bundle that another process had opened at ``path``; BundleError when it is another."""
    bundle = open_bundle(path)
    if bundle.sha256 != sha256:
        raise BundleError(
            f"bundle {path} is no longer the one that was pickled (SHA-256 {bundle.sha256[:12]}…, "
            f"expected {sha256[:12]}…): open it anew with edgead.Detector or open_bundle"
        )
    return bundle


def open_bundle(path: str | bytes | os.PathLike[str]) -> Bundle:
    """Open a bundle and check every file in it against the manifest.

    Args:
        path: of the directory ``NAME.edgead``; it may be relative, whatever ``chdir`` follows.

    Returns:
        The bundle; nothing of it is kept open.

    Raises:
        BundleError: no such directory; a file missing, truncated, altered or added; a symbolic link
            or a name that leads out of the directory; a manifest that is damaged or of a newer
            schema.
    """
    try:
        root = Path(os.fsdecode(path))
    except TypeError:
        raise BundleError(f"the bundle is a {type(path).__name__}; {_EXPECTED}") from None
    if not root.is_dir():
        kind = "is a file" if root.exists() else "does not exist"
        home = "; ~ is resolved by os.path.expanduser" if str(root).startswith("~") else ""
        raise BundleError(f"bundle {root} {kind}; {_EXPECTED}{home}")
    if not (root / MANIFEST).is_file():
        raise BundleError(f"{root} is not a bundle: it has no {MANIFEST}; {_instead_of(root)}")
    place = Path(os.path.realpath(root))  # one bundle, also where the link changes meanwhile
    present = _list_files(place)
    data = _read(place / MANIFEST)
    try:
        manifest = Manifest.loads(data)
        manifest.core.check_names()
    except BundleError as error:
        raise BundleError(f"bundle {root}: {error}") from error
    for name in sorted(manifest.files):
        if name not in present:
            raise BundleError(f"bundle {root}: {name} is missing; {_AGAIN}")
        _check_digest(root, name, _read(place / name), manifest.files[name])
    for name in sorted(present - set(manifest.files) - {MANIFEST, SIGNATURES}):
        raise BundleError(
            f"bundle {root}: {name} is not in the manifest; remove it (nothing may be added)"
        )
    return Bundle(root, manifest, hashlib.sha256(data).hexdigest())


def _instead_of(root: Path) -> str:
    """What to give in place of a folder that is not a bundle."""
    if (root / "run.json").is_file():
        return f"it is a run of edgead train: edgead export {root} --out NAME{SUFFIX}"
    try:
        inside = sorted(p.name for p in root.iterdir() if (p / MANIFEST).is_file())
    except OSError:
        inside = []
    more = ", …" if len(inside) > 3 else ""
    return f"give a bundle in it: {', '.join(inside[:3])}{more}" if inside else _EXPECTED


def npy(array: NDArray[Any]) -> bytes:
    """An array as the content of a file, which ``Bundle.read_array`` reads."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def write_bundle(
    path: str | os.PathLike[str], manifest: Manifest, files: Mapping[str, bytes]
) -> Bundle:
    """Write a bundle to ``path`` in one step, in place of an older one, and open it.

    Whatever fails (no space, no permission, a killed process) leaves the old bundle whole; see
    ``edgead.files.replace_directory``.

    Args:
        path: of the directory ``NAME.edgead``.
        manifest: its ``files`` are computed here.
        files: relative name to content.

    Returns:
        The bundle as ``open_bundle`` finds it.

    Raises:
        BundleError: ``path`` is something else than a bundle, a file that the manifest names is not
            among ``files``, a name that leads out of the directory, or the file system refuses.
    """
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    whole = replace(manifest, files=digests)
    whole.core.check_names()
    return _put(Path(path), whole.dumps(), files)


def write_again(
    path: str | os.PathLike[str], manifest: bytes, files: Mapping[str, bytes]
) -> Bundle:
    """Write a bundle that was there before, byte by byte, as ``write_bundle`` writes.

    Args:
        path: of the directory ``NAME.edgead``.
        manifest: the bytes of its ``manifest.json``.
        files: relative name to content.

    Raises:
        BundleError: a file is not the one whose digest the manifest has, or as ``write_bundle``.
    """
    digests, root = Manifest.loads(manifest).files, Path(path)
    for name in sorted(digests.keys() | files.keys()):
        if name not in digests or name not in files:
            raise BundleError(f"bundle {root}: {name} is missing, or not in the manifest; {_AGAIN}")
        _check_digest(root, name, files[name], digests[name])
    return _put(root, manifest, files)


def with_signatures(bundle: Bundle, signatures: bytes) -> Bundle:
    """Write ``bundle`` again with other signatures, in one step, and open it.

    Args:
        bundle: an opened one.
        signatures: the bytes of ``signatures.json``.

    Raises:
        BundleError: a file changed since the bundle was opened, or as ``write_bundle``.
    """
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    return _put(bundle.path, bundle.read_manifest(), {**files, SIGNATURES: signatures})


def _put(root: Path, manifest: bytes, files: Mapping[str, bytes]) -> Bundle:
    """Write and open a bundle whose manifest and files fit each other."""
    if os.path.lexists(root) and not root.is_dir():
        raise BundleError(f"{root} is not a directory; choose another name for the bundle")
    try:
        if root.is_dir() and not (root / MANIFEST).is_file() and any(root.iterdir()):
            raise BundleError(f"{root} is a directory but no bundle; choose another name")
        replace_directory(root, {**files, MANIFEST: manifest})
    except OSError as error:
        old = "; the old bundle is unchanged" if os.path.isdir(root) else ""
        reason = error.strerror or str(error)
        cure = f": {found}" if (found := os_cure(error)) else ""
        raise BundleError(f"cannot write bundle {root}: {reason}{old}{cure}") from error
    return open_bundle(root)


def check_out(out: str | os.PathLike[str]) -> Path:
    """``out`` as a path, if a bundle can be written there; asked before the work, not after.

    Raises: BundleError: another ending than .edgead, something there that is not a bundle, a folder
    that cannot be written.
    """
    path = Path(out)
    if path.suffix != SUFFIX or path.name == SUFFIX:
        raise BundleError(f"--out {path}: a bundle is named NAME{SUFFIX}; give such a name")
    if path.is_dir():
        if not (path / MANIFEST).is_file() and any(path.iterdir()):
            raise BundleError(f"--out {path} is a directory and no bundle; choose another name")
    elif os.path.lexists(path):
        raise BundleError(f"--out {path} is a file; a bundle is a directory: choose another name")
    _check_writable(path.absolute().parent, f"--out {path}")
    return path


def _check_writable(folder: Path, what: str) -> None:
    """Refuse a folder that cannot be written to, or made. Raises: BundleError."""
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise BundleError(f"{what}: {folder} cannot be written to; choose another place")


def check_outside(out: str | os.PathLike[str], option: str) -> None:
    """Refuse a file or folder to be written, of ``option``, in a bundle, or where none can be.

    Raises: InputError; BundleError for a folder that cannot be written to.
    """
    path = Path(out).absolute()
    bundles = [x for x in (path, *path.parents) if x.suffix == SUFFIX]
    if path.suffix == SUFFIX or any(os.path.isfile(folder / MANIFEST) for folder in bundles):
        raise InputError(
            f"{option} {out} is inside a bundle, or named like one: a bundle with other files in "
            "it does not open any more; choose another place"
        )
    _check_writable(path if path.is_dir() else path.parent, f"{option} {out}")


def _list_files(root: Path) -> set[str]:
    """Relative names of all files under ``root``; refuses what is neither file nor directory."""

    def refuse(error: OSError) -> None:
        raise BundleError(f"bundle {root} cannot be read: {error.strerror}") from error

    names = set()
    for folder, folders, files in os.walk(root, onerror=refuse):
        for path in (Path(folder, name) for name in (*folders, *files)):
            name = path.relative_to(root).as_posix()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                kind = "a symbolic link" if path.is_symlink() else "no plain file"
                raise BundleError(f"bundle {root}: {name} is {kind}; expected plain files only")
            if path.is_file():
                names.add(name)
    return names


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > _MOST_BYTES:
                raise BundleError(f"cannot read {path}: it has more than 2 GiB; {_AGAIN}")
            return file.read()
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror or error}; {_AGAIN}") from error


def _check_digest(root: Path, name: str, data: bytes, expected: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if problem := _cpu.problem_of_digest(len(data), found, expected):
        raise BundleError(f"bundle {root}: {name} {problem}")
