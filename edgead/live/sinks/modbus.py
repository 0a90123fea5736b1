"""Modbus TCP: the latest verdict of each camera in coils and registers, as docs/sinks.md maps them.

The coils are discrete inputs too, and the holding registers input registers; nothing can be
written. All values that one request reads are of one verdict.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edgead.live.sinks.served import Served, Shown
from edgead.live.sinks.table import Table

PORT = 5020
REGISTERS, COILS = 32, 16
"""Of each camera."""
MOST_CAMERAS = 64
_READS_BITS, _READS_REGISTERS = (1, 2), (3, 4)  # function codes


class ModbusSink(Served):
    """A Modbus TCP server; see the module's docstring.

    Args:
        name: of the sink.
        host, port: where it listens.
        cameras: in the order of their blocks.
    """

    def __init__(self, name: str, host: str, port: int, cameras: tuple[str, ...]) -> None:
        super().__init__(name, host, port)
        self._cameras = cameras
        self._registers = [0] * (REGISTERS * len(cameras))
        self._coils = [False] * (COILS * len(cameras))
        self._server: ModbusTcpServer | None = None

    @classmethod
    def from_settings(
        cls, name: str, settings: Mapping[str, Any], folder: Path = Path()
    ) -> ModbusSink:
        """See ``Sink``."""
        table = Table(f"sink.{name}", settings, folder)
        host, port = table.text("host", "127.0.0.1"), table.whole("port", PORT, 1, 65535)
        cameras = table.names("cameras")
        if not 1 <= len(cameras) <= MOST_CAMERAS:
            expected = f"expected 1 to {MOST_CAMERAS}, whose order is that of the registers"
            raise table.wrong("cameras", f"names {len(cameras)}: {expected}")
        table.end()
        return cls(name, host, port, cameras)

    async def begin(self) -> None:
        """Listen; see ``Served``."""
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # what counts is in ``state``
        bits = [SimData(0, count=len(self._coils), values=False, datatype=DataType.BITS)]
        words = [SimData(0, count=len(self._registers), values=0, datatype=DataType.REGISTERS)]
        device = SimDevice(0, simdata=(bits, bits, words, words), action=self._answer)
        self._server = ModbusTcpServer(device, address=(self._host, self._port))
        await self._server.serve_forever(background=True)

    async def show(self, camera: str, shown: Shown) -> None:
        """Show a camera in its block; one that has none is not shown."""
        if camera in self._cameras:
            index = self._cameras.index(camera)
            bits = coils(shown)
            self._coils[index * COILS : (index + 1) * COILS] = bits
            words = registers(shown, bits)
            self._registers[index * REGISTERS : (index + 1) * REGISTERS] = words

    async def end(self) -> None:
        """Listen no more; see ``Served``."""
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]

    async def _answer(
        self,
        function: int,
        start: int,
        address: int,
        count: int,
        current: list[int],
        written: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """Bring pymodbus's registers up to date before a read; refuse what writes."""
        if written is not None or function not in (*_READS_BITS, *_READS_REGISTERS):
            return ExcCodes.ILLEGAL_FUNCTION
        current[:] = self._packed(len(current)) if function in _READS_BITS else self._registers
        return None

    def _packed(self, words: int) -> list[int]:
        bits = [*self._coils, *[False] * (16 * words - len(self._coils))]
        return [
            sum(bit << place for place, bit in enumerate(bits[16 * word : 16 * word + 16]))
            for word in range(words)
        ]


def coils(shown: Shown) -> list[bool]:
    """The coils of a camera: what is known, and whether the part, the camera and frame are good."""
    verdict, record = shown.verdict, shown.record
    found = [
        verdict is not None,
        verdict is not None and bool(verdict["is_anomalous"]),
        not shown.health,
        record is not None and "error" in record,
        bool((shown.verdicts + shown.errors) % 2),
    ]
    return [*found, *[False] * (COILS - len(found))]


def registers(shown: Shown, bits: list[bool]) -> list[int]:
    """The registers of a camera; numbers of 32 bits have the high word first."""
    record, verdict = shown.record or {}, shown.verdict or {}
    data = struct.pack(
        ">HHIIIIffffIH",
        (shown.verdicts + shown.errors) % 2**16,
        sum(bit << place for place, bit in enumerate(bits)),
        record.get("frame", 0) % 2**32,
        *(count % 2**32 for count in (shown.verdicts, shown.anomalous, shown.errors)),
        *(_float(verdict.get(key, 0.0)) for key in ("score", "p_value", "threshold")),
        _float(verdict.get("latency_ms", 0.0)),
        *_captured(record.get("captured")),
    )
    words = struct.unpack(f">{len(data) // 2}H", data)
    return [*words, *[0] * (REGISTERS - len(words))]


def _captured(text: str | None) -> tuple[int, int]:
    """Seconds since 1970 and milliseconds; zeros where the clock is outside of what fits."""
    if text is None:
        return 0, 0
    milliseconds = round(1000 * datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())
    return (milliseconds // 1000) % 2**32, milliseconds % 1000


def _float(value: float) -> float:
    """``value`` within what float32 holds."""
    return max(-3.4e38, min(3.4e38, value))
