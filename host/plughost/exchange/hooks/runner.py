"""Runs one hook of one plugin: within its deadline, and by its policy where it fails."""

import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

import anyio
import msgspec

from plughost.errors import CallTimeout, NotRunning, PlughostError, ToolError, WorkerDied
from plughost.exchange.chain import inside, joined, links_of
from plughost.reactor import Reactor
from plughost.service_config import HooksConfig
from plughost.services.plugins import PluginCaller
from plughost.units import format_seconds
from plughost_protocol import CallMeta, MalformedMessage, decode_value
from plughost_protocol.hooks import HOOK_METHOD, HookAnswer, RunHook

from .errors import HookFailed
from .given import HookSubject, NotShown
from .own_hooks import run_callback
from .registry import APPLICATION, Hook, HookRegistry

__all__ = [
    "HookLog",
    "HookRunner",
    "as_mapping",
    "callers",
    "decoded",
    "label_of",
    "within",
]

T = TypeVar("T")

# Seconds beyond the worker's own deadline, with which comes the stack of what hangs. Ours holds
# while the hook waits for the host, too.
_MARGIN: Final = 0.5
_STACK_LINES: Final = 50
_HOOK: Final = ".hook("

_log: Final = logging.getLogger("plughost.hooks")
_LEVELS: Final = {"warning": logging.WARNING, "error": logging.ERROR}


class HookLog(Protocol):
    """Writes into a plugin's log."""

    def __call__(self, plugin_id: str, level: str, text: str, /) -> None: ...


def label_of(hook: Hook) -> str:
    """Its name in errors, and in the chain of calls that are made from it."""
    return f"{hook.owner}{_HOOK}{hook.kind.name})"


def callers(chain: str) -> frozenset[str]:
    """The plugins from whose hooks a chain of calls comes."""
    if _HOOK not in chain:
        return frozenset()
    return frozenset(link.partition(_HOOK)[0] for link in links_of(chain) if _HOOK in link)


class HookRunner:
    """Runs hooks, counts what becomes of them, and leaves out for a while what is always late."""

    def __init__(self, config: HooksConfig, registry: HookRegistry) -> None:
        self.config = config
        self.registry = registry
        self._reactor: Reactor
        self._plugins: PluginCaller
        self._write: HookLog

    def attach(self, reactor: Reactor, plugins: PluginCaller, log: HookLog) -> None:
        """The host begins to run."""
        self._reactor = reactor
        self._plugins = plugins
        self._write = log

    def now(self) -> float:
        return self._reactor.now()

    async def run(
        self,
        hook: Hook,
        given: HookSubject,
        meta: CallMeta,
        end: float,
        use: Callable[[HookAnswer], T],
        skipped: T,
    ) -> T:
        """What the hook answers, as `use` reads it; or `skipped`.

        `end` is on the reactor's clock. What `use` finds wrong, it raises as a `PlughostError`,
        and the hook has failed. Raises `HookFailed` where the hook is closed.
        """
        # A chain that was begun goes on with the hooks of a worker that has come meanwhile.
        current = self.registry.current(hook)
        if current is None or self.registry.is_disabled(current):
            return skipped
        hook, stats = current, current.stats
        try:
            with self._reasons(hook):
                value = use(await self._answer(hook, given, meta, end))
        except HookFailed:
            stats.failures += 1
            if hook.on_failure == "closed":
                raise
            return skipped
        hook.late = 0
        stats.runs += 1
        return value

    async def _answer(
        self, hook: Hook, given: HookSubject, meta: CallMeta, end: float
    ) -> HookAnswer:
        now = self.now()
        if hook.paused_until > now:
            wait = format_seconds(hook.paused_until - now)
            raise _failed(hook, f"was late {hook.late} times in a row, is tried again in {wait}")
        if hook.gone:
            raise _failed(hook, "is being loaded anew")
        left = end - now
        if left <= 0:
            hook.stats.late += 1
            raise _failed(hook, "had no time left")
        # A deadline that others have set, or used up, is not the hook's fault: it is not paused
        # for it, and its worker has time to stop.
        fair = min(hook.timeout, self.config.timeout)
        timeout = min(hook.timeout, max(left, fair))
        with anyio.move_on_after(timeout + _MARGIN if left >= hook.timeout else left):
            if hook.callback is not None:
                return await self._run_own(hook, given, meta)
            answer = await self._plugins.call(
                hook.owner,
                HOOK_METHOD,
                RunHook(hook.id, given.wire),
                label=label_of(hook),
                timeout=timeout,
                meta=meta,
                wait=False,
            )
            return msgspec.convert(answer, HookAnswer)
        if left >= fair:
            raise CallTimeout(label_of(hook), timeout)
        hook.stats.late += 1
        self._tell(hook, "warning", f"the hook {hook.kind.name} had too little time left")
        raise _failed(hook, "did not answer in the time that was left")

    async def _run_own(self, hook: Hook, given: HookSubject, meta: CallMeta) -> HookAnswer:
        assert hook.callback is not None  # noqa: S101 - for the type checker
        try:
            with anyio.fail_after(hook.timeout), inside(joined((meta.caller, label_of(hook)))):
                return await run_callback(hook.callback, hook.kind.name, given)
        except TimeoutError:
            raise CallTimeout(label_of(hook), hook.timeout) from None

    @contextmanager
    def _reasons(self, hook: Hook) -> Iterator[None]:
        """Whatever goes wrong is a `HookFailed` with the host's own words: what a plugin says of
        its failure is for its own log."""
        try:
            yield
        except HookFailed:
            raise
        except NotShown as exc:
            raise _failed(hook, str(exc)) from exc
        except NotRunning as exc:
            raise _failed(hook, "is not there: its plugin is not running") from exc
        except CallTimeout as exc:
            self._note(hook, exc, exc.stack)
            self._was_late(hook)
            raise _failed(hook, f"did not answer within {format_seconds(exc.timeout)}") from exc
        except WorkerDied as exc:
            self._note(hook, exc)
            raise _failed(hook, "was cut off: its worker died") from exc
        except msgspec.ValidationError as exc:
            self._note(hook, exc)
            raise _failed(hook, "answered what cannot be read") from exc
        except PlughostError as exc:
            self._note(hook, exc, exc.traceback if isinstance(exc, ToolError) else "")
            raise _failed(hook, "failed") from exc
        except Exception as exc:
            if hook.owner != APPLICATION:
                raise
            self._note(hook, exc, "".join(traceback.format_exception(exc)))
            raise _failed(hook, "failed") from exc

    def _note(self, hook: Hook, exc: Exception, details: str = "") -> None:
        """Tell of a failure."""
        follows = "refuses" if hook.on_failure == "closed" else "is passed over"
        self._tell(hook, "error", f"the hook {hook.kind.name} failed, and {follows}: {exc!s:.2000}")
        for line in details.splitlines()[-_STACK_LINES:]:
            self._tell(hook, "error", line)

    def _was_late(self, hook: Hook) -> None:
        """Pause a hook that was late too often: it holds up all others."""
        hook.stats.late += 1
        hook.late += 1
        if hook.late >= self.config.late_limit:
            pause = self.config.pause
            hook.paused_until = self.now() + pause
            self._tell(
                hook,
                "warning",
                f"the hook {hook.kind.name} was late {hook.late} times in a row: it is not called "
                f"for {format_seconds(pause)}",
            )

    def _tell(self, hook: Hook, level: str, text: str) -> None:
        if hook.owner == APPLICATION:
            _log.log(_LEVELS[level], "%s", text)
        else:
            self._write(hook.owner, level, text)


def decoded(raw: bytes) -> Any:
    """The value that a hook gave. Raises `PlughostError`."""
    try:
        return decode_value(raw)
    except MalformedMessage as exc:
        raise PlughostError(f"it gave what cannot be read: {exc.reason}") from exc


def as_mapping(raw: bytes) -> Mapping[str, Any]:
    """The same, where it has to be a mapping with names for keys."""
    value = decoded(raw)
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise PlughostError(f"it gave {type(value).__name__}, where a mapping is wanted")
    return value


def within(raw: bytes, limit: int, setting: str) -> None:
    """Raises `PlughostError` where what a hook gave takes more bytes."""
    if len(raw) > limit:
        raise PlughostError(f"it gave {len(raw)} bytes, of {limit} at most ({setting})")


def _failed(hook: Hook, reason: str) -> HookFailed:
    return HookFailed(hook.owner, hook.kind.name, reason)
