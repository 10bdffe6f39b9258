"""The parts of the event bus that need no worker: names, pace, bounds, history, traces."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plughost import Event, EventsConfig, HostMisuse, InvalidEvent
from plughost.catalog.event_names import MAX_EVENT_NAME, EventPattern, plain_event_name
from plughost.catalog.permissions import Permission
from plughost.exchange.events.backlog import Backlog, Entry
from plughost.exchange.events.catalogue import HOST_EVENTS, RESERVED, is_reserved
from plughost.exchange.events.event import Admitted, Origin, encode_data
from plughost.exchange.events.history import History
from plughost.exchange.events.names import PatternIndex, parse_pattern, plain_name
from plughost.exchange.events.pacing import Pacing
from plughost.exchange.events.trace import Delivery, Trace
from plughost_protocol import encode

SEGMENTS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4)
PATTERNS = st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=4)

EVENT = Event("0" * 16, "a.b", encode(None), "app", 0.0)


def numbered(number: int, size: int = 0, name: str = "a.b") -> Admitted:
    event = replace(EVENT, id=f"{number:016x}", name=name, raw=bytes(size))
    return Admitted(event, plain_event_name(name), number)


def waiting(lane: str, number: int, size: int = 0) -> Entry[str]:
    return Entry(lane, numbered(number, size), Delivery("demo", "*", 0.0))


# Names


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*", "session"),
        ("*", "session.created.twice"),
        ("session.*", "session:created"),
        ("session:*", "session.created"),
        ("message:*", "message:in.the.morning"),
        ("session.created", "session:created"),
        ("a.*.c", "a.b.c"),
        ("a.*.c.*", "a.b.c.d.e"),
        ("plugin_loaded", "plugin:loaded"),
        ("plugin_unloaded", "plugin.unloaded"),
        ("tool.executed", "tool:after_execute"),
    ],
)
def test_a_pattern_matches_by_segments_whatever_separates_them(pattern: str, name: str) -> None:
    assert parse_pattern(pattern).matches(plain_name(name))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("session.*", "session"),
        ("session.*", "sessions.created"),
        ("session", "session.created"),
        ("a.*.c", "a.c"),
        ("a.*.c", "a.b.b.c"),
        ("Session.*", "session.created"),
    ],
)
def test_a_pattern_does_not_match_more_than_it_says(pattern: str, name: str) -> None:
    assert not parse_pattern(pattern).matches(plain_name(name))


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a.:b",
        "a b",
        "a\n",
        "a/b",
        "a\x00b",
        "é",
        "٣",
        "*",
        "a.*",
        "x" * (MAX_EVENT_NAME + 1),
        "x" * 1_000_000,
    ],
)
def test_what_is_no_name_is_refused_in_a_short_sentence(name: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        plain_name(name)
    assert "is no event's name" in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("pattern", ["", "a*", "*a", "**", "a.**", "a.*.", "[ab]", "?", "a b"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidEvent, match="is no pattern of event names"):
        parse_pattern(pattern)


@given(PATTERNS, PATTERNS, SEGMENTS)
def test_a_pattern_that_includes_another_matches_all_that_the_other_does(
    wide: list[str], narrow: list[str], name: list[str]
) -> None:
    outer, inner = EventPattern(tuple(wide)), EventPattern(tuple(narrow))
    if outer.includes(inner) and inner.matches(".".join(name)):
        assert outer.matches(".".join(name))


@given(PATTERNS, PATTERNS)
def test_a_permission_for_one_pattern_covers_another_only_if_all_of_it(
    granted: list[str], asked: list[str]
) -> None:
    permission = Permission.parse(f"events:subscribe:{'.'.join(granted)}")
    covered = permission.covers("events:subscribe", ":".join(asked))
    assert covered == EventPattern(tuple(granted)).includes(EventPattern(tuple(asked)))


def test_a_permission_without_a_scope_covers_every_event_and_a_scope_never_all() -> None:
    assert Permission.parse("events:subscribe").covers("events:subscribe", "*")
    scoped = Permission.parse("events:emit:session.*")
    assert scoped.covers("events:emit", "session:created")
    assert not scoped.covers("events:emit", "*")
    assert not scoped.covers("events:emit", "no name at all")


@given(st.lists(st.tuples(PATTERNS, st.booleans()), max_size=12), SEGMENTS)
def test_the_index_finds_what_a_look_at_each_pattern_finds(
    added: list[tuple[list[str], bool]], name: list[str]
) -> None:
    index: PatternIndex[int] = PatternIndex()
    plain = ".".join(name)
    for item, (segments, _) in enumerate(added):
        index.add(EventPattern(tuple(segments)), item)
        index.match(plain)  # what is remembered must not outlive a change
    for item, (_, removed) in enumerate(added):
        if removed:
            index.remove(item)
    assert index.match(plain) == tuple(
        item
        for item, (segments, removed) in enumerate(added)
        if not removed and EventPattern(tuple(segments)).matches(plain)
    )


# Pace


def test_a_throttle_passes_the_first_event_and_none_that_follows_too_soon() -> None:
    pacing: Pacing[int] = Pacing(1.0, None, None)
    passed = [pacing.offer(n, now)[0] for n, now in enumerate([0.0, 0.5, 0.99, 1.0, 1.5, 2.1])]
    assert passed == [0, None, None, 3, None, 5]


def test_a_debounce_passes_the_last_event_after_quiet() -> None:
    pacing: Pacing[str] = Pacing(None, 1.0, None)
    assert pacing.offer("a", 0.0) == (None, None)
    assert pacing.offer("b", 0.9) == (None, "a")
    assert (pacing.due, pacing.take(1.8)) == (1.9, None)
    assert pacing.take(1.9) == "b"
    assert pacing.take(9.0) is None


def test_a_debounce_does_not_wait_for_quiet_for_ever() -> None:
    pacing: Pacing[int] = Pacing(None, 1.0, 2.5)
    for n in range(5):
        pacing.offer(n, n / 2)
    assert pacing.due == 2.5
    assert pacing.take(2.5) == 4
    pacing.offer(5, 3.0)
    assert pacing.due == 4.0


@pytest.mark.parametrize(
    "pace", [(1.0, 1.0, None), (None, None, 1.0), (0.0, None, None), (None, -1.0, None)]
)
def test_a_pace_that_cannot_be_is_refused(
    pace: tuple[float | None, float | None, float | None],
) -> None:
    with pytest.raises(InvalidEvent):
        Pacing(*pace)


# What waits


def test_the_oldest_is_lost_first_over_all_lanes() -> None:
    backlog: Backlog[str] = Backlog(3, 1_000_000)
    entries = [waiting("fast" if n % 2 else "slow", n) for n in range(5)]
    lost = [gone.admitted.number for entry in entries for gone in backlog.put(entry)]
    assert lost == [0, 1]
    assert [e.admitted.number for e in backlog.take_all("slow")] == [2, 4]
    assert [e.admitted.number for e in backlog.take_all("fast")] == [3]
    assert len(backlog) == 0


def test_bytes_are_bounded_too_and_what_alone_is_too_large_is_lost_itself() -> None:
    backlog: Backlog[str] = Backlog(100, 50_000)
    assert backlog.put(waiting("a", 0, 20_000)) == []
    assert backlog.put(waiting("a", 1, 20_000)) == []
    assert [e.admitted.number for e in backlog.put(waiting("a", 2, 20_000))] == [0]
    assert [e.admitted.number for e in backlog.put(waiting("b", 3, 60_000))] == [1, 2, 3]
    assert len(backlog) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["put", "take", "back"]))))
def test_each_lane_stays_in_order_whatever_is_put_taken_and_put_back(
    steps: list[tuple[str, str]],
) -> None:
    backlog: Backlog[str] = Backlog(5, 1_000_000)
    taken: dict[str, Entry[str]] = {}
    seen: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for number, (lane, step) in enumerate(steps):
        if step == "put":
            backlog.put(waiting(lane, number))
        elif step == "back" and lane in taken:
            backlog.put_back(taken.pop(lane))
        elif step == "take" and lane not in taken and (entry := backlog.take(lane)) is not None:
            taken[lane] = entry
        elif step == "take" and lane in taken:
            seen[lane].append(taken.pop(lane).admitted.number)
    for lane, numbers in seen.items():
        rest = [entry.admitted.number for entry in backlog.take_all(lane)]
        assert numbers + rest == sorted(numbers + rest)


# What is remembered


def test_the_history_is_bounded_by_count_and_bytes_and_found_by_pattern() -> None:
    history = History(3, 1_000_000)
    for number in range(5):
        history.add(numbered(number, name="a.odd" if number % 2 else "a.even"))
    found = history.last(parse_pattern("*"), 10, 1_000_000)
    assert [int(event.id, 16) for event in found] == [2, 3, 4]
    assert [event.name for event in history.last(parse_pattern("a:odd"), 10, 1e6)] == ["a.odd"]
    assert [int(e.id, 16) for e in history.last(parse_pattern("a.*"), 2, 1e6)] == [3, 4]
    large = History(100, 10_000)
    for number in range(5):
        large.add(numbered(number, 4_000))
    assert len(large.last(parse_pattern("*"), 10, 1e6)) == 2


def test_a_trace_shows_what_an_event_caused_and_forgets_the_oldest() -> None:
    now = 0.0
    trace = Trace(3, lambda: now)
    root = replace(EVENT, id="1" * 16, correlation_id="order-7")
    child = replace(EVENT, id="2" * 16, parent=root.id, depth=1)
    trace.began(root)
    delivery = trace.queued(root, "demo", "a.*")
    now = 0.5
    trace.started(root, delivery)
    trace.began(child)
    now = 2.0
    trace.ended(root, delivery, "handled")
    (tree,) = trace.trees("order-7")
    assert tree.deliveries == [Delivery("demo", "a.*", 0.0, 0.5, 2.0, "handled")]
    assert [node.id for node in tree.caused] == [child.id]
    assert [node.id for node in trace.trees(child.id)] == [child.id]
    for number in range(3):
        trace.began(replace(EVENT, id=f"{number:016x}"))
    assert trace.trees("order-7") == []
    assert len(trace.trees()) == 3


def test_a_trace_is_bounded_by_its_deliveries_too() -> None:
    trace = Trace(10, lambda: 0.0)
    for number in range(10):
        event = replace(EVENT, id=f"{number:016x}")
        trace.began(event)
        for _ in range(50):
            trace.queued(event, "demo", "*")
    assert sum(len(node.deliveries) for node in trace.trees()) <= 100


# Events


def test_what_is_caused_by_an_event_is_one_hop_further_through_any_chain_of_calls() -> None:
    event = replace(EVENT, id="a" * 16, depth=3, user_id="ada")
    caller = event.meta.caller
    for chain in (caller, f"{caller} > demo.on(a) > other.tool", f"app > {caller} > x.y"):
        origin = Origin.caused("demo", chain)
        assert (origin.parent, origin.depth) == (event.id, 4)
    assert Origin.caused("demo", "weather.get").depth == 0
    named = "demo (task event:0123456789abcdef:0)"  # a plugin names its own tasks
    assert Origin.caused("demo", f"{caller} > {named}").parent == event.id
    assert Origin.caused("demo", named).parent == ""
    assert Origin.of_call("demo", event.meta).user_id == "ada"


@pytest.mark.parametrize("data", [object(), object, 2**70, "\ud800"])
def test_data_that_msgpack_cannot_hold_is_refused(data: object) -> None:
    with pytest.raises(InvalidEvent, match="its data cannot be sent"):
        encode_data("a.b", data, 1000)


def test_data_over_the_limit_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="1002 bytes of 1000"):
        encode_data("a.b", bytes(999), 1000)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(HostMisuse, match="queue must be more than 0"):
        EventsConfig(queue=0)
    with pytest.raises(HostMisuse, match="max_hops must be at most 100"):
        EventsConfig(max_hops=1000)


def test_the_docs_say_what_the_host_emits_and_which_names_are_its_own() -> None:
    page = (Path(__file__).parents[1] / "docs" / "events.md").read_text()
    for name, when in HOST_EVENTS.items():
        assert f"| `{name}` | {when} |" in page
        assert is_reserved(plain_name(name))
    assert len(re.findall(r"^\| `\w+:\w+` \|", page, re.MULTILINE)) == len(HOST_EVENTS)
    for segment in RESERVED:
        assert f"`{segment}`" in page
    assert not is_reserved("plugins.loaded")
