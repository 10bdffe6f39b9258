"""Tells the weather of a place, as Open-Meteo or a server with the same API has it.

What a place was told is kept for 5 minutes, for all users and over restarts. A place that a
message asks for is looked up before anybody calls a tool for it.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from plughost_sdk import Event, HostError, HttpError, Plugin, PluginAPI, ToolError, on, tool

Place: TypeAlias = Annotated[str, Meta(min_length=2, max_length=100)]
Days: TypeAlias = Annotated[int, Meta(ge=1, le=7)]
Unit: TypeAlias = Literal["celsius", "fahrenheit"]
T = TypeVar("T")

_KEPT: Final = 300.0  # seconds: the server's own numbers are some ten minutes old
_FORECAST: Final = {
    "current": "temperature_2m,wind_speed_10m,weather_code",
    "daily": "temperature_2m_min,temperature_2m_max,weather_code",
    "forecast_days": 7,
    "timezone": "auto",  # the place's own days
}
_ASKS_FOR: Final = re.compile(r"\b(?i:weather) (?:in|at|for) ([^\W\d_][^\W_'-]+(?:[ '-][A-Z]\w+)*)")

# The first of each group of the WMO's codes for weather, and its words.
_CODES: Final = (0, 1, 3, 45, 51, 61, 71, 80, 85, 95)
_WORDS: Final = (
    "clear",
    "partly cloudy",
    "overcast",
    "fog",
    "drizzle",
    "rain",
    "snow",
    "showers",
    "snow showers",
    "thunderstorm",
)


class Config(Struct, frozen=True):
    """What the operator may configure; the manifest has the defaults."""

    server: str
    places: str
    with_secret: bool
    keep_fresh: list[str]


class Found(Struct):
    """A place that the server for places knows."""

    name: str
    latitude: float
    longitude: float
    country: str = ""


class Places(Struct):
    """What the server for places answers, the best first."""

    results: list[Found] = []


class Now(Struct):
    """The present, as the server has it: in degrees Celsius and km/h."""

    temperature_2m: float
    wind_speed_10m: float
    weather_code: int


class Daily(Struct):
    """The days to come: one list for each value, all of the same length."""

    time: list[str]
    temperature_2m_min: list[float]
    temperature_2m_max: list[float]
    weather_code: list[int]


class Report(Struct):
    """What is kept of a place."""

    current: Now
    daily: Daily
    place: str = ""


class Current(Struct):
    """The weather of a place."""

    place: str
    temperature: float
    unit: Unit
    wind: Annotated[float, Meta(description="in km/h")]
    conditions: str


class Day(Struct):
    """The weather of a day."""

    date: str
    lowest: float
    highest: float
    conditions: str


class Forecast(Struct):
    """The weather of a place on the days to come, today first."""

    place: str
    unit: Unit
    days: list[Day]


class Weather(Plugin):
    """The tools, and what is looked up ahead."""

    async def on_load(self, api: PluginAPI) -> None:
        self._config = msgspec.convert(api.config, Config)
        if self._config.keep_fresh:
            await api.scheduler.schedule("refresh", _KEPT, self.refresh, immediately=True)
        api.logger.info("asks %s", self._config.server)

    async def on_enable(self) -> None:
        await self.refresh()

    async def on_disable(self) -> None:
        self.api.logger.info("looks up nothing until it is enabled")

    async def on_unload(self) -> None:
        self.api.logger.info("leaves what it has kept to the next worker")

    @tool
    async def get_weather(self, location: Place, units: Unit = "celsius") -> Current:
        """Get the weather of a place, as it is now.

        Args:
            location: A city or another place, by its name.
            units: What the temperature is in.
        """
        report = await self._report(location)
        now = report.current
        return Current(
            place=report.place,
            temperature=_degrees(now.temperature_2m, units),
            unit=units,
            wind=now.wind_speed_10m,
            conditions=_conditions(now.weather_code),
        )

    @tool
    async def weather_forecast(
        self, location: Place, days: Days = 3, units: Unit = "celsius"
    ) -> Forecast:
        """Get the weather of a place on the days to come, today first.

        Args:
            location: A city or another place, by its name.
            days: How many days.
            units: What the temperatures are in.
        """
        report = await self._report(location)
        daily = report.daily
        rows = zip(
            daily.time,
            daily.temperature_2m_min,
            daily.temperature_2m_max,
            daily.weather_code,
            strict=True,
        )
        found = [
            Day(date, _degrees(lowest, units), _degrees(highest, units), _conditions(code))
            for date, lowest, highest, code in rows
        ]
        return Forecast(report.place, units, found[:days])

    @on("message:received")
    async def on_message(self, event: Event) -> None:
        """Look up what somebody asks for, so that the answer is there when a tool is called."""
        content = event.data.get("content") if isinstance(event.data, dict) else None
        if isinstance(content, str) and (asked := _ASKS_FOR.search(content[:1000])):
            await self._look_up_ahead(asked[1])

    async def refresh(self) -> None:
        """Look up again what the operator wants kept fresh."""
        for place in self._config.keep_fresh:
            await self._look_up_ahead(place, anew=True)

    async def _look_up_ahead(self, place: str, *, anew: bool = False) -> None:
        try:
            await self._report(place, anew=anew)
        except (HostError, ToolError) as exc:  # whoever calls a tool is told
            self.api.logger.warning("nothing is known of %s: %s", place, exc)

    async def _report(self, location: str, *, anew: bool = False) -> Report:
        key = f"{self._config.server} {location.strip().casefold()}"
        storage = self.api.storage
        if not anew and (kept := await storage.get(key, type=Report)):
            return kept
        place = await self._find(location)
        params = {"latitude": place.latitude, "longitude": place.longitude, **_FORECAST}
        report = await self._ask(self._config.server, "forecast", params, Report)
        report.place = ", ".join(filter(None, (place.name, place.country)))
        await storage.set(key, report, ttl=_KEPT)
        return report

    async def _find(self, location: str) -> Found:
        params = {"name": location, "count": 1}
        places = await self._ask(self._config.places, "search", params, Places)
        if not places.results:
            raise ToolError(f"no place is known by the name {location!r}", code="unknown_place")
        return places.results[0]

    async def _ask(self, server: str, what: str, params: Mapping[str, object], type: type[T]) -> T:
        headers = {"Authorization": "Bearer {{secret:weather}}"} if self._config.with_secret else {}
        url = f"https://{server}/v1/{what}"
        try:
            response = await self.api.http.get(url, params=params, headers=headers)
            response.raise_for_status()
            return msgspec.json.decode(response.body, type=type)
        except (HttpError, msgspec.DecodeError) as exc:
            raise ToolError(f"{server} has no answer: {exc}", code="no_answer") from exc


def _degrees(celsius: float, unit: Unit) -> float:
    return round(celsius if unit == "celsius" else celsius * 9 / 5 + 32, 1)


def _conditions(code: int) -> str:
    return _WORDS[max(bisect_right(_CODES, code) - 1, 0)]
