"""One live worker: its process, its channel, its logs, and the reason for which it ends.

Ending it in good order goes down a ladder, each rung with a bounded wait:

1. ask: `plugin.unload`, so that `on_unload` runs
2. close the pipe: a worker whose loop is alive exits at once
3. SIGTERM
4. SIGKILL
5. reap
"""

import math
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

import anyio
import anyio.to_thread
import msgspec

from plughost.errors import (
    CallTimeout,
    PlughostError,
    ProtocolViolation,
    StartFailed,
    ToolError,
    WorkerDied,
)
from plughost.exits import Cause, WorkerExit
from plughost.reactor import Reactor, Waiter
from plughost.sandbox.cgroup import CgroupError
from plughost.supervision.logbook import LineReader, LogBook
from plughost.supervision.pipes import WorkerPipes
from plughost.supervision.process import Process
from plughost.supervision.stacks import StackReader
from plughost.supervision.template import LayerRefused, SpawnRefused, Template, TemplateLost
from plughost.supervision.verdict import verdict_on
from plughost.units import format_seconds
from plughost_protocol import (
    LOG_TOPIC,
    PLUGIN_LOAD,
    PLUGIN_UNLOAD,
    Call,
    CallMeta,
    CodePlace,
    Description,
    Error,
    Hello,
    Message,
    Notify,
    Ping,
    Pong,
    ProtocolError,
    encode,
    negotiate,
)

from .assignment import Assignment
from .calls import CallTimes, OpenCall
from .channel import Channel
from .received import log_record_in, tool_error
from .standing import Standing

__all__ = ["Worker", "WorkerOwner"]

_TRACEBACK_LINES: Final = 100  # in the log, of a plugin that does not load
_PING_EVERY: Final = 10.0  # seconds; asks an idle worker whether its loop is alive


class WorkerOwner(Protocol):
    """Who started the worker."""

    def on_confined(self, worker: "Worker") -> None:
        """Its process is confined; no plugin code has run."""

    def on_request(self, worker: "Worker", call: Call) -> None:
        """The plugin asks for something: `worker.channel.requests` answers or refuses it."""

    def on_request_cancelled(self, worker: "Worker", call_id: int) -> None:
        """It no longer wants the answer."""

    def on_exit(self, worker: "Worker", exit: WorkerExit) -> None:
        """It is dead and reaped, and its open calls have ended."""


class Worker:
    """A process that runs one plugin. Started once; it never comes back."""

    def __init__(
        self,
        reactor: Reactor,
        template: Template,
        assignment: Assignment,
        book: LogBook,
        owner: WorkerOwner,
    ) -> None:
        self.plugin_id = assignment.plugin.manifest.id
        self.exit: WorkerExit | None = None
        self.unresponsive = False
        """Whether its message loop has been silent for longer than it may."""
        self.standing = Standing.LOADING
        """Its owner says when it serves, and when another one has taken its place."""
        self.held = False
        """Whether the watch has stopped it for a moment, to hold it to its CPU share."""
        self.ready_after = 0.0
        """Seconds from the request for it until it was confined and said hello."""
        self.tenancy = assignment.tenancy
        """Its time in a cgroup, where it has one."""
        self._reactor = reactor
        self._template = template
        self._assignment = assignment
        self.limits = assignment.limits
        self.timeout = assignment.timeout or assignment.limits.call_timeout
        """The deadline, in seconds, of what the plugin offers without one."""
        self._book = book
        self._owner = owner
        self._verdict: tuple[Cause, str] | None = None
        self._raised: tuple[tuple[CodePlace, ...], str] = ((), "")  # while it was loading
        self._ended: list[Waiter[None]] = []
        self._hello: Waiter[None] = reactor.waiter()
        self._greeted = False
        self._ping_sent = math.inf
        self._heard = reactor.now()
        pipes = WorkerPipes()
        self._key = template.new_key()
        self.process = Process(
            pipes, self._on_process_exit, lambda number: template.signal(self._key, number)
        )
        self.channel = Channel(reactor, pipes.from_worker, pipes.to_worker, assignment.limits, self)
        self._outputs = [
            LineReader(reactor, pipes.stdout, "stdout", book),
            LineReader(reactor, pipes.stderr, "stderr", book),
        ]
        self._stacks = StackReader(reactor, self.process)

    @property
    def is_busy(self) -> bool:
        """Whether it has calls that it has not answered."""
        return self.channel.open_calls > 0

    @property
    def pid(self) -> int:
        """Its process id; 0 before it is spawned, -1 where it was dead before we could ask."""
        return self.process.pid

    @property
    def data_folder(self) -> Path:
        """Where the plugin keeps its files."""
        return Path(self._assignment.plan.data_folder)

    # Start

    async def start(self) -> Description:
        """Spawn it and load the plugin. Raises `StartFailed` once it is dead and reaped."""
        limits = self.limits
        try:
            with anyio.fail_after(limits.load_timeout):
                asked = self._reactor.now()
                await self._spawn()
                self._owner.on_confined(self)
                await self._hello
                self.ready_after = self._reactor.now() - asked
                value = await self.channel.request(
                    PLUGIN_LOAD,
                    self._assignment.load(),
                    CallTimes(timeout=limits.load_timeout * 2, total=limits.load_timeout * 2),
                    CallMeta(timeout_ms=int(limits.load_timeout * 1000)),
                    label=f"{self.plugin_id} (loading)",
                )
            return msgspec.convert(value, Description)
        except TimeoutError:
            late = f"not ready within {format_seconds(limits.load_timeout)}"
            self._verdict = self._verdict or (Cause.NOT_READY, late)
            self._stacks.ask(lambda _: self.end(Cause.NOT_READY, late))
        except LayerRefused as exc:
            self.end(Cause.SANDBOX, str(exc))
            if not self.process.pid:
                self._on_process_exit()
        except CgroupError as exc:
            self.end(Cause.SANDBOX, str(exc))
        except (SpawnRefused, TemplateLost) as exc:
            self.end(Cause.TEMPLATE_DIED, str(exc))
            if not self.process.pid:
                self._on_process_exit()
        except ToolError as exc:
            traceback = exc.traceback.splitlines()[-_TRACEBACK_LINES:]
            for line in (exc.message, *traceback):
                self._book.note("error", line, about="load_failure")
            self._raised = exc.places, "\n".join(traceback)
            self.end(Cause.LOAD_FAILED, exc.message)
        except msgspec.ValidationError as exc:
            self.on_violation(f"the description of the plugin: {exc}")
        except WorkerDied:
            pass
        except BaseException:
            self.end(Cause.STOPPED, "stopped while it was starting")
            raise
        await self.wait()
        assert self.exit is not None  # noqa: S101 - wait() returns after the end
        raise StartFailed(self.plugin_id, str(self.exit), self.exit)

    async def _spawn(self) -> None:
        spawn = self._assignment.spawn(self._key)
        await self._template.spawn(spawn, self.process.pipes.child_ends, self.process)
        tenancy = self.tenancy
        if tenancy is not None and self.pid > 0 and not tenancy.is_inside(self.pid):
            await anyio.to_thread.run_sync(tenancy.admit, self.pid)

    def _greet(self, hello: Hello) -> None:
        if self._greeted:
            self.on_violation("a second hello")
            return
        self._greeted = True
        try:
            version = negotiate((hello.min_version, hello.max_version))
        except ProtocolError as exc:
            self.end(Cause.VIOLATION, str(exc))
            return
        self.channel.send(self._assignment.welcome(version))
        if not self._hello.done():  # it came too late
            self._hello.set_result(None)

    # Its life

    async def ask(self, method: str, params: object, timeout: float) -> Any:
        """What the plugin answers to something in its own life, such as `plugin.health`.

        Raises as `Channel.request` does.
        """
        return await self.channel.request(
            method,
            encode(params),
            CallTimes(timeout=timeout, total=timeout),
            CallMeta(timeout_ms=int(timeout * 1000)),
            label=f"{self.plugin_id} ({method})",
        )

    # End

    def end(self, cause: Cause, detail: str = "") -> None:
        """Kill it. The first cause given is the one that counts."""
        if self._verdict is None:
            self._verdict = cause, detail
        self.process.kill()
        self._template.wake()  # or nobody reaps it

    async def stop(self) -> None:
        """End it in good order, down the ladder. Returns when it is reaped, even if cancelled."""
        grace = self.limits.grace
        with anyio.CancelScope(shield=True):
            if self._verdict is None:
                self._verdict = Cause.STOPPED, "stopped by the host"
            if self._greeted and not self.unresponsive:
                with suppress(PlughostError):
                    await self.ask(PLUGIN_UNLOAD, None, grace)
            self.channel.hang_up()
            self.process.pipes.hang_up()
            with anyio.move_on_after(grace / 2):
                await self.wait()
                return
            self.process.signal(signal.SIGTERM)
            with anyio.move_on_after(grace / 2):
                await self.wait()
                return
            self.process.kill()
            self._template.wake()
            await self.wait()

    async def wait(self) -> None:
        """Return when it is dead and reaped."""
        if self.exit is None:
            waiter = self._reactor.waiter()
            self._ended.append(waiter)
            await waiter

    def _on_process_exit(self) -> None:
        if self.exit is not None:
            return
        process = self.process
        self.channel.drain()  # what it answered before it died counts
        for output in self._outputs:
            output.close()
        self._stacks.close()
        cause, detail = self._verdict or verdict_on(process, self.limits, self.tenancy)
        end = self.exit = WorkerExit(
            cause=cause,
            detail=detail,
            code=process.code,
            pid=process.pid,
            peak=process.max_rss,
            cpu=process.cpu,
            stack=self._stacks.text,
            stderr=tuple(self._outputs[1].tail),
            places=self._raised[0],
            traceback=self._raised[1],
        )
        self.channel.close(lambda sent: WorkerDied(self.plugin_id, end, outcome_unknown=sent))
        if not self._hello.done():  # who waits for it hears of the death from the channel
            self._hello.set_result(None)
        process.pipes.close()
        for waiter in self._ended:
            if not waiter.done():
                waiter.set_result(None)
        self._owner.on_exit(self, end)

    # The watch

    def when_called(self, act: Callable[[], None]) -> None:
        """Have `act` called once, when the next call begins."""
        self.channel.when_called = act

    def check(self) -> None:
        """Look at what only time shows: silence, half a frame. Called now and then."""
        limits = self.limits
        now = self._reactor.now()
        half = self.channel.half_frame_for()
        if half > limits.frame_timeout and not self.held:
            self.on_violation(f"half a frame for {format_seconds(half)}")
            return
        silence = max(self.channel.silent_for(), now - self._ping_sent)
        self.unresponsive = silence > limits.unresponsive_after and not self.held
        explained = self.channel.has_acknowledged_calls()
        if silence > limits.unresponsive_after + limits.unresponsive_kill and not explained:
            self._stacks.ask(
                lambda _: self.end(
                    Cause.UNRESPONSIVE, f"its message loop did not answer for {silence:.0f} s"
                )
            )
        elif self._greeted and now - self._heard > _PING_EVERY and self._ping_sent is math.inf:
            self._ping_sent = now
            self.channel.send(Ping(0))

    # ChannelOwner

    def on_call(self, call: Call) -> None:
        if self._greeted:
            self._owner.on_request(self, call)
        else:
            self.on_violation("a call before hello")

    def on_cancel(self, call_id: int) -> None:
        self._owner.on_request_cancelled(self, call_id)

    def on_message(self, message: Message) -> None:
        match message:
            case Hello():
                self._greet(message)
            case Pong():
                self._ping_sent = math.inf
                self._heard = self._reactor.now()
            case Notify(topic, params) if topic == LOG_TOPIC:
                try:
                    record = log_record_in(params)
                except ValueError as exc:
                    self.on_violation(str(exc))
                else:
                    self._book.write(record.level, "log", record.message, record.fields)
            case Notify(topic):
                self._book.write("warning", "host", f"a notification on an unknown topic {topic!r}")
            case _:
                self.on_violation(f"{type(message).__name__} is not a worker's to send")

    def on_deadline(self, call: OpenCall) -> None:
        limit, idle = call.limit(self._reactor.now())

        def fail(stack: str) -> None:
            call.fail(CallTimeout(call.label, limit, call.host_wait, stack, idle=idle))
            if self.unresponsive:
                self.on_hung(call)

        self._stacks.ask(fail)

    def on_hung(self, call: OpenCall) -> None:
        self.end(
            Cause.DEADLINE,
            f"{call.label} did not stop {format_seconds(self.limits.grace)} after its deadline",
        )

    def on_violation(self, detail: str) -> None:
        self.end(Cause.VIOLATION, str(ProtocolViolation(detail)))

    def on_closed(self) -> None:
        """The pipe ended: a worker that lives on without it is of no use."""
        if not self.process.ended:
            self._reactor.call_at(self._reactor.now() + 0.05, self._closed_alive)

    def _closed_alive(self) -> None:
        # Not at once: of a worker that is dying, the news of the death is about to come.
        if not self.process.ended:
            self.end(Cause.VIOLATION, str(ProtocolViolation("it closed its pipe")))

    def error_of(self, call: OpenCall, message: Error) -> PlughostError:
        return tool_error(call.label, message)

    def __repr__(self) -> str:
        state = self.exit or ("unresponsive" if self.unresponsive else "running")
        return f"<Worker {self.plugin_id} {state} pid={self.pid} calls={self.channel.open_calls}>"
