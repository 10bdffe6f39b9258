"""What the caller gets from tools that return, raise, hang and die in every way there is."""

import math
from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import pytest

from plughost import (
    CallContext,
    CallTimeout,
    Cause,
    Host,
    Layer,
    PlughostError,
    State,
    ToolError,
    WorkerDied,
)

from .plugins.zoo import ALL_LAYERS, PATIENCE, QUICK, RESTART, until, zoo

pytestmark = pytest.mark.anyio

SHORT = CallContext(timeout=0.3)


async def error_of(host: Host, tool: str, **params: object) -> PlughostError:
    with pytest.raises(PlughostError) as caught:
        await host.call(tool, params)
    return caught.value


# Results


@pytest.mark.parametrize(
    ("tool", "code", "words"),
    [
        ("an_object", "result_invalid", "Encoding objects of type object is unsupported"),
        ("a_huge_integer", "result_invalid", "can't serialize ints"),
        ("a_list_in_itself", "result_invalid", "maximum recursion depth exceeded"),
        ("deep", "result_invalid", "maximum recursion depth exceeded"),
        ("half_a_character", "result_invalid", "surrogates not allowed"),
        ("a_coroutine", "result_invalid", "Encoding objects of type method is unsupported"),
        ("many_tuple_keys", "result_invalid", "use strings for keys"),
        ("too_many_values", "result_too_large", "more than 200000 values"),
        ("not_as_declared", "result_invalid", "$ must be an integer, not a string"),
    ],
)
async def test_a_result_that_cannot_be_sent_fails_its_call_and_no_other(
    tool: str, code: str, words: str
) -> None:
    async with zoo("returns_anything") as host:
        error = await error_of(host, f"returns-anything.{tool}")
        assert isinstance(error, ToolError)
        assert error.code == code
        assert words in str(error)
        assert host.plugin("returns-anything").last_exit is None


async def test_what_msgpack_can_hold_arrives() -> None:
    async with zoo("returns_anything") as host:
        assert await host.call("returns-anything.a_set") == [3]
        assert await host.call("returns-anything.odd_keys") == {(1, 2): 3}
        nan, infinity = await host.call("returns-anything.not_a_number")
        assert math.isnan(nan)
        assert infinity == math.inf
        assert str(await host.call("returns-anything.a_time_zone")) == "2026-01-01 00:00:00+00:00"


async def test_a_hundred_megabytes_are_refused_before_they_are_sent() -> None:
    limits = replace(QUICK, memory=1 << 30)
    async with zoo("returns_anything", limits=limits) as host:
        error = await error_of(host, "returns-anything.hundred_megabytes")
        assert error.code == "result_too_large"
        assert "do not fit in a frame of 16777216 bytes" in str(error)
        assert host.plugin("returns-anything").last_exit is None


# Exceptions


@pytest.mark.parametrize("tool", ["on_the_loop", "in_a_thread"])
async def test_whatever_a_tool_raises_is_its_callers_error_and_the_worker_lives(tool: str) -> None:
    words = {
        "base": "Rude: out of my way (plugin.py, line ",
        "keyboard": "KeyboardInterrupt (plugin.py",
        "exit": "SystemExit: 3 (plugin.py",
        "generator": "GeneratorExit (plugin.py",
        "cancelled": "CancelledError (plugin.py",
        "stop": "StopIteration",
        "stop_async": "StopAsyncIteration",
        "long": "ValueError: xxxxx",
        "lines": "ValueError: line line line",
        "unprintable": "Unprintable: <no text: its __str__ raised RuntimeError>",
        "half": r"ValueError: half \ud800 a character",
        "code": "long code",
        "no_code": "no code",
        "odd_code": "odd code",
        "half_code": "half code",
        "group": "BaseExceptionGroup: several (2 sub-exceptions)",
    }
    async with zoo("raises_anything") as host:
        for kind, expected in words.items():
            error = await error_of(host, f"raises-anything.{tool}", kind=kind)
            assert isinstance(error, ToolError), kind
            assert expected in str(error), kind
            assert len(str(error)) < 11_000, kind
            assert len(error.traceback) <= 20_000, kind
            assert 1 <= len(error.code) <= 100, kind
        assert host.plugin("raises-anything").last_exit is None


async def test_exceptions_that_cause_each_other_are_told_up_to_a_bound() -> None:
    async with zoo("raises_anything") as host:
        for tool, count in (("chained", 10), ("chained_in_a_ring", 10)):
            error = await error_of(host, f"raises-anything.{tool}")
            assert isinstance(error, ToolError)
            assert error.traceback.count("which caused:") == count - 1


async def test_what_is_raised_beside_a_call_reaches_the_log_and_ends_nothing() -> None:
    async with zoo("raises_anything") as host:
        for tool in ("exit_in_a_thread", "exit_in_a_callback", "raise_in_a_callback"):
            assert await host.call(f"raises-anything.{tool}") == "still here"
        plugin = host.plugin("raises-anything")
        said = "SystemExit outside of a call was ignored"
        await until(lambda: any(said in entry.message for entry in plugin.log.entries))
        await until(lambda: any("_raise('base')" in entry.message for entry in plugin.log.entries))
        assert plugin.last_exit is None


# Deaths


@pytest.mark.parametrize(
    ("tool", "code", "words"),
    [
        ("exit_in_a_thread", 5, "exited with code 5"),
        ("segfault", -11, "killed by SIGSEGV"),
        ("abort", -6, "killed by SIGABRT"),
        ("overflow_the_stack", -11, "killed by SIGSEGV"),
        ("kill_itself", -9, "killed by SIGKILL"),
    ],
)
@pytest.mark.parametrize("without", [frozenset(), ALL_LAYERS], ids=["sandboxed", "bare"])
async def test_a_worker_that_dies_in_a_call_says_how_and_comes_back(
    tool: str, code: int, words: str, without: frozenset[Layer]
) -> None:
    async with zoo("dies", without=without) as host:
        plugin = host.plugin("dies")
        error = await error_of(host, f"dies.{tool}")
        assert isinstance(error, WorkerDied)
        assert error.outcome_unknown
        assert error.code == "outcome_unknown"
        assert str(error.exit) == words
        assert error.exit.code == code
        assert error.exit.cause is (Cause.SIGNALLED if code < 0 else Cause.EXITED)
        assert plugin.last_exit == error.exit
        if tool in ("segfault", "abort", "overflow_the_stack"):
            assert "tests/plugins/dies/plugin.py" in error.exit.stack
        assert await host.call("dies.answer_and_exit") == "my last words"  # by the next worker
        assert plugin.restarts == 1


async def test_the_death_of_a_worker_ends_all_its_calls() -> None:
    async with zoo("dies") as host:
        errors: list[PlughostError] = []

        async def call() -> None:
            errors.append(await error_of(host, "dies.wait"))

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(call)
                worker = host.plugin("dies").worker
                await until(lambda: worker is not None and worker.channel.open_calls == 50)
                await error_of(host, "dies.exit", code=1)
        assert {type(error) for error in errors} == {WorkerDied}
        assert len(errors) == 50


async def test_an_answer_that_was_sent_before_the_death_counts() -> None:
    async with zoo("dies") as host:
        assert await host.call("dies.answer_and_exit") == "my last words"
        plugin = host.plugin("dies")
        await until(lambda: plugin.state is State.ERROR)
        assert "it ended by itself" in plugin.error


async def test_a_worker_may_not_signal_its_process_group() -> None:
    async with zoo("dies") as host:
        error = await error_of(host, "dies.kill_its_session")
        assert "PermissionError: [Errno 1] Operation not permitted" in str(error)
        assert host.plugin("dies").last_exit is None


@pytest.mark.parametrize("without", [frozenset({Layer.SECCOMP}), ALL_LAYERS])
async def test_a_worker_that_kills_its_session_kills_nothing_but_itself(
    without: frozenset[Layer],
) -> None:
    async with zoo("dies", without=without) as host:
        error = await error_of(host, "dies.kill_its_session")
        assert isinstance(error, WorkerDied)
        assert str(error.exit) == "killed by SIGKILL"
        assert await host.call("dies.answer_and_exit") == "my last words"  # by the next worker
        assert host.plugin("steady").last_exit is None


async def test_an_idempotent_tool_is_called_again_on_the_next_worker() -> None:
    async with zoo("dies") as host:
        assert await host.call("dies.exit_on_the_first_try") == "second try"


async def test_its_last_printed_line_is_in_the_log() -> None:
    async with zoo("dies") as host:
        await error_of(host, "dies.exit", code=3)
        log = host.plugin("dies").log.entries
        assert [entry.message for entry in log if entry.source == "stdout"] == ["goodbye"]
        said = "exited with code 3; starting again in 10 ms"
        await until(lambda: any(entry.message == said for entry in log))


# Hangs


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("holds-the-gil.regex", 'holds_the_gil/plugin.py", line 14 in regex'),
        ("holds-the-gil.sleep", 'holds_the_gil/plugin.py", line 20 in sleep'),
        ("never-reads.block", 'never_reads/plugin.py", line 12 in block'),
        ("swallows-cancellation.in_a_thread", 'swallows_cancellation/plugin.py", line 23'),
        ("swallows-cancellation.on_the_loop", "asyncio/base_events.py"),
    ],
)
async def test_a_tool_that_hangs_is_shown_at_its_deadline_and_killed_after_the_grace_time(
    tool: str, words: str
) -> None:
    params = {"seconds": 3600} if tool.endswith("sleep") else {}
    plugin_id = tool.split(".")[0]
    async with zoo(plugin_id.replace("-", "_")) as host:
        with pytest.raises(CallTimeout) as caught:
            await host.call(tool, params, context=SHORT)
        assert words in caught.value.stack
        plugin = host.plugin(plugin_id)
        await until(lambda: plugin.restarts == 1 and plugin.state is State.ACTIVE)
        end = plugin.last_exit
        assert end is not None
        assert end.cause is Cause.DEADLINE
        assert str(end) == f"{tool} did not stop 200 ms after its deadline"
        assert words in end.stack
        assert end.signal == "SIGKILL"


@pytest.mark.parametrize("tool", ["mask_and_hang", "forge_and_hang", "flood_and_hang"])
async def test_a_tool_that_hides_its_stack_is_killed_all_the_same(tool: str) -> None:
    async with zoo("hides_its_stack") as host:
        with pytest.raises(CallTimeout) as caught:
            await host.call(f"hides-its-stack.{tool}", context=SHORT)
        assert "line" not in caught.value.stack
        assert len(caught.value.stack) <= 64 * 1024
        assert "\x1b" not in caught.value.stack
        plugin = host.plugin("hides-its-stack")
        await until(lambda: plugin.last_exit is not None)
        assert plugin.last_exit is not None
        assert plugin.last_exit.cause is Cause.DEADLINE


async def test_a_worker_that_stops_itself_is_killed_at_the_deadline() -> None:
    async with zoo("stops_itself") as host:
        with pytest.raises(CallTimeout):
            await host.call("stops-itself.stop", context=SHORT)
        plugin = host.plugin("stops-itself")
        await until(lambda: plugin.last_exit is not None)
        assert plugin.last_exit is not None
        assert plugin.last_exit.cause is Cause.DEADLINE


async def test_a_tool_that_needs_a_moment_to_stop_is_not_killed() -> None:
    async with zoo("swallows_cancellation", limits=replace(QUICK, grace=5.0)) as host:
        with pytest.raises(CallTimeout):
            await host.call("swallows-cancellation.slow_to_stop", context=SHORT)
        worker = host.plugin("swallows-cancellation").worker
        assert worker is not None
        with anyio.fail_after(PATIENCE):
            await worker.channel.drained()
        assert host.plugin("swallows-cancellation").last_exit is None


async def test_blocking_tools_beyond_the_threads_wait_and_the_loop_answers() -> None:
    limits = replace(QUICK, threads=2)
    async with zoo("spends_its_threads", limits=limits) as host, anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(host.call, "spends-its-threads.block")
        worker = host.plugin("spends-its-threads").worker
        await until(lambda: worker is not None and worker.channel.open_calls == 2)
        with pytest.raises(CallTimeout):
            await host.call("spends-its-threads.quick", context=CallContext(timeout=0.1))
        assert await host.call("spends-its-threads.on_the_loop") == 2
        await host.call("spends-its-threads.let_go")
        assert await host.call("spends-its-threads.quick") == 1


async def test_a_plugin_that_ignores_every_request_to_end_is_killed_after_the_grace_time() -> None:
    async with zoo("ignores_every_request_to_end") as host:
        plugin = host.plugin("ignores-every-request-to-end")
        assert await host.call(f"{plugin.id}.hello") == "hello"
        with anyio.fail_after(PATIENCE):
            await plugin.stop()
        assert plugin.state is State.UNLOADED
        assert plugin.last_exit is not None
        assert plugin.last_exit.cause is Cause.STOPPED
        assert plugin.last_exit.signal == "SIGKILL"


# Streams


async def read(host: Host, tool: str, context: CallContext | None = None) -> list[object]:
    """The items of a stream, and the error that it ended with as the last one."""
    items: list[object] = []
    try:
        async with host.stream(f"breaks-its-streams.{tool}", context=context) as stream:
            async for item in stream:
                items.append(item)  # noqa: PERF401 - those before the error are wanted
    except PlughostError as exc:
        items.append(exc)
    return items


async def test_a_stream_that_breaks_ends_with_what_its_tool_raised() -> None:
    async with zoo("breaks_its_streams") as host:
        *items, error = await read(host, "raises_in_the_middle")
        assert items == [1, 2]
        assert isinstance(error, ToolError)
        assert "RuntimeError: no more" in str(error)
        *items, error = await read(host, "dies_in_the_middle")
        assert items == [1]
        assert isinstance(error, WorkerDied)
        assert str(error.exit) == "killed by SIGABRT"


async def test_an_item_that_is_too_long_is_the_tools_error() -> None:
    async with zoo("breaks_its_streams") as host:
        (error,) = await read(host, "too_long_by_the_sdk")
        assert isinstance(error, ToolError)
        assert "is over 1048576: cut it up" in str(error)
        assert error.code == "result_too_large"


async def test_a_reader_that_leaves_an_endless_stream_ends_it_in_the_tool() -> None:
    async with zoo("breaks_its_streams") as host:
        async with host.stream("breaks-its-streams.endless") as stream:
            async for item in stream:
                if item == 20:
                    break
        worker = host.plugin("breaks-its-streams").worker
        assert worker is not None
        with anyio.fail_after(PATIENCE):
            await worker.channel.drained()
        assert host.plugin("breaks-its-streams").last_exit is None


async def test_a_reader_that_stops_reading_holds_an_endless_stream_up_until_its_deadline() -> None:
    async with (
        zoo("breaks_its_streams") as host,
        host.stream("breaks-its-streams.endless", context=SHORT) as stream,
    ):
        assert await anext(stream) == 0
        worker = host.plugin("breaks-its-streams").worker
        assert worker is not None
        with anyio.fail_after(PATIENCE):
            await worker.channel.drained()  # the deadline has passed, the tool has stopped
        items: list[object] = []
        with pytest.raises(CallTimeout):
            await _take_all(stream, items)
        assert len(items) <= 8


async def _take_all(stream: AsyncIterator[object], items: list[object]) -> None:
    async for item in stream:
        items.append(item)  # noqa: PERF401 - those before the error are wanted


@pytest.mark.parametrize("tool", ["empty_for_ever", "blocking_for_ever"])
async def test_a_generator_that_never_yields_meets_its_deadline(tool: str) -> None:
    async with zoo("breaks_its_streams") as host:
        (error,) = await read(host, tool, SHORT)
        assert isinstance(error, CallTimeout)


async def test_a_generator_that_yields_when_it_is_closed_harms_only_itself() -> None:
    async with zoo("breaks_its_streams") as host:
        async with host.stream("breaks-its-streams.clings") as stream:
            assert await anext(stream) == 1
        worker = host.plugin("breaks-its-streams").worker
        assert worker is not None
        with anyio.fail_after(PATIENCE):
            await worker.channel.drained()


# The worker's own insides


async def test_a_plugin_that_takes_its_loop_apart_gets_away_with_it_or_dies() -> None:
    async with zoo("stops_its_loop") as host:
        plugin = host.plugin("stops-its-loop")
        assert await host.call("stops-its-loop.stop") == "stopped?"
        error = await error_of(host, "stops-its-loop.cancel_all_tasks")
        assert isinstance(error, ToolError)
        assert error.type == "CancelledError"
        assert plugin.last_exit is None
        assert await host.call("stops-its-loop.close") == "closed?"
        await until(lambda: plugin.restarts == 1 and plugin.state is State.ACTIVE)
        assert plugin.last_exit is not None
        assert "the worker failed: ValueError: I/O operation on" in plugin.last_exit.stderr[-1]


async def test_a_worker_whose_loop_no_longer_reads_is_found_and_killed() -> None:
    limits = replace(QUICK, unresponsive_after=0.1, unresponsive_kill=0.1)
    async with zoo("stops_its_loop", limits=limits) as host:
        assert await host.call("stops-its-loop.remove_the_reader") == "deaf"
        error = await error_of(host, "stops-its-loop.stop")
        assert isinstance(error, WorkerDied)
        assert error.exit.cause is Cause.UNRESPONSIVE
        assert "its message loop did not answer" in str(error.exit)


@pytest.mark.parametrize(
    "tool",
    [
        "replace_builtins",
        "empty_sys_modules",
        "replace_os",
        "hurt_threads",
        "no_recursion",
        "stop_the_clock",
    ],
)
async def test_a_plugin_that_wrecks_its_interpreter_harms_only_itself(tool: str) -> None:
    limits = replace(QUICK, call_timeout=0.5)
    async with zoo("wrecks_its_interpreter", limits=limits, restart=RESTART) as host:
        for attempt in (tool, "hello"):
            try:
                await host.call(f"wrecks-its-interpreter.{attempt}")
            except PlughostError as exc:
                assert isinstance(exc, CallTimeout | WorkerDied | ToolError)  # noqa: PT017 - or none
        plugin = host.plugin("wrecks-its-interpreter")
        if plugin.last_exit is None:
            await plugin.stop()
        assert plugin.last_exit is not None
