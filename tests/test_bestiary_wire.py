"""Plugins that speak past the SDK: frames that lie, replies that are forged, requests too many."""

import os
from dataclasses import replace

import anyio
import pytest

from plughost import (
    CallContext,
    CallTimeout,
    Cause,
    Host,
    Overloaded,
    PlughostError,
    ProtocolViolation,
    Rates,
    State,
    ToolError,
    WorkerDied,
)

from .plugins.zoo import PATIENCE, QUICK, until, zoo

pytestmark = pytest.mark.anyio


async def assert_violation(host: Host, tool: str, words: str) -> None:
    """The call ends, the worker is killed for it, and the next one answers."""
    plugin = host.plugin(tool.split(".")[0])
    before = plugin.restarts
    with anyio.fail_after(PATIENCE), pytest.raises((WorkerDied, ProtocolViolation)) as caught:
        await host.call(tool)
    assert words in str(caught.value)
    await until(lambda: plugin.restarts == before + 1 and plugin.state is State.ACTIVE)
    assert plugin.last_exit is not None
    assert plugin.last_exit.cause is Cause.VIOLATION
    assert str(plugin.last_exit).startswith("protocol violation: ")
    assert plugin.last_exit.signal == "SIGKILL"
    assert any(words in entry.message for entry in plugin.log.entries)


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("breaks-the-protocol.garbage", "MessagePack data is malformed: invalid opcode"),
        ("breaks-the-protocol.empty_frame", "Input data was truncated"),
        ("breaks-the-protocol.unknown_message", "Invalid value 99"),
        ("breaks-the-protocol.field_too_many", "Expected `array` of at most length 1, got 2"),
        ("breaks-the-protocol.welcome", "Welcome is not a worker's to send"),
        ("breaks-the-protocol.credit", "Credit is not a worker's to send"),
        ("breaks-the-protocol.second_hello", "a second hello"),
        ("breaks-the-protocol.call_ids_that_fall", "call id 6 after 7"),
        ("breaks-the-protocol.broken_log", "a log record: Invalid enum value 'loud'"),
        ("breaks-the-protocol.long_log", "a log record of 300037 bytes"),
        ("breaks-the-protocol.chunk_to_a_plain_call", "which asked for no stream"),
        ("breaks-the-protocol.chunk_of_no_call", "call 1000000, which was never made"),
        ("breaks-the-protocol.deep_result", "maximum recursion depth exceeded"),
        ("breaks-the-protocol.many_values", "more than 200000 values in one message"),
        ("breaks-the-protocol.colliding_keys", "a map key is an array or a map"),
        ("breaks-the-protocol.extension_type", "msgpack extension type 5"),
        ("breaks-the-protocol.result_that_is_cut", "Input data was truncated"),
        ("lies-about-length.lie", "a frame of 4294967295 bytes is over the limit of 16777216"),
        ("forges-replies.result_of_no_call", "call 1000000, which was never made"),
        ("forges-replies.error_of_no_call", "call 1000000, which was never made"),
        ("forges-replies.ack_of_no_call", "ack of call 1000000, the last one was 2"),
        ("forges-replies.ack_again", "ack of call 1, the last one was 2"),
        ("closes-its-descriptors.rpc_out", "it closed its pipe"),
    ],
)
async def test_a_worker_that_breaks_the_protocol_is_killed_for_it(tool: str, words: str) -> None:
    async with zoo(tool.split(".")[0].replace("-", "_")) as host:
        await assert_violation(host, tool, words)


@pytest.mark.parametrize("tool", ["everything", "everything_on_the_loop"])
async def test_a_worker_without_any_descriptor_dies_of_it_or_is_killed(tool: str) -> None:
    async with zoo("closes_its_descriptors") as host:
        with anyio.fail_after(PATIENCE), pytest.raises(WorkerDied) as caught:
            await host.call(f"closes-its-descriptors.{tool}")
        assert caught.value.exit.cause in (Cause.VIOLATION, Cause.EXITED)


async def test_a_worker_that_cannot_hear_the_host_is_killed_at_the_deadline() -> None:
    async with zoo("closes_its_descriptors") as host:
        with pytest.raises(CallTimeout):
            await host.call("closes-its-descriptors.rpc_in", context=CallContext(timeout=0.3))
        plugin = host.plugin("closes-its-descriptors")
        await until(lambda: plugin.restarts == 1)
        assert plugin.last_exit is not None
        assert plugin.last_exit.cause is Cause.DEADLINE


@pytest.mark.parametrize("tool", ["half", "trickle"])
async def test_half_a_frame_is_waited_for_only_so_long(tool: str) -> None:
    async with zoo("sends_half_a_frame", limits=replace(QUICK, frame_timeout=0.2)) as host:
        await assert_violation(host, f"sends-half-a-frame.{tool}", "half a frame for ")


@pytest.mark.parametrize(
    ("tool", "words"),
    [("without_credit", "without credit"), ("too_long", "over 1048576 bytes")],
)
async def test_chunks_past_the_bounds_are_a_violation(tool: str, words: str) -> None:
    async with zoo("breaks_its_streams") as host:
        plugin = host.plugin("breaks-its-streams")
        with anyio.fail_after(PATIENCE), pytest.raises(WorkerDied, match=words):
            await _read(host, f"breaks-its-streams.{tool}")
        assert plugin.last_exit is not None
        assert plugin.last_exit.cause is Cause.VIOLATION


async def _read(host: Host, tool: str) -> None:
    async with host.stream(tool) as stream:
        async for _ in stream:
            pass


async def test_a_cancel_of_a_request_that_is_over_is_no_violation() -> None:
    async with zoo("breaks_the_protocol") as host:
        assert await host.call("breaks-the-protocol.cancel_of_no_request") == "still here"


async def test_of_two_answers_the_first_counts_and_the_second_is_counted() -> None:
    async with zoo("forges_replies") as host:
        worker = host.plugin("forges-replies").worker
        assert worker is not None
        assert await host.call("forges-replies.twice") == "first"
        await until(lambda: worker.channel.late == 1)
        assert host.plugin("forges-replies").last_exit is None


async def test_an_answer_after_the_deadline_is_dropped_and_counted() -> None:
    limits = replace(QUICK, grace=5.0)
    async with zoo("forges_replies", limits=limits) as host:
        worker = host.plugin("forges-replies").worker
        assert worker is not None
        with pytest.raises(CallTimeout):
            await host.call("forges-replies.late", context=CallContext(timeout=0.2))
        await until(lambda: worker.channel.late == 1)
        assert host.plugin("forges-replies").last_exit is None


async def test_a_worker_can_mix_up_only_its_own_calls() -> None:
    limits = replace(QUICK, grace=5.0)
    async with zoo("forges_replies", limits=limits) as host, anyio.create_task_group() as tasks:
        answers: list[object] = []

        async def wait() -> None:
            answers.append(await host.call("forges-replies.wait"))

        tasks.start_soon(wait)
        worker = host.plugin("forges-replies").worker
        await until(lambda: worker is not None and worker.channel.open_calls == 1)
        assert await host.call("forges-replies.for_another") is None
        await until(lambda: answers)
        assert answers == ["not yours"]


async def test_progress_after_the_end_is_dropped() -> None:
    async with zoo("forges_replies") as host:
        told: list[float] = []
        context = CallContext(on_progress=lambda done, *_: told.append(done))
        worker = host.plugin("forges-replies").worker
        assert worker is not None
        await host.call("forges-replies.progress_after_the_end", context=context)
        await until(lambda: worker.channel.late >= 1)
        assert 2.0 not in told
        assert host.plugin("forges-replies").last_exit is None


@pytest.mark.parametrize("tool", ["pings", "pongs", "notifications", "progress", "late_answers"])
async def test_a_flood_of_frames_is_read_only_at_the_allowed_rate(tool: str) -> None:
    limits = replace(QUICK, frames_per_second=2000, log_lines_per_second=20)
    async with zoo("floods_frames", limits=limits) as host:
        plugin = host.plugin("floods-frames")
        worker = plugin.worker
        assert worker is not None
        await host.call(f"floods-frames.{tool}")
        begun = anyio.current_time()
        await until(lambda: anyio.current_time() > begun + 1.0)
        # The first second's worth may come at once, and what is read with the last one of it.
        read = worker.channel.unsolicited
        assert read < 2000 * (anyio.current_time() - begun + 1) + 64 * 1024 / 7
        assert plugin.last_exit is None
        assert len(plugin.log.entries) < 150
        if tool == "notifications":
            assert plugin.log.dropped > 0
            log = [entry.message for entry in plugin.log.entries]
            assert "a notification on an unknown topic 'weather'" in log


@pytest.mark.parametrize("tool", ["requests", "pings_unread"])
async def test_what_answers_a_worker_that_does_not_read_is_bounded(tool: str) -> None:
    limits = replace(QUICK, max_outgoing=1 << 18)
    # With a rate, it would be read so slowly that there are few answers.
    async with zoo("floods_frames", limits=limits, rates=Rates(operations=None)) as host:
        worker = host.plugin("floods-frames").worker
        assert worker is not None
        with pytest.raises(PlughostError):
            await host.call(f"floods-frames.{tool}", context=CallContext(timeout=1.0))
        assert worker.channel.backlog < 1 << 20
        plugin = host.plugin("floods-frames")
        await until(lambda: plugin.last_exit is not None)
        assert plugin.last_exit is not None
        if tool == "requests":
            words = "protocol violation: it does not read the answers to its calls"
            assert str(plugin.last_exit) == words
        else:  # of the pings only some are answered
            assert plugin.last_exit.cause is Cause.DEADLINE


async def test_calls_to_a_worker_that_does_not_read_are_refused_beyond_a_bound() -> None:
    limits = replace(QUICK, max_outgoing=4 << 20)
    async with zoo("never_reads", limits=limits) as host:
        errors: list[PlughostError] = []

        async def call(tool: str, timeout: float, **params: object) -> None:
            context = CallContext(timeout=timeout)
            with pytest.raises(PlughostError) as caught:
                await host.call(f"never-reads.{tool}", params, context=context)
            errors.append(caught.value)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, "block", 4.0)  # the others end before it does
            worker = host.plugin("never-reads").worker
            await until(lambda: worker is not None and worker.channel.has_acknowledged_calls())
            async with anyio.create_task_group() as many:
                for _ in range(8):
                    many.start_soon(lambda: call("take", 1.0, data=os.urandom(1 << 20)))
        overloaded = [error for error in errors if isinstance(error, Overloaded)]
        assert 2 <= len(overloaded) <= 4
        assert "bytes that its worker does not read up to its limit" in str(overloaded[0])
        assert {type(error) for error in errors} <= {Overloaded, CallTimeout, WorkerDied}


# Requests


@pytest.mark.parametrize(
    ("tool", "answer"),
    [
        ("unknown_method", "unknown_method: this host offers no 'host.shut_down'"),
        ("params_of_another_type", "invalid_params: "),
        ("tool_params_that_are_a_list", "invalid_params: "),
        ("tool_params_with_an_extension", "invalid_params: "),
        ("tool_params_too_many", "invalid_params: "),
        ("neighbour_with_bad_params", "invalid_params: parameters for steady.tick do not fit"),
    ],
)
async def test_a_request_that_does_not_fit_is_refused_and_the_worker_lives(
    tool: str, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with zoo("asks_for_too_much") as host:
        assert (await host.call(f"asks-for-too-much.{tool}")).startswith(answer)
        assert host.plugin("asks-for-too-much").last_exit is None
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_frame_that_grows_on_its_way_does_not_kill_the_neighbour() -> None:
    async with zoo("asks_for_too_much", limits=replace(QUICK, memory=1 << 30)) as host:
        # What goes with the call makes the frame to the neighbour longer than the one from here.
        context = CallContext(request_id="r" * 1000)
        to = {"to": "steady.size"}
        answer = await host.call("asks-for-too-much.frame_that_grows", to, context=context)
        assert answer.startswith("invalid_params: parameters for steady.size do not fit: $ takes")
        assert host.plugin("steady").last_exit is None


async def test_parameters_that_fit_in_no_frame_are_refused_before_they_are_sent() -> None:
    async with zoo("never_reads") as host:
        with pytest.raises(PlughostError) as caught:
            await host.call("never-reads.take", {"data": b"x" * (17 << 20)})
        assert caught.value.code == "invalid_params"
        assert "a frame holds at most 16777216 bytes" in str(caught.value)
        assert await host.call("never-reads.take", {"data": b"x" * (15 << 20)}) == 15 << 20


async def test_requests_beyond_the_bound_are_refused_and_the_sdk_keeps_to_it() -> None:
    async with zoo("asks_for_too_much", limits=replace(QUICK, requests_in_flight=4)) as host:
        assert await host.call("asks-for-too-much.too_many_through_the_sdk") == 100
        await host.call("asks-for-too-much.too_many_requests")
        assert await host.call("asks-for-too-much.answers") == "asks-for-too-much"
        assert host.plugin("asks-for-too-much").last_exit is None


async def test_tools_registered_without_end_end_at_a_thousand() -> None:
    async with zoo("asks_for_too_much") as host:
        said = await host.call("asks-for-too-much.register_without_end")
        assert "a plugin may offer 1000 tools" in said
        assert len(host.tools) == 1002


async def test_a_call_without_the_permission_is_denied_by_name() -> None:
    async with zoo("may_not_execute") as host:
        said = await host.call("may-not-execute.call")
        assert said.startswith("tools:execute:steady.tick: plugin 'may-not-execute' may not call")
        with pytest.raises(ToolError) as caught:
            await host.call("may-not-execute.call_and_let_it_raise")
        assert caught.value.code == "permission_denied"


@pytest.mark.parametrize("tool", ["there", "back", "disguised"])
async def test_tools_that_call_each_other_in_a_circle_are_stopped(tool: str) -> None:
    async with zoo("goes_round") as host:
        with pytest.raises(ToolError, match=r"it goes round in a cycle|calls deep") as caught:
            await host.call(f"goes-round.{tool}")
        assert caught.value.code == "too_deep"
        assert host.plugin("goes-round").last_exit is None


async def test_a_circle_that_hides_its_origin_ends_at_the_bound_of_requests() -> None:
    async with zoo("goes_round", limits=replace(QUICK, grace=5.0)) as host:
        with pytest.raises(PlughostError):
            await host.call("goes-round.orphaned", context=CallContext(timeout=0.5))
