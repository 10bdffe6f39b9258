"""Which template process a plugin's workers are forked from: its own, or one for all."""

from collections.abc import Callable

import anyio

from plughost.config import Sandbox
from plughost.reactor import Reactor
from plughost.sandbox.interpreter import Interpreter, find_interpreter
from plughost.sandbox.machine import Machine
from plughost.sandbox.plan import template_confinement

from .template import Template

__all__ = ["Templates"]


class Templates:
    """The template processes of one host.

    A template of its own gives a plugin an address-space layout and a hash seed that no other
    plugin can learn, and makes its process id namespace its own. A shared one starts workers
    sooner and takes less memory.
    """

    def __init__(self, reactor: Reactor, machine: Machine, *, shared: bool) -> None:
        self._reactor = reactor
        self._machine = machine
        self._shared: dict[tuple[Interpreter, Sandbox], Template] | None = {} if shared else None
        self._all: set[Template] = set()

    def take(
        self, python: str, sandbox: Sandbox, on_start: Callable[[int], None] = lambda _: None
    ) -> Template:
        """A template for one plugin, to be given back. Raises `HostMisuse` for the interpreter.

        `on_start` gets the process id of a template of its own when that starts.
        """
        interpreter = find_interpreter(python)
        if self._shared is None:
            return self._make(interpreter, sandbox, on_start)
        key = interpreter, sandbox
        if key not in self._shared:
            self._shared[key] = self._make(interpreter, sandbox, lambda _: None)
        return self._shared[key]

    def _make(
        self, python: Interpreter, sandbox: Sandbox, on_start: Callable[[int], None]
    ) -> Template:
        confinement = template_confinement(sandbox, self._machine)
        made = Template(self._reactor, python, confinement, on_start)
        self._all.add(made)
        return made

    async def give_back(self, template: Template) -> None:
        """The plugin needs it no more. Its own one ends; returns when it has."""
        if self._shared is None:
            self._all.discard(template)
            await template.aclose()

    async def aclose(self) -> None:
        """End all of them, and what is left of their workers."""
        async with anyio.create_task_group() as tasks:
            for template in self._all:
                tasks.start_soon(template.aclose)
        self._all.clear()

    @property
    def strays_killed(self) -> int:
        """Processes that had left their worker and were killed."""
        return sum(template.strays_killed for template in self._all)
