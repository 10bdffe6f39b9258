"""What `plughost new` writes: plugins to start from, each with a test that passes."""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import Final

__all__ = ["STARTERS", "Starter"]


@dataclass(frozen=True, slots=True)
class Starter:
    """A plugin to start from. In its texts `$id` stands for the plugin's id."""

    description: str
    permissions: tuple[str | Mapping[str, str], ...]
    plugin: Template
    test: Template
    call: tuple[str, ...]
    """What to try first: a tool's own name, and its arguments."""


_HELLO: Final = Starter(
    "Says hello.",
    ("tools:register",),
    Template('''"""The plugin $id."""

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def hello(name: str, excited: bool = False) -> str:
    """Greet somebody by name.

    Args:
        name: Who is greeted.
        excited: Whether the greeting ends with an exclamation mark.
    """
    return f"Hello, {name}{'!' if excited else '.'}"
'''),
    Template('''"""The plugin $id in a worker, as a host runs it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from plughost import GRANT_ALL_ASKED, BlockingHost, HostConfig, InvalidParams


@pytest.fixture(scope="module")
def host() -> Iterator[BlockingHost]:
    config = HostConfig(grants=GRANT_ALL_ASKED)
    with BlockingHost([Path(__file__).parents[1]], config) as host:
        assert not host.problems
        yield host


def test_hello_greets_by_name(host: BlockingHost) -> None:
    assert host.call("$id.hello", {"name": "Ada"}) == "Hello, Ada."
    assert host.call("$id.hello", {"name": "Ada", "excited": True}) == "Hello, Ada!"


def test_hello_needs_a_name(host: BlockingHost) -> None:
    with pytest.raises(InvalidParams):
        host.call("$id.hello", {})
'''),
    ("hello", "name=you"),
)

_SERVICES: Final = Starter(
    "Keeps notes.",
    (
        "tools:register",
        {"permission": "storage:read", "reason": "It lists the notes."},
        {"permission": "storage:write", "reason": "It keeps the notes."},
        {
            "permission": "events:subscribe:message:received",
            "reason": "A message that begins with 'note:' becomes one.",
        },
        {"permission": "events:emit:$id.noted", "reason": "It tells others of each note."},
        {"permission": "scheduler:write", "reason": "It reminds of the notes each morning."},
    ),
    Template('''"""The plugin $id: keeps notes, and uses the host's services for it."""

import asyncio

from plughost_sdk import Event, Plugin

plugin = Plugin()
changing = asyncio.Lock()  # two notes at once must not overwrite each other


@plugin.tool
async def note(text: str) -> int:
    """Keep a note; tells how many there are.

    Args:
        text: What is kept.
    """
    async with changing:
        kept = [*await notes(), text]
        await plugin.api.storage.set("notes", kept)
    await plugin.api.events.emit("$id.noted", {"text": text, "notes": len(kept)})
    return len(kept)


@plugin.tool
async def notes() -> list[str]:
    """List the notes, the oldest first."""
    return await plugin.api.storage.get("notes", [], type=list[str])


@plugin.on("message:received")
async def on_message(event: Event) -> None:
    """Keep a message that begins with `note:`."""
    content = event.data["content"]
    if content.startswith("note:"):
        await note(content.removeprefix("note:").strip())


@plugin.task("0 9 * * *")
async def remind() -> None:
    """Say in the log, each morning, how many notes there are."""
    plugin.api.logger.info("there are %d notes", len(await notes()))
'''),
    Template('''"""The plugin $id in a worker, as a host runs it."""

from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest
from plughost import GRANT_ALL_ASKED, BlockingHost, Event, HostConfig


@pytest.fixture
def host(tmp_path: Path) -> Iterator[BlockingHost]:
    # What it stores here is gone after the test.
    config = HostConfig(grants=GRANT_ALL_ASKED, state_folder=tmp_path)
    with BlockingHost([Path(__file__).parents[1]], config) as host:
        assert not host.problems
        yield host


def test_a_note_is_kept(host: BlockingHost) -> None:
    assert host.call("$id.note", {"text": "buy tea"}) == 1
    assert host.call("$id.notes", {}) == ["buy tea"]


def test_a_message_becomes_a_note(host: BlockingHost) -> None:
    noted: Queue[Event] = Queue()
    host.on("$id.noted", noted.put)
    host.emit("message:received", {"content": "note: call Ada"})
    assert noted.get(timeout=10).data == {"text": "call Ada", "notes": 1}


def test_the_reminder_runs(host: BlockingHost) -> None:
    assert host.scheduler.run_now("$id", "remind").error == ""
'''),
    ("note", "text=buy tea"),
)

STARTERS: Final[Mapping[str, Starter]] = {"hello": _HELLO, "services": _SERVICES}
"""By the name that `--example` takes."""
