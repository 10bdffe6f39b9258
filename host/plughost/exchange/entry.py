"""What a plugin offers to be called, compiled once: the common part of tools and services."""

import base64
import binascii
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final, Protocol

from plughost.catalog.schema import CompiledSchema, SchemaProblem, SchemaRefused
from plughost.config import Limits
from plughost.errors import InvalidParams, PlughostError, ToolError
from plughost.pace import Pace
from plughost.rpc.calls import CallTimes
from plughost.rpc.standing import StandIn
from plughost.rpc.worker import Worker
from plughost_protocol import CallMeta, ErrorCode, ToolSpec, encode

__all__ = ["CompileBudget", "Entry", "OfferRefused", "Provider", "Terms"]

# Seconds of compiling that a plugin may ask for at once, and that it earns back each second.
# An ordinary schema takes a tenth of a millisecond, the dearest that is accepted 0.2 s.
_BUDGET: Final = 2.0
_EARNED: Final = 0.02


class OfferRefused(PlughostError):
    """Raised when a plugin offers what cannot be accepted. `offer` names it."""

    code = ErrorCode.INVALID_PARAMS

    def __init__(self, offer: str, reason: str) -> None:
        super().__init__(f"{offer} is refused: {reason}")
        self.offer = offer
        self.reason = reason


class CompileBudget:
    """The time that the host gives one plugin for compiling its schemas."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        work: Callable[[], float] = time.thread_time,
    ) -> None:
        """`work` is the processor's time: a busy machine is not the plugin's fault."""
        self._clock = clock
        self._work = work
        self._pace = Pace(_EARNED, _BUDGET)

    @contextmanager
    def spend(self, offer: str) -> Iterator[None]:
        """Count what the block takes. Raises `OfferRefused` where nothing is left."""
        if self._pace.debt(self._clock()) is not None:
            reason = "the schemas of this plugin take too long to compile: make them simpler"
            raise OfferRefused(offer, reason)
        start = self._work()
        try:
            yield
        finally:
            self._pace.spend(self._work() - start)


class Terms(Protocol):
    """Within which times an entry is called."""

    @property
    def limits(self) -> Limits: ...
    @property
    def timeout(self) -> float:
        """The deadline, in seconds, of what names none of its own."""


class Provider(Terms, Protocol):
    """The plugin behind an entry."""

    @property
    def id(self) -> str: ...
    @property
    def budget(self) -> CompileBudget: ...
    @property
    def active_worker(self) -> Worker | None:
        """The worker that takes calls now."""

    async def wait_for_worker(self, timeout: float) -> Worker:
        """The worker, once there is one. Raises `TimeoutError`, `NotRunning`, `Overloaded`."""

    def count(self, error: PlughostError | None) -> None:
        """A call has ended."""


class Entry:
    """Something to call, ready for it: nothing is compiled or looked up per call."""

    __slots__ = (
        "_base64",
        "_input",
        "_output",
        "idempotent",
        "label",
        "meta",
        "method",
        "provider",
        "streams",
        "times",
    )

    def __init__(
        self, provider: Provider, terms: Terms, spec: ToolSpec, method: str, label: str, kind: str
    ) -> None:
        """`terms` are those of the worker that offers it, which may not yet be the plugin's own.

        `label` names it in errors and in the chain of calls. Raises `OfferRefused`.
        """
        offer = f"{kind} {label}"
        if spec.input_schema.get("type", "object") != "object":
            raise OfferRefused(offer, "its input_schema must have the type 'object'")
        make = _Remembered if isinstance(terms, StandIn) else CompiledSchema
        with provider.budget.spend(offer):
            try:
                self._input = make(spec.input_schema)
                self._output = spec.output_schema and make(spec.output_schema)
            except SchemaRefused as exc:
                raise OfferRefused(offer, str(exc)) from exc
        self._base64 = _base64_fields(spec.input_schema)
        total = terms.limits.call_total
        self.times = CallTimes(
            timeout=min(spec.timeout or terms.timeout, total),
            total=total,
            idle=spec.idle_timeout,
        )
        self.meta = CallMeta(timeout_ms=int(self.times.timeout * 1000))
        """What goes with a call that has no context."""
        self.provider = provider
        self.method = method
        self.label = label
        self.idempotent = spec.idempotent
        self.streams = spec.streams

    def instead(self) -> "Entry":
        """The entry for a call that the worker died with, where it may be tried again."""
        return self

    def encode(self, params: Mapping[str, Any]) -> bytes:
        """The parameters as they travel. Raises `InvalidParams` where the schema refuses them."""
        for name in self._base64:
            if isinstance(params.get(name), str):
                params = {**params, name: self._bytes(name, params[name])}
        if not self._input.accepts(params):
            problems = self._input.explain(params)
            raise InvalidParams(self.label, [f"{p.path} {p.reason}" for p in problems])
        return encode(params)

    def check_result(self, value: object) -> None:
        """Raises `ToolError` where a result is not what the plugin itself declared."""
        if self._output and not self._output.accepts(value):
            problems = "; ".join(f"{p.path} {p.reason}" for p in self._output.explain(value))
            reason = f"the result does not fit its own output schema: {problems}"
            raise ToolError(self.label, ErrorCode.RESULT_INVALID, reason)

    def _bytes(self, name: str, text: str) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as exc:
            raise InvalidParams(self.label, [f"$.{name} is not base64: {exc}"]) from exc


class _Remembered:
    """A schema that was accepted when a worker offered it; compiled when it is first used.

    Before that, the plugin may sleep for days, among a thousand others.
    """

    def __init__(self, schema: Mapping[str, object]) -> None:
        self._schema = schema

    def accepts(self, value: object) -> bool:
        return self._compiled.accepts(value)

    def explain(self, value: object) -> list[SchemaProblem]:
        return self._compiled.explain(value)

    @cached_property
    def _compiled(self) -> CompiledSchema:
        return CompiledSchema(self._schema)


def _base64_fields(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """The properties that are bytes: a caller who has only JSON gives them as base64."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return ()
    return tuple(
        name
        for name, kind in properties.items()
        if isinstance(kind, dict) and kind.get("contentEncoding") == "base64"
    )
