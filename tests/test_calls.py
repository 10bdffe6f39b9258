"""The outcome rules of a call, with real workers; on asyncio and on trio."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import anyio
import pytest

from plughost import (
    CallContext,
    CallTimeout,
    Cause,
    Host,
    HostMisuse,
    InvalidParams,
    Limits,
    NotRunning,
    Overloaded,
    Restart,
    State,
    TooDeep,
    ToolError,
    UnknownTool,
    WorkerDied,
)

from .conftest import MakePlugin, trusting

pytestmark = pytest.mark.anyio

CODE = """
import asyncio, os, threading, time
from dataclasses import dataclass
from typing import Literal
from plughost_sdk import CallCancelled, HostError, Plugin, ToolError, current_call

plugin = Plugin()
seen = []


@dataclass
class Point:
    x: int
    y: int = 0


@plugin.tool
async def add(a: int, b: int = 2) -> int:
    return a + b

@plugin.tool
def blocking(text: str) -> str:
    return f"{text} in {threading.current_thread().name.split('_')[0]}"

@plugin.tool
async def flip(point: Point, how: Literal["x", "y"] = "x") -> Point:
    return Point(-point.x, point.y) if how == "x" else Point(point.x, -point.y)

@plugin.tool
async def echo(data: bytes) -> bytes:
    return data

@plugin.tool
async def fail(message: str, code: str = "") -> None:
    raise ToolError(message, code=code) if code else KeyError(message)

@plugin.tool
async def wait(seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds + 60):
            await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        seen.append("cancelled")
        raise
    return "done"

@plugin.tool
def wait_blocking(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.005)
        try:
            current_call().check_cancelled()
        except CallCancelled:
            seen.append("noticed")
            raise

@plugin.tool
async def what_was_seen() -> list[str]:
    return seen

@plugin.tool
async def who() -> dict:
    call = current_call()
    return {"user": call.user_id, "request": call.request_id, "trace": call.trace,
            "caller": call.caller, "tool": call.tool}

@plugin.tool(idle_timeout=0.3)
async def work(steps: int, pause: float) -> int:
    for step in range(steps):
        plugin.api.progress(step + 1, steps, f"step {step + 1}")
        await asyncio.sleep(pause)
    return steps

@plugin.tool
async def die() -> None:
    os._exit(7)

@plugin.tool(idempotent=True)
async def die_once(marker: str) -> str:
    try:
        os.close(os.open(os.path.expanduser(f"~/{marker}"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "second try"
    os._exit(7)

@plugin.tool
def count_up(n: int):
    yield from range(n)

@plugin.tool
async def count_up_async(n: int):
    try:
        for i in range(n):
            yield {"item": i}
    finally:
        seen.append("closed")

@plugin.tool
async def drip():
    while True:
        yield "drop"

@plugin.tool
async def register(name: str) -> None:
    async def late(n: int) -> int:
        return n * 2
    await plugin.api.register_tool(late, name=name)

@plugin.tool
async def unregister(name: str) -> None:
    await plugin.api.unregister_tool(name)

@plugin.tool
async def relay(tool: str, params: dict, timeout: float | None = None):
    return await plugin.api.call(tool, params, timeout=timeout)

@plugin.tool
def relay_blocking(tool: str, params: dict):
    return plugin.api.blocking.call(tool, params)

@plugin.tool(input_schema={"type": "object", "properties": {"n": {"type": "integer"}}})
async def by_schema(**arguments):
    return arguments
"""

QUICK = trusting(limits=Limits(grace=0.3), restart=Restart(backoff=0.01, attempts={}))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.fixture
async def host(make_plugin: MakePlugin) -> AsyncIterator[Host]:
    folder = make_plugin("demo", CODE, permissions=["tools:register", "tools:execute"])
    async with Host([folder], QUICK) as host:
        assert not host.problems
        yield host


async def test_a_typed_tool_gets_and_gives_its_types(host: Host) -> None:
    assert await host.call("demo.add", {"a": 1, "b": 2}) == 3
    assert await host.call("demo.add", {"a": 1}) == 3
    assert await host.call("demo.flip", {"point": {"x": 1}}) == {"x": -1, "y": 0}
    assert await host.call("demo.echo", {"data": b"\x00\xff"}) == b"\x00\xff"
    assert await host.call("demo.by_schema", {"n": 1, "more": "x"}) == {"n": 1, "more": "x"}


async def test_a_blocking_tool_runs_in_a_thread_beside_the_loop(host: Host) -> None:
    assert await host.call("demo.blocking", {"text": "ran"}) == "ran in tool"


async def test_a_tool_answers_to_its_name_for_models_too(host: Host) -> None:
    assert await host.call("plugin_demo_add", {"a": 1}) == 3


async def test_base64_text_reaches_a_bytes_parameter_as_bytes(host: Host) -> None:
    assert await host.call("demo.echo", {"data": "AP8="}) == b"\x00\xff"
    with pytest.raises(InvalidParams, match=r"\$\.data is not base64"):
        await host.call("demo.echo", {"data": "?"})


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"a": "1"}, "$.a must be an integer, not a string"),
        ({}, "$.a is required"),
        ({"a": 1, "c": 2}, "c"),
        ({"a": object()}, "$.a"),
    ],
)
async def test_unfit_parameters_are_refused_before_anything_is_sent(
    host: Host, params: dict[str, object], problem: str
) -> None:
    with pytest.raises(InvalidParams) as caught:
        await host.call("demo.add", params)
    assert problem in str(caught.value)


async def test_an_unknown_tool_is_named_with_its_nearest_neighbour(host: Host) -> None:
    with pytest.raises(UnknownTool, match=r"did you mean 'demo.add'"):
        await host.call("demo.ad")


async def test_a_tool_error_carries_code_message_type_and_traceback(host: Host) -> None:
    with pytest.raises(ToolError) as caught:
        await host.call("demo.fail", {"message": "no luck", "code": "unlucky"})
    assert (caught.value.code, caught.value.message) == ("unlucky", "no luck")
    with pytest.raises(ToolError) as caught:
        await host.call("demo.fail", {"message": "k"})
    assert (caught.value.code, caught.value.type) == ("tool_error", "KeyError")
    assert "raise ToolError(message" in caught.value.traceback
    assert "plughost_worker" not in caught.value.traceback


async def test_the_context_of_a_call_reaches_the_tool(host: Host) -> None:
    context = CallContext(user_id="u1", request_id="r1", trace="00-ab-cd-01", caller="app")
    seen = await host.call("demo.who", context=context)
    assert seen == {
        "user": "u1", "request": "r1", "trace": "00-ab-cd-01", "caller": "app", "tool": "who",
    }  # fmt: skip


async def test_a_context_that_cannot_travel_is_refused_where_it_is_made() -> None:
    with pytest.raises(HostMisuse, match="user_id"):
        CallContext(user_id="u" * 2000)
    with pytest.raises(HostMisuse, match="timeout"):
        CallContext(timeout=0)


async def test_at_the_deadline_the_caller_gets_a_timeout_and_the_tool_is_cancelled(
    host: Host,
) -> None:
    pid = host.plugins["demo"].pid
    with pytest.raises(CallTimeout, match="did not answer within 100 ms") as caught:
        await host.call("demo.wait", {"seconds": 60}, context=CallContext(timeout=0.1))
    assert "most recent call first" in caught.value.stack
    assert await host.call("demo.what_was_seen") == ["cancelled"]
    assert host.plugins["demo"].pid == pid


async def test_a_blocking_tool_can_see_that_it_is_cancelled(host: Host) -> None:
    with pytest.raises(CallTimeout):
        await host.call("demo.wait_blocking", {"seconds": 60}, context=CallContext(timeout=0.1))
    with anyio.fail_after(5):
        while await host.call("demo.what_was_seen") != ["noticed"]:
            await anyio.lowlevel.checkpoint()
    assert host.plugins["demo"].last_exit is None


async def test_the_callers_cancellation_reaches_the_worker(host: Host) -> None:
    with anyio.move_on_after(0.1):
        await host.call("demo.wait", {"seconds": 60})
    with anyio.fail_after(5):
        while await host.call("demo.what_was_seen") != ["cancelled"]:
            await anyio.lowlevel.checkpoint()


async def test_progress_reaches_the_caller_and_starts_the_idle_timeout_anew(host: Host) -> None:
    seen: list[tuple[float, float | None, str]] = []
    context = CallContext(on_progress=lambda *report: seen.append(report))
    assert await host.call("demo.work", {"steps": 5, "pause": 0.1}, context=context) == 5
    assert seen[0] == (1, 5, "step 1")
    assert len(seen) == 5
    with pytest.raises(CallTimeout, match="reported no progress for 300 ms"):
        await host.call("demo.work", {"steps": 2, "pause": 5})


async def test_progress_does_not_outlast_the_callers_own_timeout(host: Host) -> None:
    with pytest.raises(CallTimeout):
        await host.call(
            "demo.work", {"steps": 100, "pause": 0.05}, context=CallContext(timeout=0.3)
        )


async def test_a_death_ends_the_open_calls_with_its_cause(host: Host) -> None:
    errors: list[WorkerDied] = []

    async def call(tool: str, params: Mapping[str, object]) -> None:
        with pytest.raises(WorkerDied) as caught:
            await host.call(tool, params)
        errors.append(caught.value)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(call, "demo.wait", {"seconds": 60})
            while _open_calls(host) < 2:
                await anyio.lowlevel.checkpoint()
            tasks.start_soon(call, "demo.die", {})
    for error in errors:
        assert error.outcome_unknown
        assert (error.exit.cause, error.exit.code) == (Cause.EXITED, 7)
        assert "exited with code 7" in str(error)
    assert len(errors) == 3


async def test_a_call_that_was_never_sent_is_made_on_the_next_worker(host: Host) -> None:
    worker = host.plugins["demo"].active_worker
    assert worker is not None
    worker.process.kill()  # what is written from here on meets a worker that is dying
    outcomes = await host.call_many([("demo.add", {"a": n}) for n in range(20)])
    for n, outcome in enumerate(outcomes):
        sent = isinstance(outcome.error, WorkerDied) and outcome.error.outcome_unknown
        assert sent or outcome.value == n + 2


async def test_a_call_waits_for_the_next_worker_within_its_deadline(host: Host) -> None:
    with pytest.raises(WorkerDied):
        await host.call("demo.die")
    assert host.plugins["demo"].active_worker is None
    with anyio.fail_after(10):
        assert await host.call("demo.add", {"a": 1}) == 3
    assert host.plugins["demo"].restarts == 1


async def test_an_idempotent_call_is_made_again_on_the_next_worker(
    host: Host, tmp_path: Path
) -> None:
    assert await host.call("demo.die_once", {"marker": tmp_path.name}) == "second try"


async def test_each_of_many_calls_has_its_own_outcome(host: Host) -> None:
    outcomes = await host.call_many(
        [("demo.add", {"a": 1}), ("demo.add", {}), ("demo.nope", {}), ("demo.add", {"a": 2})]
    )
    assert [outcome.value for outcome in outcomes] == [3, None, None, 4]
    assert isinstance(outcomes[1].error, InvalidParams)
    assert isinstance(outcomes[2].error, UnknownTool)


@pytest.mark.parametrize("tool", ["demo.count_up", "demo.count_up_async"])
async def test_a_stream_gives_all_items_in_order_however_slow_its_reader(
    host: Host, tool: str
) -> None:
    items = []
    async with host.stream(tool, {"n": 50}) as stream:
        async for item in stream:
            items.append(item["item"] if isinstance(item, dict) else item)
            await anyio.lowlevel.checkpoint()
    assert items == list(range(50))


async def test_a_reader_that_stops_ends_the_stream_in_the_tool(host: Host) -> None:
    async with host.stream("demo.count_up_async", {"n": 1_000_000}) as stream:
        async for _ in stream:
            break
    with anyio.fail_after(5):
        while await host.call("demo.what_was_seen") != ["closed"]:
            await anyio.lowlevel.checkpoint()


async def test_a_stream_ends_at_its_deadline_even_while_its_reader_is_behind(host: Host) -> None:
    async def read_slowly() -> None:
        async with host.stream("demo.drip", context=CallContext(timeout=0.2)) as stream:
            async for _ in stream:
                await anyio.sleep(0.05)

    with anyio.fail_after(10), pytest.raises(CallTimeout):
        await read_slowly()
    assert await host.call("demo.add", {"a": 1}) == 3


async def test_a_plain_call_of_a_streaming_tool_gets_the_items_as_a_list(host: Host) -> None:
    assert await host.call("demo.count_up", {"n": 3}) == [0, 1, 2]


async def test_a_stream_of_a_plain_tool_is_its_one_result(host: Host) -> None:
    async with host.stream("demo.add", {"a": 1}) as stream:
        assert [item async for item in stream] == [3]


async def test_tools_come_and_go_at_run_time(host: Host) -> None:
    await host.call("demo.register", {"name": "late"})
    assert host.tools["demo.late"].input_schema["required"] == ["n"]
    assert await host.call("demo.late", {"n": 4}) == 8
    with pytest.raises(ToolError, match="registered already"):
        await host.call("demo.register", {"name": "late"})
    await host.call("demo.unregister", {"name": "late"})
    with pytest.raises(UnknownTool):
        await host.call("demo.late", {"n": 4})


async def test_a_plugin_calls_a_tool_with_the_context_of_its_own_call(
    host: Host, make_plugin: MakePlugin
) -> None:
    context = CallContext(user_id="u1", request_id="r1", caller="app")
    for relay in ("demo.relay", "demo.relay_blocking"):
        seen = await host.call(relay, {"tool": "demo.who", "params": {}}, context=context)
        assert (seen["user"], seen["request"]) == ("u1", "r1")
        assert seen["caller"] == f"app > {relay}"


async def test_a_tool_that_would_call_itself_again_is_refused(host: Host) -> None:
    params = {"tool": "demo.relay", "params": {"tool": "demo.add", "params": {"a": 1}}}
    with pytest.raises(ToolError, match="goes round in a cycle") as caught:
        await host.call("demo.relay", params)
    assert caught.value.code == TooDeep.code
    with pytest.raises(ToolError, match="goes round in a cycle"):
        await host.call("demo.relay", params | {"tool": "plugin_demo_relay"})


async def test_a_nested_call_inherits_the_deadline(host: Host) -> None:
    params = {"tool": "demo.wait", "params": {"seconds": 60}, "timeout": 50.0}
    with pytest.raises(CallTimeout) as caught:
        await host.call("demo.relay", params, context=CallContext(timeout=0.2))
    assert caught.value.host_wait > 0


async def test_time_that_the_worker_waits_for_the_host_does_not_count_against_its_own(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin(
        "slow", CODE, permissions=["tools:register", "tools:execute"], limits={"timeout": 0.4}
    )
    make_plugin("other", CODE)
    async with Host([folder], QUICK) as host:
        params = {"tool": "other.wait", "params": {"seconds": 0.8}}
        assert await host.call("slow.relay", params) == "done"
        with pytest.raises(CallTimeout):
            await host.call("slow.wait", {"seconds": 0.8})


async def test_beyond_the_bound_of_calls_in_flight_the_answer_is_overloaded_at_once(
    make_plugin: MakePlugin,
) -> None:
    config = trusting(limits=Limits(calls_in_flight=3, grace=0.2))
    async with Host([make_plugin("demo", CODE)], config) as host:
        calls = [("demo.wait", {"seconds": 0.5})] * 5
        outcomes = await host.call_many(calls)
        refused = [outcome for outcome in outcomes if isinstance(outcome.error, Overloaded)]
        assert len(refused) == 2
        assert [o.value for o in outcomes if o.error is None] == ["done"] * 3


async def test_a_stopping_host_lets_open_calls_end_and_takes_no_new_ones(
    make_plugin: MakePlugin,
) -> None:
    results: list[object] = []
    async with anyio.create_task_group() as tasks:
        async with Host([make_plugin("demo", CODE)], QUICK) as host:

            async def call() -> None:
                results.append(await host.call("demo.wait", {"seconds": 0.4}))

            tasks.start_soon(call)
            with anyio.fail_after(5):
                while not _open_calls(host):
                    await anyio.lowlevel.checkpoint()
        assert results == ["done"]
        assert host.plugins["demo"].state is State.UNLOADED
        with pytest.raises(NotRunning):
            await host.call("demo.add", {"a": 1})


def _open_calls(host: Host) -> int:
    worker = host.plugins["demo"].worker
    return worker.channel.open_calls if worker is not None else 0
