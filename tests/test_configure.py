"""New values at run time: all plugins get theirs or none does, with or without a new worker."""

from pathlib import Path

import pytest

from plughost import (
    BlockingHost,
    Configured,
    Host,
    InvalidConfig,
    PluginConfig,
    SecretText,
    StartFailed,
    State,
    UnknownPlugin,
)

from .conftest import MakePlugin, sharing

TAKES = """
from plughost_sdk import Plugin, tool

class Takes(Plugin):
    got = []

    async def on_configure(self, config):
        if config.get("city") == "nowhere":
            raise ValueError("there is no such city")
        self.got = [*self.got, dict(config)]

    @tool
    def seen(self) -> list:
        return [dict(self.api.config), self.got]
"""

PLAIN = """
from plughost_sdk import Plugin

plugin = Plugin()

async def on_load(api):
    if api.config.get("city") == "bad":
        raise RuntimeError("not there")

plugin.on_load = on_load

@plugin.tool
def seen() -> list:
    return [dict(plugin.api.config), []]
"""

SCHEMA = {
    "city": {"type": "string", "default": "Oslo"},
    "days": {"type": "integer", "min": 1, "max": 9, "default": 3},
}


@pytest.fixture
def folder(make_plugin: MakePlugin) -> Path:
    make_plugin("takes", TAKES, config_schema=SCHEMA)
    return make_plugin("plain", PLAIN, config_schema=SCHEMA)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_on_configure_takes_values_and_other_plugins_get_a_new_worker(folder: Path) -> None:
    async with Host([folder], sharing()) as host:
        pids = {name: host.plugin(name).pid for name in ("takes", "plain")}
        done = await host.configure({"takes": {"days": 5}, "plain": {"city": "Bergen"}})
        assert done == {"takes": Configured.TAKEN, "plain": Configured.RESTARTED}
        new = {"city": "Oslo", "days": 5}
        assert await host.call("takes.seen") == [new, [new]]
        assert await host.call("plain.seen") == [{"city": "Bergen", "days": 3}, []]
        assert host.plugin("takes").pid == pids["takes"]
        assert host.plugin("plain").pid != pids["plain"]
        await host.configure({"takes": {"city": "Rome"}})
        assert (await host.call("takes.seen"))[0] == {"city": "Rome", "days": 5}
        await host.configure({"takes": {"city": "Rome"}}, replace=True)
        assert (await host.call("takes.seen"))[0] == {"city": "Rome", "days": 3}


@pytest.mark.anyio
async def test_an_event_tells_the_names_of_new_values_and_never_a_value(folder: Path) -> None:
    async with Host([folder], sharing()) as host:
        await host.configure({"takes": {"days": 5, "city": "Voss"}, "plain": {"days": 5}})
        await host.configure({"takes": {"days": 6}}, replace=True)
        with pytest.raises(InvalidConfig):
            await host.configure({"takes": {"days": 10}})
        told = [event.data for event in host.events.history("plugin:configured")]
    assert told == [
        {"plugin": "takes", "keys": ["city", "days"], "outcome": "taken"},
        {"plugin": "plain", "keys": ["days"], "outcome": "restarted"},
        {"plugin": "takes", "keys": ["city", "days"], "outcome": "taken"},
    ]


@pytest.mark.anyio
async def test_values_that_do_not_fit_change_nothing_anywhere(folder: Path) -> None:
    async with Host([folder], sharing()) as host:
        pid = host.plugin("plain").pid
        with pytest.raises(InvalidConfig, match="days must be at most 9") as caught:
            await host.configure({"plain": {"city": "Rome"}, "takes": {"days": 10}})
        assert list(caught.value.problems) == ["takes"]
        with pytest.raises(InvalidConfig, match="cannot be sent"):
            await host.configure({"plain": {"city": object()}})
        with pytest.raises(InvalidConfig, match="may have 1,000,000"):
            await host.configure({"plain": {"city": "x" * 1_000_000}})
        with pytest.raises(UnknownPlugin, match="did you mean 'plain'"):
            await host.configure({"plian": {}, "plain": {"city": "Rome"}})
        assert host.plugin("plain").pid == pid
        assert (await host.call("plain.seen"))[0]["city"] == "Oslo"


@pytest.mark.anyio
async def test_where_on_configure_raises_a_new_worker_has_the_values(folder: Path) -> None:
    async with Host([folder], sharing()) as host:
        assert await host.configure({"takes": {"city": "nowhere"}}) == {
            "takes": Configured.RESTARTED
        }
        assert await host.call("takes.seen") == [{"city": "nowhere", "days": 3}, []]
        told = [entry.message for entry in host.plugin("takes").log.entries]
        assert any("there is no such city" in line for line in told)


@pytest.mark.anyio
async def test_where_one_does_not_load_with_its_values_all_have_their_old_ones(
    folder: Path,
) -> None:
    async with Host([folder], sharing()) as host:
        with pytest.raises(StartFailed, match="not there"):
            await host.configure({"takes": {"days": 7}, "plain": {"city": "bad"}})
        assert (await host.call("takes.seen"))[0] == {"city": "Oslo", "days": 3}
        assert (await host.call("plain.seen"))[0] == {"city": "Oslo", "days": 3}


@pytest.mark.anyio
async def test_a_plugin_in_error_starts_with_values_that_fit(make_plugin: MakePlugin) -> None:
    schema = {"key": {"type": "string", "required": True}}
    folder = make_plugin("plain", PLAIN, config_schema=schema)
    async with Host([folder], sharing()) as host:
        assert host.plugin("plain").state is State.ERROR
        assert await host.configure({"plain": {"key": "k"}}) == {"plain": Configured.RESTARTED}
        assert (await host.call("plain.seen"))[0] == {"key": "k"}


@pytest.mark.anyio
async def test_a_disabled_plugin_stays_so_and_has_the_values_when_it_is_enabled(
    folder: Path,
) -> None:
    config = sharing(plugins={"takes": PluginConfig(enabled=False)})
    async with Host([folder], config) as host:
        await host.plugin("plain").disable()
        done = await host.configure({"takes": {"days": 1}, "plain": {"days": 1}})
        assert done == {"takes": Configured.KEPT, "plain": Configured.RESTARTED}
        for name in ("takes", "plain"):
            assert host.plugin(name).state is State.DISABLED
            await host.plugin(name).enable()
            assert (await host.call(f"{name}.seen"))[0]["days"] == 1


@pytest.mark.anyio
async def test_a_secret_text_reaches_the_plugin_and_nobody_else(make_plugin: MakePlugin) -> None:
    schema = {"key": {"type": "string", "maxLength": 8, "enum": ["hush-hush"]}}
    folder = make_plugin("plain", PLAIN, config_schema=schema)
    own = PluginConfig(config={"key": SecretText("hush-hush-hush")})
    assert "hush" not in repr(own)
    async with Host([folder], sharing(plugins={"plain": own})) as host:
        told = [*host.problems.values(), *(e.message for e in host.plugin("plain").log.entries)]
        assert "does not fit" in told[0]
        assert not [line for line in told if "hush-hush-hush" in line]
    folder = make_plugin("other", PLAIN)
    own = PluginConfig(config={"key": SecretText("hush-hush"), "list": [SecretText("sh")]})
    async with Host([folder], sharing(plugins={"other": own})) as host:
        await host.configure({"other": {"more": 1}})
        assert (await host.call("other.seen"))[0] == {"key": "hush-hush", "list": ["sh"], "more": 1}


def test_a_blocking_host_configures_too(folder: Path) -> None:
    with BlockingHost([folder], sharing()) as host:
        assert host.configure({"takes": {"days": 2}}) == {"takes": Configured.TAKEN}
        assert host.call("takes.seen")[0]["days"] == 2
