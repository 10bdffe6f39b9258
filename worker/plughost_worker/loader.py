"""Finding the plugin in its entry file."""

import inspect
import linecache
import os
import sys
import traceback
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any, Final

from plughost_protocol import CodePlace
from plughost_sdk import Manifest, Plugin, PluginMistake

__all__ = [
    "LoadFailed",
    "load_code",
    "load_plugin",
    "one_line",
    "places",
    "plugin_traceback",
    "words",
]

_MAX_CAUSES: Final = 10
_MAX_FRAMES: Final = 100
_MAX_TEXT: Final = 20_000  # characters
_MAX_PLACES: Final = 50
_MAX_FILE: Final = 1000  # characters

_FORMS: Final = (
    "a module-level `plugin`, a `create_plugin(manifest)` (also as `default`), "
    "or one subclass of Plugin"
)


class LoadFailed(Exception):
    """Raised when a plugin cannot be imported or has no plugin in it."""


def load_plugin(root: str, main: str, manifest: Manifest) -> Plugin:
    """The plugin of an entry file. Whatever its module raises comes through."""
    path = os.path.join(root, main)
    name = os.path.splitext(os.path.basename(path))[0]
    # Its own folder comes first, so that `import helpers` finds the plugin's own module.
    for folder in dict.fromkeys((os.path.dirname(path), root)):
        sys.path.insert(0, folder)
    source = SourceFileLoader(name, path)
    spec = ModuleSpec(name, source, origin=path)
    spec.has_location = True  # gives the module its __file__
    module = module_from_spec(spec)
    sys.modules[name] = module
    source.exec_module(module)
    return _find(module, manifest, main)


def load_code(code: str, file: str, manifest: Manifest) -> Plugin:
    """The plugin in a text, which `file` names in tracebacks. Whatever it raises comes through."""
    name = manifest.id.replace("-", "_")
    if name in sys.modules or name in sys.stdlib_module_names:
        name = f"plugin_{name}"  # or an import would find it in the place of what it means
    # Without a time of change it is never looked for on a disk.
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    module = sys.modules[name] = ModuleType(name)
    exec(compile(code, file, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the plugin
    return _find(module, manifest, file)


def _find(module: ModuleType, manifest: Manifest, main: str) -> Plugin:
    found = getattr(module, "plugin", None)
    if isinstance(found, Plugin):
        return found
    for name in ("create_plugin", "default"):
        factory: Any = getattr(module, name, None)
        if factory is not None:
            made = factory if isinstance(factory, Plugin) else factory(manifest)
            if not isinstance(made, Plugin):
                raise LoadFailed(f"{name}() in {main} gave {type(made).__name__}, not a Plugin")
            return made
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Plugin)
        and value.__module__ == module.__name__
    ]
    if len(classes) == 1:
        return classes[0]()
    if classes:
        names = ", ".join(sorted(kind.__name__ for kind in classes))
        raise PluginMistake(f"{main} has several Plugin classes ({names}): name one `plugin`")
    raise PluginMistake(f"{main} has no plugin: it needs {_FORMS}")


def words(exc: BaseException) -> str:
    """What the exception says, or that it cannot say anything."""
    try:
        return str(exc)
    except BaseException as failure:  # noqa: BLE001 - the plugin's code, too
        return f"<no text: its __str__ raised {type(failure).__name__}>"


def one_line(exc: BaseException) -> str:
    """The exception, and the plugin's own line that it came from."""
    text = " ".join(words(exc)[:_MAX_TEXT].split())
    told = f"{type(exc).__name__}: {text}" if text else type(exc).__name__
    if isinstance(exc, SyntaxError) and exc.filename:
        return told
    frames = _plugin_frames(exc)
    if frames:
        told += f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})"
    return told


def plugin_traceback(exc: BaseException) -> str:
    """The traceback from the plugin's first line on, without the worker's own frames."""
    parts: list[str] = []
    cause: BaseException | None = exc
    while cause is not None and len(parts) < _MAX_CAUSES:  # causes may go round in a ring
        lines = ["Traceback (most recent call last):\n"]
        lines += traceback.format_list(_plugin_frames(cause)[-_MAX_FRAMES:])
        lines += traceback.format_exception_only(cause)
        parts.append("".join(lines).rstrip()[-_MAX_TEXT:])
        cause = cause.__cause__
    return "\n\nwhich caused:\n\n".join(reversed(parts))[-_MAX_TEXT:]


def places(exc: BaseException) -> list[CodePlace]:
    """The lines of the plugin that the exception came through; of a syntax error, its own."""
    frames = _plugin_frames(exc)[-_MAX_PLACES:]
    found = [_place(frame.filename, frame.lineno, *_columns(frame)) for frame in frames]
    if isinstance(exc, SyntaxError) and type(exc.filename) is str:  # the plugin may have set it
        same_line = type(exc.end_lineno) is type(exc.lineno) is int and exc.end_lineno == exc.lineno
        end = exc.end_offset if same_line else 0
        found.append(_place(exc.filename, exc.lineno, exc.offset, end))
    return found


def _place(file: str, line: object, column: object, end_column: object) -> CodePlace:
    def number(value: object) -> int:
        return value if type(value) is int and 0 < value < 2**31 else 0

    name = file[:_MAX_FILE].encode(errors="backslashreplace").decode()
    return CodePlace(name[:_MAX_FILE], number(line), number(column), number(end_column))


def _columns(frame: traceback.FrameSummary) -> tuple[int, int]:
    """Where in the line the fault is, in characters from 1: the compiler counts bytes."""
    if frame.colno is None or frame.lineno is None:
        return 0, 0
    line = linecache.getline(frame.filename, frame.lineno).encode(errors="replace")

    def character(offset: int) -> int:
        return len(line[:offset].decode(errors="replace")) + 1

    same_line = frame.end_lineno == frame.lineno and frame.end_colno is not None
    return character(frame.colno), character(frame.end_colno or 0) if same_line else 0


_OWN: Final = (os.path.dirname(__file__), "<frozen importlib")


def _plugin_frames(exc: BaseException) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(exc.__traceback__)
    return [frame for frame in frames if not frame.filename.startswith(_OWN)]
