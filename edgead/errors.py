"""The errors of edgead: what was given, what was expected and the cure, in a sentence or two.

``exit_code`` is what the command line returns: 1 for the caller's mistake, 2 for the device's.
"""

from __future__ import annotations


class EdgeadError(Exception):
    """Base of every error that edgead raises on purpose."""

    exit_code = 1


class InputError(EdgeadError, ValueError):
    """An argument, frame or image file that cannot be used."""


class DataError(EdgeadError):
    """A data set on disk that cannot be used."""


class CalibrationError(EdgeadError, ValueError):
    """A false-reject rate that the calibration images cannot support."""


class BundleError(EdgeadError):
    """A bundle that is missing, incomplete, altered or made for a newer edgead."""


class SignatureError(BundleError):
    """A bundle that is not signed by a key that is trusted, or whose signature does not fit."""


class UpdateError(EdgeadError):
    """An update that is refused, or cannot be fetched; the old bundle serves."""


class ExportError(EdgeadError):
    """An exported graph that differs from the trained model, or could not be made."""


class TrainingError(EdgeadError):
    """A training run that cannot start, go on or be read."""


class MissingExtraError(EdgeadError):
    """A package that belongs to an extra that is not installed."""


class DeviceError(EdgeadError):
    """This machine cannot do what was asked."""

    exit_code = 2


class CancelledError(EdgeadError):
    """Work that was stopped before it was done, on request."""

    exit_code = 130


class DeviceLostError(DeviceError):
    """A device that failed while it worked: open it again."""


class QualificationError(DeviceError):
    """An engine whose golden frames come out different from what the bundle promises."""


class RolledBackError(DeviceError):
    """A bundle that served and was not healthy; the one before serves again."""


def printable(text: object) -> str:
    """Text for people, on one line: what would not be visible in print is escaped.

    A name of a file may hold a line break, a colour code of a terminal, a mark that turns the
    direction of writing, characters of no width, or bytes of another encoding; printed as it is,
    it could forge a line of a log, look like another name, or end the program that prints it.
    """
    plain = str(text)
    return plain if plain.isprintable() else "".join(map(_escaped, plain))


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def shortened(text: str, most: int = 300) -> str:
    """``text``, or its beginning and end where it is longer than ``most`` characters."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]} … {text[-half:]}"
