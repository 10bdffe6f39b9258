"""A host application whose plugins crash, hang and leak, and which loses nothing by it.

Run it with `python examples/embedding/app.py`.
"""

import logging
import sys
from pathlib import Path

import anyio

from plughost import (
    CallContext,
    CallTimeout,
    Host,
    HostConfig,
    HostedPlugin,
    Limits,
    PlughostError,
    WorkerDied,
)

PLUGINS = Path(__file__).parent / "plugins"

CONFIG = HostConfig(
    # A hung worker that does not stop by itself is killed this long after its deadline. The
    # default gives 2 seconds, for plugins that have something to put away.
    limits=Limits(grace=0.5),
    # What each plugin may do, of what its manifest asks for. By default that is nothing.
    grants={name: ["tools:register"] for name in ("crashes", "hangs", "leaks", "steady")},
)


class Heartbeat:
    """Calls `steady` again and again, and remembers how it went."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.answers = 0
        self.slowest = 0.0

    async def run(self) -> None:
        while True:
            began = anyio.current_time()
            # An error here would end the program, and so prove it wrong.
            await self._host.call("steady.beat", {"number": self.answers})
            self.answers += 1
            self.slowest = max(self.slowest, anyio.current_time() - began)
            await anyio.sleep(0.02)


async def misbehave(host: Host, plugin: HostedPlugin) -> None:
    """Let a plugin do its worst, and tell what came of it."""
    # A deadline of its own for each call: without one the plugin's manifest decides, then the host.
    context = CallContext(timeout=2.0, user_id="ada", request_id=f"show-{plugin.id}")
    try:
        await host.call(f"{plugin.id}.misbehave", context=context)
    except WorkerDied as exc:
        print(f"   WorkerDied: {exc}")
        print(f"   cause {exc.exit.cause}, peak memory {exc.exit.peak // 1_000_000} MB")
    except CallTimeout as exc:
        print(f"   CallTimeout: {exc}")
        # The host asked the worker for its stacks at the deadline: here is the line that hangs.
        print("   " + next((line for line in exc.stack.splitlines() if "plugin.py" in line), "?"))
    except PlughostError as exc:
        # One root for all others, such as a tool's own error.
        print(f"   {type(exc).__name__}: {exc}")


async def show(host: Host, plugin: HostedPlugin, heartbeat: Heartbeat) -> None:
    """One plugin's misbehaviour, the others meanwhile, and the plugin after it."""
    pid, answers = plugin.pid, heartbeat.answers
    print(f"\n{plugin.id}.misbehave, {plugin.state} in process {pid}")
    await misbehave(host, plugin)
    # Right after the death, on purpose: the call waits for the new worker within its deadline.
    # The old one may still hang on to its grace time; the tool is declared idempotent, so the
    # host then sends the call again.
    greeting = await host.call(f"{plugin.id}.greet", context=CallContext(timeout=10.0))
    print(f"   {plugin.id}.greet says {greeting!r}, {plugin.state} in process {plugin.pid}")
    print(f"   restarts: {plugin.restarts}; steady answered {heartbeat.answers - answers} calls")


async def main() -> None:
    async with Host([PLUGINS], CONFIG) as host, anyio.create_task_group() as tasks:
        # A plugin that cannot start does not keep the host from starting: it is said here.
        for name, problem in host.problems.items():
            print(f"{name} does not run: {problem}")
        heartbeat = Heartbeat(host)
        tasks.start_soon(heartbeat.run)
        for plugin_id in ("crashes", "hangs", "leaks"):
            await show(host, host.plugins[plugin_id], heartbeat)
        tasks.cancel_scope.cancel()
    slowest = f"{heartbeat.slowest * 1000:.0f} ms"
    print(f"\nsteady answered all its {heartbeat.answers} calls, the slowest within {slowest};")
    print(f"restarts of steady: {host.plugins['steady'].restarts}")


if __name__ == "__main__":
    # What the host has to say of its plugins is a logger's, like any library's.
    logging.basicConfig(format="   log: %(message)s", stream=sys.stdout)
    anyio.run(main)
