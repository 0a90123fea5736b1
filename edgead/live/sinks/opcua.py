"""OPC UA server: the latest verdict of each camera, its counters and its health, as nodes.

Names are those of OPC 40100-1 (Machine Vision) where it has one for the thing; the nodes are of
edgead's own namespace, and the server does not claim to be a VisionSystem of that specification.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.common.node import Node
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager

from edgead.live.sinks.served import Served, Shown
from edgead.live.sinks.table import Table
from edgead.records.lines import to_json

PORT = 4840
NAMESPACE = "urn:edgead:line"
COMPLETED, FAILED = 1, 4
"""ResultState of OPC 40100-1."""
_TYPES: dict[str, tuple[ua.VariantType, Any]] = {
    "ResultManagement.ResultId": (ua.VariantType.String, ""),
    "ResultManagement.ResultState": (ua.VariantType.Int32, 0),
    "ResultManagement.CreationTime": (ua.VariantType.DateTime, datetime(1970, 1, 1)),
    "ResultManagement.IsPartial": (ua.VariantType.Boolean, False),
    "ResultManagement.IsSimulated": (ua.VariantType.Boolean, False),
    "ResultManagement.ResultContent": (ua.VariantType.String, ""),
    "ResultManagement.IsAnomalous": (ua.VariantType.Boolean, False),
    "ResultManagement.Score": (ua.VariantType.Double, 0.0),
    "ResultManagement.PValue": (ua.VariantType.Double, 0.0),
    "ResultManagement.Threshold": (ua.VariantType.Double, 0.0),
    "ResultManagement.LatencyMs": (ua.VariantType.Double, 0.0),
    "Counters.Verdicts": (ua.VariantType.UInt64, 0),
    "Counters.Anomalous": (ua.VariantType.UInt64, 0),
    "Counters.Errors": (ua.VariantType.UInt64, 0),
    "Health.Ok": (ua.VariantType.Boolean, True),
    "Health.Sentences": (ua.VariantType.String, ""),
}
"""Each variable of a camera, its type, and its value before the first verdict."""


class OPCUASink(Served):
    """An OPC UA server; see the module's docstring.

    Args:
        name: of the sink.
        host, port: where it listens.
        cameras: whose nodes are there from the start; those of others come with their first record.
        login: user and password that clients have to give; None: anybody may read.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        cameras: tuple[str, ...],
        login: tuple[str, str] | None,
    ) -> None:
        super().__init__(name, host, port)
        self._cameras, self._login = cameras, login
        self._server: Server | None = None
        self._nodes: dict[str, dict[str, Node]] = {}
        self._index = 0

    @classmethod
    def from_settings(
        cls, name: str, settings: Mapping[str, Any], folder: Path = Path()
    ) -> OPCUASink:
        """See ``Sink``."""
        table = Table(f"sink.{name}", settings, folder)
        host, port = table.text("host", "127.0.0.1"), table.whole("port", PORT, 1, 65535)
        cameras = table.names("cameras", ())
        user, password = table.optional("user"), table.secret("password")
        if (user is None) != (password is None):
            missing = "user" if user is None else "password_file"
            raise table.wrong(missing, "is missing: a login takes both, user and password")
        table.end()
        login = None if user is None or password is None else (user, password)
        return cls(name, host, port, cameras, login)

    async def begin(self) -> None:
        """Listen; see ``Served``."""
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # what counts is in ``state``
        server = Server(user_manager=_Login(self._login))
        await server.init()
        server.set_endpoint(f"opc.tcp://{_in_address(self._host)}:{self._port}/edgead/")
        server.set_server_name("edgead")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        if self._login is not None:
            server.set_identity_tokens([ua.UserNameIdentityToken])
        self._index = await server.register_namespace(NAMESPACE)
        await server.start()
        self._server = server
        for camera in self._cameras:
            await self._add(camera)

    async def show(self, camera: str, shown: Shown) -> None:
        """Write the camera's values; ``ResultId`` last, so who sees it sees the others too."""
        nodes = self._nodes.get(camera) or await self._add(camera)
        for name, value in values(shown).items():
            kind = _TYPES[name][0]
            await nodes[name].write_value(ua.DataValue(ua.Variant(value, kind)))

    async def end(self) -> None:
        """Listen no more; see ``Served``."""
        if self._server is not None:
            await self._server.stop()

    async def _add(self, camera: str) -> dict[str, Node]:
        """The nodes of a camera, ``edgead/CAMERA/FOLDER/NAME``, with ids of the same names."""
        assert self._server is not None
        place = self._server.nodes.objects
        parts: dict[str, Node] = {}
        identity = self._id("")
        if not self._nodes:
            await place.add_folder(identity, ua.QualifiedName("edgead", self._index))
        root = self._server.get_node(identity)
        top = await root.add_object(self._id(camera), ua.QualifiedName(camera, self._index))
        found: dict[str, Node] = {}
        for name, (kind, value) in _TYPES.items():
            folder, _, variable = name.partition(".")
            if folder not in parts:
                named = ua.QualifiedName(folder, self._index)
                parts[folder] = await top.add_object(self._id(f"{camera}.{folder}"), named)
            found[name] = await parts[folder].add_variable(
                self._id(f"{camera}.{name}"),
                ua.QualifiedName(variable, self._index),
                value,
                varianttype=kind,
            )
        self._nodes[camera] = found
        return found

    def _id(self, text: str) -> ua.NodeId:
        named = f"edgead.{text}".rstrip(".")
        return ua.NodeId(ua.String(named), ua.Int16(self._index))


def values(shown: Shown) -> dict[str, Any]:
    """Variable -> value, in the order in which they are written."""
    found: dict[str, Any] = {
        "Counters.Verdicts": shown.verdicts,
        "Counters.Anomalous": shown.anomalous,
        "Counters.Errors": shown.errors,
        "Health.Ok": not shown.health,
        "Health.Sentences": "\n".join(shown.health),
    }
    if (verdict := shown.verdict) is not None:
        found["ResultManagement.IsAnomalous"] = verdict["is_anomalous"]
        for name, key in (("Score", "score"), ("PValue", "p_value"), ("Threshold", "threshold")):
            found[f"ResultManagement.{name}"] = float(verdict[key])
        found["ResultManagement.LatencyMs"] = float(verdict["latency_ms"])
    if (record := shown.record) is not None:
        captured = datetime.fromisoformat(record["captured"].replace("Z", "+00:00"))
        found["ResultManagement.ResultState"] = FAILED if "error" in record else COMPLETED
        found["ResultManagement.CreationTime"] = captured.astimezone(timezone.utc)
        found["ResultManagement.ResultContent"] = to_json(record).decode()
        found["ResultManagement.ResultId"] = record["id"]
    return found


class _Login(UserManager):
    """Lets in who has the user's name and password, or anybody; nobody as administrator."""

    def __init__(self, login: tuple[str, str] | None) -> None:
        self._login = login

    def get_user(
        self,
        iserver: Any,
        username: str | None = None,
        password: Any = None,
        certificate: Any = None,
    ) -> User | None:
        if self._login is None:
            return User(role=UserRole.User)
        given = password.decode() if isinstance(password, bytes) else str(password)
        same = hmac.compare_digest(given.encode(), self._login[1].encode())
        return User(role=UserRole.User) if same and username == self._login[0] else None


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host
