"""What the command and a running host say to each other over the control socket.

The frames and messages are those of the protocol between host and worker; the methods are
these. Parameters are msgpack maps, so that a later version may add a field.
"""

import os
import socket
from dataclasses import dataclass
from struct import Struct as Packed
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Raw, Struct

from plughost.config import Limits
from plughost_protocol import MAX_FRAME

__all__ = [
    "CONTROL_LIMITS",
    "HOST_ACTIVATE",
    "HOST_CALL",
    "HOST_CANARY",
    "HOST_COMMAND",
    "HOST_CONFIGURE",
    "HOST_HEALTH",
    "HOST_LIST",
    "HOST_SCHEMA",
    "HOST_TOOLS",
    "ActOnCanary",
    "ActivatePlugins",
    "CallTool",
    "CanaryInfo",
    "CanaryTerms",
    "CheckHealth",
    "CommandResult",
    "Configure",
    "GetSchema",
    "HealthInfo",
    "ListPlugins",
    "ListTools",
    "Peer",
    "PluginStatus",
    "RunCommand",
    "ToolInfo",
    "peer_of",
]

HOST_LIST: Final = "host.list"
"""All plugins: answers with a list of `PluginStatus`."""
HOST_TOOLS: Final = "host.tools"
"""The tools, of all plugins or of one: answers with a list of `ToolInfo`."""
HOST_CALL: Final = "host.call"
"""Call a tool: answers with its result, or with a stream where credit comes with the call."""
HOST_COMMAND: Final = "host.command"
"""Load, unload, reload, enable or disable plugins: answers with a list of `CommandResult`."""
HOST_ACTIVATE: Final = "host.activate"
"""Start the plugins that are there for a command: answers with a list of ids."""
HOST_CANARY: Final = "host.canary"
"""Look at a version on trial, promote it or roll it back: answers with a `PluginStatus`."""
HOST_HEALTH: Final = "host.health"
"""How well plugins do: answers with a list of `HealthInfo`."""

HOST_SCHEMA: Final = "host.config_schema"
"""What a plugin's configuration may be: answers with a JSON Schema."""
HOST_CONFIGURE: Final = "host.configure"
"""Give plugins new values: answers with what became of each, by plugin id."""

# What a worker sends in a full frame goes on in a frame of ours, with a few bytes around it.
CONTROL_LIMITS: Final = Limits(max_frame=MAX_FRAME + 64 * 1024)

_CREDENTIALS: Final = Packed("3i")  # struct ucred, unix(7)


class ListPlugins(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `host.list`."""


class ListTools(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `host.tools`."""

    plugin: Annotated[str, Meta(max_length=200)] = ""
    """One plugin's id, or nothing for all."""


class CallTool(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `host.call`."""

    tool: Annotated[str, Meta(min_length=1, max_length=200)]
    params: Raw
    timeout: Annotated[float, Meta(gt=0, le=86_400)] | None = None
    """Seconds of wall time; never more than the operator's limit."""


class CheckHealth(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `host.health`."""

    plugin: Annotated[str, Meta(max_length=200)] = ""
    """One plugin's id, or nothing for all."""


class HealthInfo(Struct, frozen=True):
    """What `plughost.Health` holds."""

    plugin: str
    status: str
    reasons: list[str]
    state: str
    error_rate: float
    memory: float
    details: dict[str, Any]


class CanaryTerms(Struct, frozen=True, forbid_unknown_fields=True):
    """What of `plughost.Canary` the command decides."""

    share: float
    calls: int
    least_calls: int
    seconds: float
    max_error_rate: float
    path: Annotated[str, Meta(max_length=4096)] | None = None


class ActOnCanary(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `host.canary`."""

    plugin: Annotated[str, Meta(min_length=1, max_length=200)]
    act: Literal["show", "promote", "roll_back"] = "show"
    deadline: Annotated[float, Meta(gt=0, le=86_400)] | None = None


class RunCommand(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `host.command`."""

    command: Literal["load", "unload", "reload", "enable", "disable"]
    plugins: Annotated[list[Annotated[str, Meta(max_length=4096)]], Meta(max_length=10_000)] | None
    """Ids, and for `load` folders, which have a slash in them; None for all that it fits."""
    cascade: bool = False
    deadline: Annotated[float, Meta(gt=0, le=86_400)] | None = None
    """Seconds for each of them."""
    canary: CanaryTerms | None = None
    """How a reload is tried out first."""


class ActivatePlugins(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `host.activate`."""

    command: Annotated[str, Meta(min_length=1, max_length=300)]
    deadline: Annotated[float, Meta(gt=0, le=86_400)] | None = None
    """Seconds for each of them."""


class CommandResult(Struct, frozen=True):
    """How a command on one plugin ended."""

    plugin: str
    """Its id, or the folder that held none."""
    state: str = ""
    """Its state afterwards."""
    version: str = ""
    code: str = ""
    """The code of the error; empty where it was done."""
    error: str = ""
    needed_by: tuple[str, ...] = ()
    """The plugins for whose sake it was not unloaded."""
    canary: str = ""
    """The version that is on trial beside that one."""
    type: str = ""
    """The error's, such as `UnknownPlugin`."""
    traceback: str = ""
    """The plugin's own, where its code raised."""

    @property
    def is_done(self) -> bool:
        return not self.code


class GetSchema(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `host.config_schema`."""

    plugin: Annotated[str, Meta(min_length=1, max_length=200)]


class Configure(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `host.configure`."""

    values: Raw
    """A map of values by plugin id."""
    replace: bool = False
    """Whether values that are not named are dropped."""


class CanaryInfo(Struct, frozen=True):
    """What `plughost.CanaryStatus` holds, in one level."""

    version: str
    share: float
    calls: int
    errors: int
    invalid: int
    """Calls whose parameters its schemas refused; in neither of the others."""
    old_calls: int
    """Of the version that runs, since the trial began, as the two below."""
    old_errors: int
    old_invalid: int
    elapsed: float
    """Seconds."""
    judged_after_calls: int
    judged_after: float
    """Seconds."""


class PluginStatus(Struct, frozen=True):
    """A plugin as `plughost list` shows it."""

    id: str
    """Of a folder that was refused, its name."""
    state: str
    """A plugin's state, or `unresponsive`, or `refused` for what was no plugin at all."""
    version: str = ""
    pid: int | None = None
    uptime: float = 0.0
    """Seconds since its worker was ready."""
    restarts: int = 0
    cpu: float = 0.0
    """Cores in use."""
    memory: int = 0
    """Bytes."""
    calls: int = 0
    errors: int = 0
    problem: str = ""
    """Why it does not run; of one that does, how its last worker ended."""
    reload_error: str = ""
    """Why the last reload failed, while what ran before goes on."""
    stderr: tuple[str, ...] = ()
    """The last lines that the dead worker wrote there."""
    stack: str = ""
    """The Python stacks of its threads, where they were taken."""
    degraded: tuple[str, ...] = ()
    """The layers of the sandbox that the operator has waived for it."""
    path: str = ""
    """Its folder, or its only file."""
    hides: tuple[str, ...] = ()
    """Plugins of the same id that were found later and do not run."""
    canary: CanaryInfo | None = None
    """A version that takes a share of the calls, on trial."""

    @property
    def is_running(self) -> bool:
        return self.state in ("active", "sleeping")

    @property
    def state_in_words(self) -> str:
        """For a table."""
        return f"{self.state}, degraded" if self.degraded else self.state


class ToolInfo(Struct, frozen=True):
    """What `plughost.Tool` holds, for those who need not import it: that takes 0.2 s."""

    name: str
    plugin: str
    description: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None
    idempotent: bool
    streams: bool
    model_name: str


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of a unix socket, as the kernel vouches for it."""

    pid: int
    uid: int

    @property
    def is_trusted(self) -> bool:
        """Whether it belongs to us or to root."""
        return self.uid in (0, os.geteuid())


def peer_of(connection: socket.socket) -> Peer:
    """Who is at the other end."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(data)
    return Peer(pid, uid)
