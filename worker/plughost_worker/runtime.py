"""A worker's life: shake hands, load the plugin, serve its tools until the host hangs up."""

import asyncio
import faulthandler
import inspect
import io
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw

from plughost_protocol import (
    LOG_TOPIC,
    MAX_LOG_RECORD,
    PLUGIN_CONFIGURE,
    PLUGIN_DISABLE,
    PLUGIN_ENABLE,
    PLUGIN_HEALTH,
    PLUGIN_LOAD,
    PLUGIN_UNLOAD,
    TOOL_PREFIX,
    VERSIONS,
    Description,
    Hello,
    LoadPlugin,
    LogRecord,
    Notify,
    Welcome,
    __version__,
    decode_value,
    encode,
)
from plughost_protocol.launch import STACK_SIGNAL_OFFSET
from plughost_sdk import Manifest, Plugin, PluginAPI, Tool
from plughost_sdk.plugin import health_check

from .connection import Connection
from .dispatch import Dispatcher
from .loader import load_code, load_plugin

__all__ = ["Worker", "prepare_process", "run_worker"]


def prepare_process(stack_fd: int) -> None:
    """What all workers have in common, for the process that they are forked from.

    A worker writes the Python stacks of its threads to `stack_fd` at a signal, and when it crashes.
    """
    # faulthandler works in the signal handler itself, even while a C loop holds the GIL.
    faulthandler.enable(file=stack_fd)
    number = signal.SIGRTMIN + STACK_SIGNAL_OFFSET
    faulthandler.register(number, file=stack_fd, all_threads=True)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.clear()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    # What the plugin's folder holds is not the worker's to change.
    sys.dont_write_bytecode = True


def run_worker(read_fd: int, write_fd: int) -> None:
    """Serve one plugin over two pipes. Does not return: the process ends with the host's end."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    Worker(loop, read_fd, write_fd)
    # A plugin's sys.exit() in a callback stops the loop; the host decides when a worker ends.
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as exc:
            sys.stderr.write(f"{type(exc).__name__} outside of a call was ignored\n")


class Worker:
    """The plugin, its tools, and the methods by which the host drives its life."""

    def __init__(self, loop: asyncio.AbstractEventLoop, read_fd: int, write_fd: int) -> None:
        self._dispatcher = Dispatcher(loop, read_fd, write_fd, self._on_welcome)
        self._dispatcher.connection.send_now(
            Hello(*VERSIONS, f"Python {sys.version.split()[0]}", f"plughost-sdk {__version__}")
        )

    def close(self) -> None:
        """Wait until the plugin's blocking code has ended, and the threads that ran it."""
        self._dispatcher.close()

    def _on_welcome(self, welcome: Welcome) -> None:
        self._dispatcher.allow(welcome.limits)
        _forward_logging(self._dispatcher.connection, welcome.limits.log_level)
        self._dispatcher.methods[PLUGIN_LOAD] = lambda params: self._load(welcome, params)

    async def _load(self, welcome: Welcome, params: Raw) -> Description:
        manifest = msgspec.convert(welcome.manifest, Manifest)
        api = PluginAPI(self._dispatcher.outgoing, manifest, welcome.config)
        given = msgspec.msgpack.decode(params, type=LoadPlugin | None)
        if given is None:
            plugin = load_plugin(welcome.root, welcome.main, manifest)
        else:
            plugin = load_code(given.code, welcome.main, manifest)
        plugin._api = api  # noqa: SLF001 - the SDK's own other half
        await _call(plugin.on_load, api)
        await api._declare(plugin)  # noqa: SLF001
        api._loaded = True  # noqa: SLF001
        self._dispatcher.methods |= {
            PLUGIN_CONFIGURE: lambda params: _configure(plugin, api, params),
            PLUGIN_ENABLE: lambda _: _call(plugin.on_enable),
            PLUGIN_DISABLE: lambda _: _call(plugin.on_disable),
            PLUGIN_UNLOAD: lambda _: _call(plugin.on_unload),
        }
        if (health := health_check(plugin)) is not None:
            run = self._dispatcher.outgoing.run
            self._dispatcher.methods[PLUGIN_HEALTH] = lambda _: run(health)
        return Description(
            tools=[
                handler.spec
                for name, handler in self._dispatcher.handlers.items()
                if name.startswith(TOOL_PREFIX) and isinstance(handler, Tool)
            ]
        )


async def _configure(plugin: Plugin, api: PluginAPI, params: Raw) -> bool:
    """Give the plugin its new values; False if it cannot take any."""
    if getattr(plugin.on_configure, "__func__", None) is Plugin.on_configure:
        return False
    config = decode_value(params)
    api._configure(config)  # noqa: SLF001 - the SDK's own other half
    await _call(plugin.on_configure, config)
    return True


async def _call(method: Callable[..., Any], *args: Any) -> None:
    """Run a lifecycle method, which may be async or plain."""
    result = method(*args)
    if inspect.isawaitable(result):
        await result


_LOG_BACKLOG: Final = 1024 * 1024  # bytes


class _LogHandler(logging.Handler):
    """The plugin's standard logging, as records in the host's log."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        # The host reads no faster than it allows: what it does not read would fill this process.
        if self._connection.backlog > _LOG_BACKLOG:
            self._dropped += 1
            return
        try:
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                note = LogRecord("warning", f"{dropped} records were dropped: too many at once")
                self._connection.send(Notify(LOG_TOPIC, Raw(encode(note))))
            text = _text(self.format(record))
            given = getattr(record, "fields", None) or {}
            fields = {_text(str(key)): _plain(value) for key, value in list(given.items())[:100]}
            entry = encode(LogRecord(_LEVELS.get(record.levelno // 10, "error"), text, fields))
            if len(entry) > MAX_LOG_RECORD:
                entry = encode(LogRecord("error", f"{text[:1000]}... (fields too long)"))
            self._connection.send(Notify(LOG_TOPIC, Raw(entry)))
        except Exception:  # noqa: BLE001 - what cannot be logged must not stop who logs
            self.handleError(record)


def _text(text: str) -> str:
    return text[:20_000].encode(errors="backslashreplace").decode()[:20_000]


def _plain(value: object) -> str | int | float | bool | None:
    """A value as it may stand in a record; what may not, as text."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return _text(value if isinstance(value, str) else repr(value))


_LEVELS: Final[dict[int, Any]] = {0: "debug", 1: "debug", 2: "info", 3: "warning", 4: "error"}


def _forward_logging(connection: Connection, level: str) -> None:
    root = logging.getLogger()
    root.addHandler(_LogHandler(connection))
    # A later host may know levels that this worker does not.
    root.setLevel(logging.getLevelNamesMapping().get(level.upper(), logging.INFO))
