"""`plughost call`: one call, over a running host or on a host for just this call."""

import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import anyio

from plughost.rpc.calls import ProgressCallback
from plughost.text import clean, clean_line
from plughost_protocol import ErrorCode

from .arguments import parse_arguments
from .background import on_interrupt
from .configuration import Configuration, Options
from .control import ToolInfo
from .control_client import ControlClient
from .exit_codes import ExitCode
from .output import Output, to_json
from .problems import CommandFailed, Problem
from .socket_path import control_path
from .waivers import warn_of_waived

__all__ = ["CallOptions", "call_tool"]


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What `plughost call` is told."""

    tool: str
    pairs: Sequence[str]
    args: str | None
    timeout: float | None
    file: Path | None
    """Where the result goes instead of standard output."""
    own_host: Options | None
    """For a host of our own; without it, the running host is called."""
    socket: Path | None


class _Callee(Protocol):
    async def tools(self, plugin_id: str = "") -> list[ToolInfo]: ...
    async def call(
        self,
        tool: str,
        params: Mapping[str, Any],
        timeout: float | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> Any: ...
    def stream(
        self,
        tool: str,
        params: Mapping[str, Any],
        timeout: float | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> AsyncGenerator[Any, None]: ...


async def call_tool(output: Output, options: CallOptions) -> ExitCode:
    """Call it and write what it gives. Ctrl-C cancels it in the worker too."""
    scope = anyio.CancelScope()
    async with on_interrupt(lambda _: scope.cancel()):
        with scope:
            async with _callee(output, options) as callee:
                await _call(output, options, callee)
    if not scope.cancelled_caught:
        return ExitCode.OK
    return output.problem(
        Problem(
            f"{options.tool} was cancelled",
            "the plugin was told to stop; what it has done so far may have had its effect",
            code=ErrorCode.CANCELLED,
        )
    )


def _callee(output: Output, options: CallOptions) -> AbstractAsyncContextManager[_Callee]:
    if options.own_host is not None:
        from .local_host import LocalHost

        configuration = Configuration.read(output, options.own_host)
        warn_of_waived(output, configuration.host().sandbox)
        return LocalHost.start(configuration)
    return ControlClient.connect(control_path(options.socket))


async def _call(output: Output, options: CallOptions, callee: _Callee) -> None:
    tools = await callee.tools()
    # Of a name that is not there, the call itself says so, with the nearest one.
    tool = next((t for t in tools if options.tool in (t.name, t.model_name)), None)
    name = options.tool if tool is None else tool.name
    schema = {} if tool is None else tool.input_schema
    params = parse_arguments(options.pairs, options.args, schema, name)
    writer = _ResultWriter(output, name, options.file)
    streams = tool is not None and tool.streams
    # A bar below items that come on the same terminal would be torn apart by them.
    shown = not output.as_json and not (streams and output.on_terminal and options.file is None)
    with _progress_bar(output, name, shown=shown) as on_progress:
        if streams:
            items = callee.stream(name, params, options.timeout, on_progress)
            async with aclosing(items):
                async for item in items:
                    writer.item(item)
            value = None
        else:
            value = await callee.call(name, params, options.timeout, on_progress)
    if streams:
        writer.end()
    else:
        writer.result(value)


@contextmanager
def _progress_bar(output: Output, tool: str, *, shown: bool) -> Iterator[ProgressCallback | None]:
    """A bar on standard error from the first report of progress on, if a person sees it."""
    if not (shown and sys.stderr.isatty()):
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        console=output.console(sys.stderr),
        transient=True,
    )
    task = bar.add_task(tool, total=None)

    def show(done: float, total: float | None, message: str) -> None:
        bar.start()
        told = clean_line(message)[:60] or tool
        bar.update(task, completed=done, total=total, description=told, refresh=True)

    try:
        yield show
    finally:
        bar.stop()


class _ResultWriter:
    """Writes results where they belong: the terminal, a pipe, a file, or one JSON object."""

    def __init__(self, output: Output, tool: str, path: Path | None) -> None:
        self._output = output
        self._tool = tool
        self._path = path
        self._file: IO[bytes] | None = None
        self._size = 0
        self._items: list[Any] = []

    def result(self, value: Any) -> None:
        """The one result of a call."""
        if self._path is not None:
            data = value if isinstance(value, bytes) else _as_text(value, indent=2).encode()
            self._to_file(data)
            self._close()
        elif self._output.as_json:
            self._output.json({"tool": self._tool, "result": value})
        elif isinstance(value, str):
            self._text(value)
        else:
            self._output.json(value)

    def item(self, value: Any) -> None:
        """One item of a stream, as it comes."""
        if self._path is not None:
            if isinstance(value, bytes):
                self._to_file(value)
            else:
                self._to_file(_as_text(value, indent=-1).encode() + b"\n")
        elif self._output.as_json:
            self._items.append(value)
        elif isinstance(value, bytes):
            self._bytes(value)
        elif isinstance(value, str):
            self._text(value)
        else:
            self._output.json_line(value)

    def end(self) -> None:
        """The stream is over."""
        if self._path is not None:
            self._to_file(b"")
            self._close()
        elif self._output.as_json:
            self._output.json({"tool": self._tool, "items": self._items})

    def _text(self, text: str) -> None:
        # Exactly as it is where a program reads it, made harmless where a terminal does.
        sys.stdout.write(f"{clean(text) if self._output.on_terminal else text}\n")
        sys.stdout.flush()

    def _bytes(self, data: bytes) -> None:
        if self._output.on_terminal:
            sys.stdout.write(clean(data.decode(errors="backslashreplace")))
            sys.stdout.flush()
        else:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def _to_file(self, data: bytes) -> None:
        # Not opened before something has come: a call that fails leaves an old file alone.
        assert self._path is not None  # noqa: S101 - for the type checker
        try:
            if self._file is None:
                self._file = self._path.open("wb")
            self._file.write(data)
        except OSError as exc:
            raise CommandFailed(
                Problem(
                    f"{self._path} cannot be written",
                    exc.strerror or str(exc),
                    "--output with another file",
                    code=ErrorCode.INTERNAL,
                )
            ) from exc
        self._size += len(data)

    def _close(self) -> None:
        assert self._file is not None  # noqa: S101 - for the type checker
        self._file.close()
        if self._output.as_json:
            written = {"output": str(self._path), "bytes": self._size}
            self._output.json({"tool": self._tool, **written})


def _as_text(value: Any, *, indent: int) -> str:
    return value if isinstance(value, str) else to_json(value, indent)
