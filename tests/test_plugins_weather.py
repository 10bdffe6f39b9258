"""The plugin weather, against a real server that speaks Open-Meteo's API over TLS."""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import trustme

from plughost import Host, HostConfig, HttpConfig, InvalidParams, PluginConfig, Secret, ToolError

from .conftest import trusting
from .http_servers import Visit, WebServer, ok, web_server
from .plugins.zoo import until

pytestmark = pytest.mark.anyio

BOTH = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
PLUGIN: Final = Path(__file__).parent.parent / "plugins" / "weather"
NAME: Final = "weather.example.com"
TOKEN: Final = "tok_0123456789abcdef"
PLACES: Final = {
    "Oslo": {"name": "Oslo", "country": "Norway", "latitude": 59.9, "longitude": 10.7},
    "New York": {"name": "New York", "latitude": 40.7, "longitude": -74.0},
}
REPORT: Final = {
    "utc_offset_seconds": 3600,
    "current": {
        "time": "2026-05-01T12:00",
        "temperature_2m": -3.5,
        "wind_speed_10m": 12.2,
        "weather_code": 73,
    },
    "daily": {
        "time": [f"2026-05-0{day}" for day in range(1, 8)],
        "temperature_2m_min": [-5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0],
        "temperature_2m_max": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "weather_code": [0, 2, 3, 48, 55, 81, 99],
    },
}


def _answer(visit: Visit) -> None:
    url = urlsplit(visit.target)
    query = {key: values[0] for key, values in parse_qs(url.query).items()}
    if url.path == "/v1/search":
        found = PLACES.get(query["name"])
        answer: object = {"results": [found]} if found else {"generationtime_ms": 0.5}
    else:
        assert url.path == "/v1/forecast"
        answer = REPORT
    visit.send(ok(msgspec.json.encode(answer), "Content-Type: application/json"))


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return made


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[WebServer]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(tls)
    with web_server(_answer, tls) as running:
        yield running


async def _resolve(name: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@asynccontextmanager
async def _host(tmp_path: Path, port: int, **config: Any) -> AsyncIterator[Host]:
    address = f"{NAME}:{port}"
    secret = Secret(TOKEN, hosts=(address,))
    plugin = PluginConfig(
        config={"server": address, "places": address, **config},
        private_hosts=(NAME,),
        secrets={"weather": secret},
    )
    settings = trusting(
        plugins={"weather": plugin},
        http=HttpConfig(ca_file=tmp_path / "ca.pem"),
        resolver=_resolve,
        state_folder=tmp_path / "state",
    )
    async with Host([PLUGIN], settings) as host:
        assert not host.problems
        yield host


def _paths(server: WebServer) -> list[str]:
    return [urlsplit(visit.target).path for visit in server.visits]


@BOTH
async def test_the_weather_of_a_place_is_asked_for_once_and_kept_over_a_restart(
    server: WebServer, tmp_path: Path
) -> None:
    async with _host(tmp_path, server.port) as host:
        assert await host.call("weather.get_weather", {"location": "Oslo"}) == {
            "place": "Oslo, Norway",
            "temperature": -3.5,
            "unit": "celsius",
            "wind": 12.2,
            "conditions": "snow",
        }
    async with _host(tmp_path, server.port) as host:
        params = {"location": " oslo", "units": "fahrenheit"}
        assert (await host.call("weather.get_weather", params))["temperature"] == 25.7
    assert _paths(server) == ["/v1/search", "/v1/forecast"]
    assert not any(visit.header("Authorization") for visit in server.visits)


async def test_the_forecast_has_as_many_days_as_are_asked_for(
    server: WebServer, tmp_path: Path
) -> None:
    async with _host(tmp_path, server.port) as host:
        forecast = await host.call("weather.weather_forecast", {"location": "Oslo", "days": 7})
        assert [day["conditions"] for day in forecast["days"]] == [
            "clear",
            "partly cloudy",
            "overcast",
            "fog",
            "drizzle",
            "showers",
            "thunderstorm",
        ]
        params = {"location": "Oslo", "days": 1, "units": "fahrenheit"}
        assert await host.call("weather.weather_forecast", params) == {
            "place": "Oslo, Norway",
            "unit": "fahrenheit",
            "days": [
                {"date": "2026-05-01", "lowest": 23.0, "highest": 32.0, "conditions": "clear"}
            ],
        }
        with pytest.raises(InvalidParams):
            await host.call("weather.weather_forecast", {"location": "Oslo", "days": 8})


async def test_what_a_message_asks_for_is_there_before_a_tool_is_called(
    server: WebServer, tmp_path: Path
) -> None:
    async with _host(tmp_path, server.port) as host:
        for data in (None, {"content": 7}, {"content": "what weather!"}):
            await host.emit("message:received", data)
        event = await host.emit("message:received", {"content": "Weather in New York today?"})
        assert event is not None
        [node] = host.events.trace(event.id)
        await until(lambda: [one.outcome for one in node.deliveries] == ["handled"])
        assert len(server.visits) == 2
        found = await host.call("weather.get_weather", {"location": "new york"})
        assert (found["place"], len(server.visits)) == ("New York", 2)


async def test_the_secret_goes_to_the_server_and_not_to_the_plugin(
    server: WebServer, tmp_path: Path
) -> None:
    async with _host(tmp_path, server.port, with_secret=True) as host:
        await host.call("weather.get_weather", {"location": "Oslo"})
    assert [visit.header("Authorization") for visit in server.visits] == [[f"Bearer {TOKEN}"]] * 2


async def test_places_are_kept_fresh_by_a_task(server: WebServer, tmp_path: Path) -> None:
    async with _host(tmp_path, server.port, keep_fresh=["Oslo", "Atlantis"]) as host:
        await until(lambda: host.events.history("scheduler:task_executed"))  # the first, at once
        asked = ["/v1/search", "/v1/forecast", "/v1/search"]
        assert _paths(server) == asked
        await host.call("weather.get_weather", {"location": "Oslo"})
        assert _paths(server) == asked
        [task] = host.scheduler.tasks("weather")
        assert (task.name, task.schedule, task.last_error) == ("refresh", "every 5 min", "")
        assert (await host.scheduler.run_now("weather", "refresh")).error == ""
        assert _paths(server) == asked * 2
        assert any("Atlantis" in entry.message for entry in host.plugin("weather").log.entries)


async def test_what_goes_wrong_is_told_in_words(
    server: WebServer, tmp_path: Path, authority: trustme.CA
) -> None:
    async with _host(tmp_path, server.port) as host:
        with pytest.raises(ToolError, match="no place is known by the name 'Atlantis'") as caught:
            await host.call("weather.get_weather", {"location": "Atlantis"})
        assert caught.value.code == "unknown_place"
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(tls)
    with web_server(ok(b"<html>", status="503 Service Unavailable"), tls) as ill:
        async with _host(tmp_path, ill.port) as host:
            with pytest.raises(ToolError, match="answered 503") as caught:
                await host.call("weather.get_weather", {"location": "Oslo"})
            assert caught.value.code == "no_answer"


async def test_it_runs_without_the_network_and_says_what_is_missing(tmp_path: Path) -> None:
    granted = [
        "tools:register",
        "storage:read",
        "storage:write",
        "events:subscribe:message:received",
        "scheduler:write",
    ]
    config = HostConfig(grants={"weather": granted}, state_folder=tmp_path)
    async with Host([PLUGIN], config) as host:
        assert not host.problems
        with pytest.raises(ToolError, match=r"plughost grant weather 'http:outbound:\*") as caught:
            await host.call("weather.get_weather", {"location": "Oslo"})
        assert caught.value.code == "permission_denied"


async def test_it_is_disabled_and_enabled_again(server: WebServer, tmp_path: Path) -> None:
    async with _host(tmp_path, server.port, keep_fresh=["Oslo"]) as host:
        await host.plugin("weather").disable()
        await host.plugin("weather").enable()
        assert "/v1/forecast" in _paths(server)
