"""From settings to the configuration of a host."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

from plughost.catalog.secret_form import check_secret_value, secret_rules
from plughost.config import HostConfig, PluginConfig
from plughost.errors import ConfigError, HostMisuse
from plughost.service_config import Secret

from .origin import Setting, Settings
from .secret_sources import SecretSource, reveal
from .shape import CommandSettings, Keys, is_table, names_in

__all__ = ["build_command", "build_host", "check"]

T = TypeVar("T")


def build_host(settings: Settings) -> HostConfig:
    """The configuration, with secrets read for plugins that are not disabled.

    Raises `ConfigError` with all mistakes.
    """
    builder = _Builder(settings)
    config = builder.host(with_secrets=True)
    builder.raise_problems()
    return config


def check(settings: Settings) -> list[ConfigError]:
    """What is wrong with the settings, each by itself and together. Reads no secret."""
    builder = _Builder(settings)
    builder.host(with_secrets=False)
    return builder.problems


def build_command(settings: Settings) -> CommandSettings:
    """What the command takes from them for itself."""
    return _Builder(settings).table(CommandSettings(), ())


class _Builder:
    def __init__(self, settings: Settings) -> None:
        self.problems = list(settings.problems)
        self._settings = settings

    def raise_problems(self) -> None:
        if self.problems:
            first, *others = self.problems
            raise ConfigError(first.path, first.problem, first.line, first.column, others)

    def host(self, *, with_secrets: bool) -> HostConfig:
        host = self.table(HostConfig(), ())
        plugins = {
            plugin_id: self._plugin(plugin_id, host, with_secrets=with_secrets)
            for plugin_id in dict.fromkeys(
                keys[1] for keys in self._settings.made if keys[0] == "plugins"
            )
        }
        grants = {
            keys[1]: setting.value for keys, setting in self._settings.below(("grants",)).items()
        }
        return replace(host, plugins=plugins, grants=grants)

    def _plugin(self, plugin_id: str, host: HostConfig, *, with_secrets: bool) -> PluginConfig:
        """One plugin's: a table that it has is over the host's own, field by field."""
        keys = ("plugins", plugin_id)
        below = self._settings.below(keys)
        given = {made[2] for made in below}
        shared = {
            name: getattr(host, name)
            for name in ("limits", "restart", "rates", "sandbox")
            if name in given
        }
        plugin = self.table(PluginConfig(**shared), keys)
        reads = with_secrets and plugin.enabled
        secrets: dict[str, Any] = {}
        config: dict[str, Any] = {}
        for made, setting in below.items():
            if made[2] not in ("secrets", "config"):
                continue
            name, value = made[3], setting.value
            try:
                if made[2] == "config":
                    config |= {name: reveal(value)} if reads else {}
                elif isinstance(value, SecretSource):
                    secret_rules(name, value.hosts, plugin.private_hosts)
                    secrets |= {name: _good(value.secret())} if reads else {}
            except ValueError as exc:
                self.problems.append(setting.origin.error(f"{'.'.join(made)}: {exc}"))
        return replace(plugin, secrets=secrets, config=config)

    def table(self, base: T, keys: Keys) -> T:
        """The table with what is set in it; as it was, and a problem more, where that cannot be."""
        given: dict[str, Any] = {}
        for name, kind in names_in(cast("Any", type(base))).items():
            if name in ("plugins", "grants", "secrets", "config"):
                continue
            place = (*keys, name)
            if not is_table(kind):
                if setting := self._settings.made.get(place):
                    given[name] = setting.value
            elif below := self._settings.below(place):
                old = getattr(base, name)
                if isinstance(old, Mapping):
                    given[name] = {**old, **_mapping(below, len(place), kind)}
                elif old is not None:
                    given[name] = self.table(old, place)
        try:
            return replace(base, **given) if given else base  # type: ignore[type-var] # dataclasses
        except HostMisuse as exc:
            self.problems.append(self._explained(exc, keys, given))
            return base

    def _explained(self, exc: HostMisuse, keys: Keys, given: Mapping[str, Any]) -> ConfigError:
        """The mistake at the setting that its sentence names, else at the first of the table."""
        below = self._settings.below(keys)
        mine = [made for made in below if len(made) > len(keys) and made[len(keys)] in given]
        words = re.findall(r"\w+", str(exc))
        named = [made for made in mine if made[-1] in words or made[len(keys)] in words]
        culprit = below[(named or mine)[0]]
        problem = re.sub(r"^\w+(?=\.)|^\w+(?=:)", ".".join(keys), str(exc))
        return culprit.origin.error(problem.lstrip("."))


def _good(secret: Secret) -> Secret:
    """The same. Raises `ValueError`, which does not tell its value."""
    check_secret_value(secret.value)
    return secret


def _mapping(below: Mapping[Keys, Setting], depth: int, kind: Any) -> dict[Any, Any]:
    key_type = kind.__args__[0]
    return {key_type(made[depth]): setting.value for made, setting in below.items()}
