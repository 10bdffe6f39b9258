"""What the docs say is what the code has: names, defaults, examples, links."""

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest

import plughost
import plughost_sdk
from plughost import (
    BlockingHost,
    CallContext,
    Cause,
    EventsConfig,
    HooksConfig,
    Host,
    HostConfig,
    HotReload,
    Limits,
    LogEntry,
    PlughostError,
    PluginConfig,
    Rates,
    ReloadOutcome,
    Restart,
    State,
    Tool,
    ToolError,
    Totals,
    WorkerExit,
)
from plughost.catalog.manifest import Manifest, ManifestLimits
from plughost.service_config import (
    HttpConfig,
    MemoryConfig,
    SchedulerConfig,
    StorageConfig,
    UsersConfig,
)
from plughost_protocol import ErrorCode
from plughost_sdk import CurrentCall
from plughost_sdk.tools import ToolOptions

from .conftest import MakePlugin, trusting
from .docs_tables import ENFORCED, generated

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in [
        *sorted(ROOT.glob("*.md")),
        *sorted(ROOT.glob("docs/**/*.md")),
        ROOT / "protocol" / "SPEC.md",
        ROOT / "benchmarks" / "README.md",
    ]
}

# What each tool of the plugins in the docs is called with, and what it answers.
SAMPLES: Final[dict[str, tuple[dict[str, Any], object]]] = {
    "print_page": ({"text": "one"}, None),
    "advise": ({"user": "ada"}, ["[semantic] Her favorite restaurant is Luigi's (1.0)"]),
    "blocks": ({"size": 2, "count": 2}, [b"\0\0", b"\0\0"]),
    "cities": ({}, ["Oslo"]),
    "counted": ({}, {}),
    "distance": (
        {
            "start": {"latitude": 0.0, "longitude": 0.0},
            "end": {"latitude": 1.0, "longitude": 0.0},
        },
        111.2,
    ),
    "forecast": ({"city": "Oslo"}, "rain in Oslo"),
    "forget_all": ({}, 1),
    "good_morning": ({"name": "Ada"}, "Good morning, Ada"),
    "greet": ({"name": "Ada", "excited": True}, "Hello, Ada!"),
    "greet_often": ({"name": "Ada"}, "Hello, Ada!"),
    "increment": ({}, 1),
    "healthy": ({}, ["example"]),
    "latest_release": ({"project": "python/cpython"}, "nobody knows: http_refused"),
    "remind": ({"minutes": 5}, ["refresh", "daily_report", "reminder"]),
    "predict": ({"metric": "sessions", "horizon": 2}, [1.0, 2.0]),
    "place_order": ({"item": "tea"}, 1),
    "shout": ({"text": "hey"}, "HEY"),
    "version": ({}, "1.0.0"),
    "weather": ({"city": "Oslo"}, "no idea about Oslo"),
    "welcome": ({"user": "nobody"}, "Hello, whoever you are"),
    "words": ({"text": "two words"}, 2),
    "words_in_a_thread": ({"text": "two words"}, 2),
    "work": ({"steps": 2}, 2),
}


class Block(NamedTuple):
    """A Python block of a page, and the comment before it that says what is done with it."""

    page: str
    line: int
    mark: str
    code: str


_BLOCK: Final = re.compile(
    r"(?:<!-- (?P<mark>run|plugin)(?:: (?P<words>[^>]*?))? -->\n)?```python\n(?P<code>.*?)```",
    re.DOTALL,
)


def _blocks() -> list[Block]:
    return [
        Block(
            page,
            text.count("\n", 0, match.start()) + 1,
            " ".join(filter(None, (match["mark"], match["words"]))),
            match["code"],
        )
        for page, text in PAGES.items()
        for match in _BLOCK.finditer(text)
    ]


def _marked(mark: str) -> list[Any]:
    return [
        pytest.param(block, id=f"{block.page}:{block.line}")
        for block in _blocks()
        if block.mark.split()[:1] == [mark]
    ]


def _table(page: str, first: str, heading: str = "") -> list[list[str]]:
    """The rows of the table whose first column is headed so, behind a heading if one is given."""
    text = PAGES[f"docs/{page}"]
    if heading:
        text = text[text.index(f"\n## {heading}\n") :]
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def _names(rows: list[list[str]], column: int = 0) -> list[str]:
    """The names in backticks in a column, without what stands behind them."""
    return [name for row in rows for name in re.findall(r"`(\w+)[^`]*`", row[column])]


def _shown(name: str, value: object) -> str:
    """A default as the docs write it."""
    match value:
        case HotReload(enabled=False):
            return "False"
        case tuple() if value:
            return ", ".join(f"`{item}`" for item in value)
        case None | bool():
            return str(value)
        case str():
            return f"`{value}`"
        case Mapping():
            return ", ".join(f"`{key}`: {count}" for key, count in value.items()) or "`{}`"
        case int() if value % 2**20 == 0:
            return f"{value // 2**20} MiB"
        case int() if value >= 10_000:
            return f"{value:,}"
        case float() if name not in ("cpu", "jitter"):
            return f"{value:g} s"
        case int() | float():
            return str(value)
    return f"`{type(value).__name__}()`"


# Names


@pytest.mark.parametrize(
    ("page", "heading", "kind"),
    [
        ("limits.md", "Limits of one worker", Limits),
        ("limits.md", "Totals of all workers", Totals),
        ("limits.md", "Restart", Restart),
        ("limits.md", "Rates", Rates),
        ("limits.md", "One plugin", PluginConfig),
        ("limits.md", "The host", HostConfig),
        ("configuration.md", "Hot reload", HotReload),
        ("events.md", "Settings", EventsConfig),
        ("hooks.md", "Settings", HooksConfig),
        ("services/http.md", "Limits", HttpConfig),
        ("services/memory.md", "Settings", MemoryConfig),
        ("services/scheduler.md", "Limits", SchedulerConfig),
        ("services/storage.md", "Redis", StorageConfig),
        ("services/users.md", "Settings", UsersConfig),
    ],
)
def test_every_field_of_the_configuration_stands_in_the_docs_with_its_default(
    page: str, heading: str, kind: type[Any]
) -> None:
    rows = _table(page, "field", heading)
    made = kind()
    expected = [
        [f"`{field.name}`", _shown(field.name, getattr(made, field.name))]
        for field in dataclasses.fields(kind)
    ]
    assert [row[:2] for row in rows] == expected


@pytest.mark.parametrize(
    ("page", "first", "kind", "more"),
    [
        ("embedding.md", "field of `CallContext`", CallContext, set()),
        ("embedding.md", "field of `Tool`", Tool, set()),
        ("embedding.md", "field of `LogEntry`", LogEntry, set()),
        ("embedding.md", "field of `ReloadOutcome`", ReloadOutcome, set()),
        ("errors.md", "field of `WorkerExit`", WorkerExit, {"signal"}),
        ("writing-plugins.md", "of `CurrentCall`", CurrentCall, {"check_cancelled"}),
        ("writing-plugins.md", "field", Manifest, set()),
        ("writing-plugins.md", "field of `limits`", ManifestLimits, set()),
    ],
)
def test_every_field_stands_in_the_docs(
    page: str, first: str, kind: type[Any], more: set[str]
) -> None:
    if dataclasses.is_dataclass(kind):
        fields = {field.name for field in dataclasses.fields(kind)}
    elif issubclass(kind, msgspec.Struct):
        fields = set(kind.__struct_fields__)
    else:
        fields = set(kind.__slots__)
    assert sorted(_names(_table(page, first))) == sorted(fields | more)


def test_the_required_fields_of_a_manifest_are_marked() -> None:
    required = {field.name for field in msgspec.structs.fields(Manifest) if field.required}
    rows = _table("writing-plugins.md", "field")
    assert {row[0].strip("`") for row in rows if row[1] == "yes"} == required


def test_every_exception_stands_in_the_docs_with_attributes_that_it_has() -> None:
    exceptions = {
        name: value
        for name in plughost.__all__
        if inspect.isclass(value := getattr(plughost, name)) and issubclass(value, Exception)
    }
    rows = _table("errors.md", "exception")
    assert sorted(_names(rows)) == sorted(exceptions)
    for row in rows:
        kind = exceptions[row[0].strip("`")]
        source = inspect.getsource(kind)
        own = set(re.findall(r"self\.(\w+) =", source))
        # All have a code; a ToolError's is the plugin's to choose.
        expected = (
            {"code"} if kind is PlughostError else own if kind is ToolError else own - {"code"}
        )
        assert set(_names([row], column=2)) == expected, row[0]


def test_every_error_code_stands_in_the_docs() -> None:
    assert _names(_table("errors.md", "code")) == [code.value for code in ErrorCode]


def test_every_cause_stands_in_the_docs() -> None:
    assert _names(_table("errors.md", "cause")) == [cause.value for cause in Cause]


def test_every_state_stands_in_the_docs() -> None:
    assert _names(_table("architecture.md", "state")) == [state.value for state in State]


def test_every_public_name_of_the_host_stands_in_the_docs() -> None:
    listed = set(_names(_table("embedding.md", "name", "Names")))
    assert listed | set(_names(_table("errors.md", "exception"))) == set(plughost.__all__)


def test_every_public_name_of_the_sdk_stands_in_the_docs() -> None:
    listed = _names(_table("writing-plugins.md", "name", "Names"))
    assert sorted(listed) == sorted(plughost_sdk.__all__)


def test_every_option_of_a_tool_stands_in_the_docs() -> None:
    fields = set(ToolOptions.__struct_fields__)
    assert set(_names(_table("writing-plugins.md", "option of `tool`"))) == fields


@pytest.mark.anyio
async def test_the_docs_say_which_permissions_are_checked() -> None:
    async with Host([]) as host:
        needed = {method.permission for each in host._runtime.services for method in each.methods}
    assert needed - {None} == ENFORCED
    assert {row[1].strip("`") for row in _table("permissions.md", "request")} == ENFORCED


@pytest.mark.parametrize("page", [page for page in PAGES if "<!-- generated" in PAGES[page]])
def test_the_generated_parts_are_up_to_date(page: str) -> None:
    assert generated(PAGES[page]) == PAGES[page], "run python tests/docs_tables.py"


def test_the_states_and_the_permissions_are_generated() -> None:
    assert "<!-- generated: states -->" in PAGES["docs/architecture.md"]
    assert "<!-- generated: permissions -->" in PAGES["docs/permissions.md"]


# Examples


def test_every_python_block_compiles() -> None:
    for block in _blocks():
        compile(block.code, f"{block.page}:{block.line}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("block", _marked("run"))
def test_an_example_runs(block: Block) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block.code],
        cwd=ROOT,  # the examples host the plugins of the repository
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("block", _marked("plugin"))
def test_a_plugin_of_the_docs_answers(block: Block, make_plugin: MakePlugin) -> None:
    words = block.mark.split()[1:]
    needed = [word.removeprefix("dependencies=") for word in words if "=" in word]
    permissions = [word for word in words if "=" not in word] or ["tools:register"]
    folder = make_plugin("example", block.code, permissions=permissions, dependencies=needed)
    others = [
        other
        for other in (ROOT / "plugins").iterdir()
        if (name := other.name.replace("_", "-")) in needed or name in block.code
    ]
    with BlockingHost([folder, *others], trusting()) as host:
        assert not host.problems
        tools = [name for name, tool in host.tools.items() if tool.plugin == "example"]
        assert tools
        for name in tools:
            params, answer = SAMPLES[name.partition(".")[2]]
            assert host.call(name, params) == answer


def test_names_in_the_examples_exist() -> None:
    for block in _blocks():
        for node in ast.walk(ast.parse(block.code)):
            if isinstance(node, ast.ImportFrom) and node.module in ("plughost", "plughost_sdk"):
                module = {"plughost": plughost, "plughost_sdk": plughost_sdk}[node.module]
                for alias in node.names:
                    assert alias.name in module.__all__, f"{block.page}:{block.line}"


# Text


def test_the_readme_installs_and_runs_with_one_command_each() -> None:
    shell = re.findall(r"```sh\n(.*?)```", PAGES["README.md"], re.DOTALL)
    assert shell == [
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/plughost run plugins\n",
        "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest\n",
    ]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_no_registry_and_no_path_of_some_machine(page: str) -> None:
    found = re.findall(r"pypi\.\w+|pythonhosted|/root\b|/home/|/tmp/\w+|/work/", PAGES[page])
    assert not found


@pytest.mark.parametrize("page", PAGES)
def test_every_link_between_pages_leads_somewhere(page: str) -> None:
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)]*))?\)", PAGES[page]):
        file = (ROOT / page).parent.joinpath(target) if target else ROOT / page
        assert file.is_file(), target
        if anchor:
            assert anchor in _anchors(file.read_text()), f"{target}#{anchor}"


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
