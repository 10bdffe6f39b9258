"""Names that nobody has."""

from collections.abc import Iterable
from difflib import get_close_matches

from plughost_protocol import ErrorCode

from .root import PlughostError

__all__ = ["UnknownPlugin", "UnknownService", "UnknownTool"]


class UnknownPlugin(PlughostError):
    """Raised when no plugin has this id."""

    code = ErrorCode.UNKNOWN_METHOD

    def __init__(self, plugin_id: str, known: Iterable[str]) -> None:
        super().__init__(f"there is no plugin {plugin_id!r}{_hint(plugin_id, known)}")
        self.plugin_id = plugin_id


class UnknownTool(PlughostError):
    """Raised when no plugin offers this tool. Not for one whose plugin does not run."""

    code = ErrorCode.UNKNOWN_METHOD

    def __init__(self, tool: str, known: Iterable[str]) -> None:
        super().__init__(f"there is no tool {tool!r}{_hint(tool, known)}")
        self.tool = tool


class UnknownService(PlughostError):
    """Raised when no plugin provides this service, or when it has no such `method`."""

    code = ErrorCode.UNKNOWN_METHOD

    def __init__(self, service: str, known: Iterable[str], method: str = "") -> None:
        what = f"service {service!r} has no method {method!r}" if method else ""
        hint = _hint(method or service, known)
        super().__init__(f"{what or f'there is no service {service!r}'}{hint}")
        self.service = service
        self.method = method


def _hint(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    if near := get_close_matches(name, names, n=1):
        return f"; did you mean {near[0]!r}?"
    return f"; there are: {', '.join(names[:10])}" if names else "; there are none"
