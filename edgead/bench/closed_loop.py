"""Closed loop: the next frame comes when the last one is done; several detectors in turns."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Protocol

from numpy.typing import NDArray

Frame = NDArray[Any]
Series = dict[str, "array[float]"]
"""Milliseconds per name, one sample per call: "end_to_end" and the stages of ``timings_ms``."""

END_TO_END = "end_to_end"


class Timed(Protocol):
    """A score with its times, as a Result."""

    @property
    def score(self) -> float:
        """The score."""

    @property
    def timings_ms(self) -> Mapping[str, float]:
        """Milliseconds by stage; also ``end_to_end`` where the call measures itself."""


Call = Callable[[Frame], Timed]
"""Scores a frame."""


def closed_loop(
    calls: Sequence[Call],
    frames: Sequence[Frame],
    goes_on: Callable[[int], bool],
    *,
    clock: Callable[[], float] = perf_counter,
) -> list[Series]:
    """Let every call score the same frame in each turn, as long as ``goes_on(turn)``.

    Args:
        calls: what is measured
        frames: taken in order, again and again
        goes_on: asked before each turn, from 0
        clock: gives seconds

    Returns:
        A series for each of ``calls``, sample i of all from turn i.
    """
    found: list[Series] = [{END_TO_END: array("d")} for _ in calls]
    turn = 0
    while goes_on(turn):
        frame = frames[turn % len(frames)]
        # Who goes first changes with the turn: the others find warmer caches.
        for place in range(len(calls)):
            index = (turn + place) % len(calls)
            started = clock()
            result = calls[index](frame)
            whole_ms = 1e3 * (clock() - started)
            for stage, spent_ms in {END_TO_END: whole_ms, **result.timings_ms}.items():
                found[index].setdefault(stage, array("d")).append(spent_ms)
        turn += 1
    return found


def scopes(series: Series) -> dict[str, list[float]]:
    """Samples by scope: "network"; "copies" where an engine copies; "end_to_end".

    network     the graph alone, from the image in the engine's memory to the feature pairs
    copies      the graph and the copies to the device and back
    end_to_end  from the frame in the caller's memory to the Result
    """
    found = {"network": list(series["engine"])}
    if "copy" in series:
        found["copies"] = [a + b for a, b in zip(series["engine"], series["copy"], strict=True)]
    return {**found, END_TO_END: list(series[END_TO_END])}
