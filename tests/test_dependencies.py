"""What plugins need of each other: ids with ranges, services, order, and who cannot start."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from plughost import Host, ManifestError, PluginConfig
from plughost.catalog.dependencies import Dependency, DependencyEntry, read_dependencies
from plughost.catalog.discovery import Found
from plughost.catalog.manifest import Capabilities, Manifest, read_manifest
from plughost.catalog.start_order import StartOrder, start_order
from plughost.catalog.versions import fits, fits_python, is_older
from plughost_protocol import __version__

from .conftest import MakePlugin, trusting

CODE = "from plughost_sdk import Plugin\nplugin = Plugin()\n"


def plugin(plugin_id: str, *needs: Any, version: str = "1.0.0", **fields: Any) -> Found:
    manifest = Manifest(plugin_id, plugin_id, version, dependencies=list(needs), **fields)
    return Found(Path("/") / plugin_id, manifest)


def order_of(*plugins: Found) -> StartOrder:
    return start_order({each.manifest.id: each for each in plugins})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("cache", Dependency("cache")),
        ("cache>=1.2,<2", Dependency("cache", ">=1.2,<2")),
        ("cache >= 1.2, < 2", Dependency("cache", ">=1.2,<2")),
        ("cache^1.2", Dependency("cache", "^1.2")),
        ("cache?", Dependency("cache", optional=True)),
        ("cache? >=2", Dependency("cache", ">=2", optional=True)),
        ("service:cache", Dependency("cache", is_service=True)),
        ("service:My_Cache?", Dependency("My_Cache", optional=True, is_service=True)),
        (DependencyEntry(id="cache"), Dependency("cache")),
        (
            DependencyEntry(id="cache", version=">=1", optional=True),
            Dependency("cache", ">=1", True),
        ),
        (DependencyEntry(service="db", optional=True), Dependency("db", "", True, is_service=True)),
    ],
)
def test_a_dependency_is_a_text_or_an_object(written: Any, meant: Dependency) -> None:
    problems: list[str] = []
    assert read_dependencies([written], problems) == (meant,)
    assert not problems
    assert read_dependencies([str(meant)], []) == (meant,)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("Cache", "dependencies[1]: 'Cache' is no dependency: write a plugin's id such as 'cache'"),
        ("cache 1", "is no dependency"),
        ("cache>=one", "'>=one' is no range of versions: write such as '>=1.2,<2'"),
        ("service:cache>=1", "a service has no version: write 'service:cache'"),
        ("first", "first is named twice"),
        (DependencyEntry(), "an id and a service, or neither"),
        (DependencyEntry(id="a", service="b"), "an id and a service, or neither"),
        (DependencyEntry(service="b", version=">=1"), "a service has no version"),
    ],
)
def test_what_is_no_dependency_is_named_with_its_place(written: Any, problem: str) -> None:
    problems: list[str] = []
    read_dependencies(["first", written], problems)
    assert len(problems) == 1
    assert problem in problems[0]
    assert problems[0].startswith("dependencies[1]: ")


@pytest.mark.parametrize(
    ("version", "wanted", "does"),
    [
        ("1.2.0", ">=1.2,<2", True),
        ("1.10.0", ">=1.9", True),
        ("2.0.0", "<2", False),
        ("2.0.0-rc.1", "<2", False),
        ("2.0.0-rc.1", ">=2", False),
        ("2.0.0-rc.2", ">=2.0.0-rc.1", True),
        ("1.9.0", "^1.2", True),
        ("1.3.0", "~1.2", False),
        ("1.3.0", "!=1.3.0", False),
        ("1.3.0+build.7", "==1.3.0", True),
        ("0.0.1", "", True),
    ],
)
def test_versions_of_plugins_compare_as_semver_has_it(
    version: str, wanted: str, does: bool
) -> None:
    assert fits(version, wanted) is does


def test_versions_are_ordered_as_semver_has_it() -> None:
    ordered = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.0.1"]
    assert all(is_older(a, b) for a, b in pairwise(ordered))
    assert not is_older("1.0.0", "1.0.0")


def test_what_others_need_starts_first() -> None:
    order = order_of(plugin("a", "b"), plugin("b", "c>=1"), plugin("c"))
    assert order.ids == ["c", "b", "a"]
    assert not order.refused


def test_a_service_comes_from_all_that_provide_it() -> None:
    one = plugin("one", services=["cache"])
    two = plugin("two", capabilities=Capabilities(provides_services=["cache"]))
    order = order_of(plugin("a", "service:cache"), one, two)
    assert order.ids[-1] == "a"
    assert order.needs["a"][0].plugins == ("one", "two")


def test_a_missing_or_unfit_one_is_named_with_what_is_there() -> None:
    order = start_order(
        {
            each.manifest.id: each
            for each in (
                plugin("a", "cache>=2"),
                plugin("b", "gone", "cache"),
                plugin("c", "service:database"),
                plugin("d", "broken"),
                plugin("cache", version="1.4.0"),
            )
        },
        ["broken"],
    )
    assert order.refused == {
        "a": "it needs cache>=2, and 1.4.0 is there",
        "b": "it needs gone, which is not installed",
        "c": "it needs the service database, which no plugin here provides",
        "d": "it needs broken, which cannot be read: mend it",
    }


def test_all_that_is_missing_is_told_at_once() -> None:
    order = order_of(plugin("a", "b", "service:c"))
    assert order.refused["a"].count("it needs") == 2


def test_a_plugin_goes_without_an_optional_one_that_is_missing_or_unfit() -> None:
    order = order_of(plugin("a", "gone?", "cache? >=2"), plugin("cache", version="1.4.0"))
    assert not order.refused
    assert order.notes["a"] == [
        "it goes without gone, which is not installed",
        "it goes without cache>=2, and 1.4.0 is there",
    ]


def test_an_optional_one_that_is_there_starts_first() -> None:
    assert order_of(plugin("a", "b?"), plugin("b")).ids == ["b", "a"]


def test_a_cycle_is_shown_as_its_path_to_each_that_is_in_it() -> None:
    order = order_of(plugin("a", "b"), plugin("b", "c"), plugin("c", "a"), plugin("d", "a"))
    assert order.refused == {
        "a": "dependencies go round: a -> b -> c -> a",
        "b": "dependencies go round: b -> c -> a -> b",
        "c": "dependencies go round: c -> a -> b -> c",
    }
    assert set(order.ids) == {"a", "b", "c", "d"}


def test_several_cycles_are_all_found() -> None:
    order = order_of(
        plugin("a", "b"), plugin("b", "a"), plugin("c", "d"), plugin("d", "c"), plugin("e")
    )
    assert set(order.refused) == {"a", "b", "c", "d"}


def test_an_optional_dependency_gives_way_where_they_go_round() -> None:
    order = order_of(plugin("a", "b?"), plugin("b", "a"))
    assert not order.refused
    assert order.ids == ["a", "b"]


def test_a_cycle_through_a_service_is_one_too() -> None:
    order = order_of(plugin("a", "service:s"), plugin("b", "a", services=["s"]))
    assert order.refused["a"] == "dependencies go round: a -> b -> a"


def test_a_plugin_for_a_newer_host_is_refused_with_both_versions() -> None:
    order = order_of(plugin("a", min_host_version="99.0.0"), plugin("b", min_host_version="0.0.1"))
    assert order.refused == {
        "a": f"it is for plughost 99.0.0, and this is {__version__}: update it"
    }


def test_an_unknown_field_of_a_plugin_for_a_newer_host_says_why(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(
        '{"id": "a", "name": "a", "version": "1.0.0", "min_host_version": "99.0.0", "new": 1}'
    )
    (tmp_path / "plugin.py").touch()
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path)
    assert caught.value.problems[0].startswith("min_host_version: it is for plughost 99.0.0")
    assert "new: unknown field" in caught.value.problems[1]


def test_pythons_versions_compare_as_pep_440_has_it() -> None:
    assert fits_python("3.11.4", ">=3.11")
    assert not fits_python("3.11.4", ">=3.12,<4")
    with pytest.raises(ValueError, match=r"'3\.x' is no range of Python's versions"):
        fits_python("3.11.4", "3.x")


def test_a_plugin_depends_on_whom_it_names_and_on_whose_service_it_names() -> None:
    user = plugin("user", "cache>=1", "service:db")
    assert user.depends_on(plugin("cache"))
    assert user.depends_on(plugin("postgres", services=["db"]))
    assert not user.depends_on(plugin("other", services=["dc"]))


def test_a_plugin_is_told_its_dependencies_as_texts() -> None:
    told = plugin("a", DependencyEntry(id="b", version=">= 1", optional=True), "service:c?")
    assert told.manifest.as_told()["dependencies"] == ["b?>=1", "service:c?"]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_what_lacks_its_dependency_does_not_start_and_the_rest_does(
    make_plugin: MakePlugin,
) -> None:
    make_plugin("base", CODE, version="1.4.0", services=["data"])
    make_plugin("broken", "1 / 0")
    make_plugin("fits", CODE, dependencies=["base^1", "service:data"])
    make_plugin("too-new", CODE, dependencies=["base>=2"])
    make_plugin("unlucky", CODE, dependencies=["broken"])
    make_plugin("after", CODE, dependencies=["unlucky"])
    make_plugin("lucky", CODE, dependencies=["broken?", "gone?"])
    make_plugin("future", CODE, min_host_version="99.0.0")
    folder = make_plugin("old", CODE, requires_python="<3.11")
    async with Host([folder], trusting()) as host:
        running = {name for name, each in host.plugins.items() if each.active_worker}
        problems = host.problems
        notes = [entry.message for entry in host.plugin("lucky").log.entries]
    assert running == {"base", "fits", "lucky"}
    assert problems["too-new"] == "it needs base>=2, and 1.4.0 is there"
    assert problems["unlucky"] == "it needs broken, which does not run (error)"
    assert problems["after"] == "it needs unlucky, which does not run (error)"
    assert "it is for plughost 99.0.0" in problems["future"]
    assert "it needs Python <3.11, and" in problems["old"]
    assert "it goes without gone, which is not installed" in notes


@pytest.mark.anyio
async def test_a_disabled_dependency_is_said_to_be_disabled(make_plugin: MakePlugin) -> None:
    make_plugin("base", CODE)
    folder = make_plugin("user", CODE, dependencies=["base"])
    config = trusting(plugins={"base": PluginConfig(enabled=False)})
    async with Host([folder], config) as host:
        assert host.problems["user"] == (
            "it needs base, which does not run (disabled): enable base first"
        )
