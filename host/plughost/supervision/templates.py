"""Which template process a plugin's workers are forked from: its own, or one for all."""

from typing import Final, TypeAlias

import anyio
import msgspec

from plughost.config import Sandbox
from plughost.reactor import Reactor, TimerHandle
from plughost.sandbox.interpreter import Interpreter, find_interpreter
from plughost.sandbox.machine import Machine
from plughost.sandbox.plan import template_confinement

from .template import Template

__all__ = ["Templates"]

_Kind: TypeAlias = tuple[Interpreter, Sandbox]

_SPARE_AFTER: Final = 2.0  # seconds without a start; until then there is more urgent work


class Templates:
    """The template processes of one host.

    A template of its own gives a plugin an address-space layout and a hash seed that no other
    plugin can learn, and makes its process id namespace its own. One that nobody has yet is kept
    ready, so that the next plugin need not wait for its interpreter. A shared one starts many
    workers sooner and takes less memory.
    """

    def __init__(self, reactor: Reactor, machine: Machine, *, shared: bool) -> None:
        self._reactor = reactor
        self._machine = machine
        self._is_shared = shared
        self._ready: dict[_Kind, Template] = {}  # the shared one, or the spare
        self._all: set[Template] = set()
        self._timer: TimerHandle | None = None

    def take(self, python: str, sandbox: Sandbox) -> Template:
        """A template for one plugin, to be given back. Raises `HostMisuse` for the interpreter."""
        kind = find_interpreter(python), sandbox
        if self._is_shared:
            if kind not in self._ready:
                self._ready[kind] = self._make(kind)
            return self._ready[kind]
        self._make_spare_later(kind)
        return self._ready.pop(kind, None) or self._make(kind)

    def _make(self, kind: _Kind) -> Template:
        python, sandbox = kind
        confinement = msgspec.structs.replace(
            template_confinement(sandbox, self._machine), rehearse=self._is_shared
        )
        made = Template(self._reactor, python, confinement)
        self._all.add(made)
        return made

    def _make_spare_later(self, kind: _Kind) -> None:
        if self._timer is not None:
            self._timer.cancel()
        when = self._reactor.now() + _SPARE_AFTER
        self._timer = self._reactor.call_at(when, lambda: self._make_spare(kind))

    def _make_spare(self, kind: _Kind) -> None:
        self._timer = None
        if kind not in self._ready:
            self._ready[kind] = self._make(kind)
            self._ready[kind].start()

    async def give_back(self, template: Template) -> None:
        """The plugin needs it no more. Its own one ends; returns when it has."""
        if not self._is_shared:
            self._all.discard(template)
            await template.aclose()

    async def aclose(self) -> None:
        """End all of them, and what is left of their workers."""
        if self._timer is not None:
            self._timer.cancel()
        async with anyio.create_task_group() as tasks:
            for template in self._all:
                tasks.start_soon(template.aclose)
        self._all.clear()
