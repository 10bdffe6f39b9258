"""`plughost.toml` and the environment: what is read, what wins, and what is said of mistakes."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plughost import (
    BlockingHost,
    Cause,
    ConfigError,
    HostConfig,
    HotReload,
    Layer,
    Limits,
    Restart,
    SecretText,
    load_config,
)
from plughost.settings.build import build_command, check
from plughost.settings.files import GrantFile
from plughost.settings.load import merged
from plughost.settings.shape import ROOT, is_table, names_in

from .conftest import MakePlugin


def toml(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "plughost.toml"


WHOLE = """
call_depth = 4
state_folder = "state"

[limits]
memory = "100MB"
cpu = "50%"
call_timeout = "1 min"
grace = 3
log_level = "debug"

[totals]
workers = 5
memory = "1 GiB"

[restart]
mode = "always"
jitter = "10%"
attempts.memory = 3

[sandbox]
without = ["cgroup"]

[rates]
operations = "none"
services.http = 20

[storage]
url = "redis://localhost/1"

[http]
ca_file = "ca.pem"
max_response = "2 MiB"

[scheduler]
timezone = "Europe/Oslo"

[memory]
embedder = "words.embed"

[users]

[events]
queue = 10

[hooks]
timeout = "250 ms"

[grants]
weather = ["tools:register"]

[plugins.weather]
enabled = true
private_hosts = ["printer.example.com"]
config = {city = "Oslo", since = 2020-05-03, list = [1, {a = 2.5}]}
limits.memory = "64 MiB"
restart.limit = 1
rates.services.storage = 9
sandbox.without = ["landlock"]
"""


def test_every_section_is_read_by_the_types_of_the_fields(file: Path) -> None:
    config = load_config(toml(file, WHOLE))
    assert (config.call_depth, config.state_folder) == (4, file.parent / "state")
    assert config.limits == Limits(
        memory=100_000_000, cpu=0.5, call_timeout=60.0, grace=3.0, log_level="debug"
    )
    assert (config.totals.workers, config.totals.memory) == (5, 2**30)
    assert (config.restart.mode, config.restart.jitter) == ("always", 0.1)
    assert config.restart.attempts == {**Restart().attempts, Cause.MEMORY: 3}
    assert config.sandbox.without == {Layer.CGROUP}
    assert config.rates.operations is None
    assert config.rates.services == {"events": 600, "services": 6000, "tools": 6000, "http": 20}
    assert config.storage.url == "redis://localhost/1"
    assert (config.http.ca_file, config.http.max_response) == (file.parent / "ca.pem", 2 * 2**20)
    assert config.scheduler.timezone == "Europe/Oslo"
    assert config.memory.embedder == "words.embed"
    assert (config.events.queue, config.hooks.timeout) == (10, 0.25)
    assert config.grants == {"weather": ("tools:register",)}
    weather = config.of("weather")
    assert weather.config == {"city": "Oslo", "since": "2020-05-03", "list": [1, {"a": 2.5}]}
    assert weather.private_hosts == ("printer.example.com",)
    # What it does not say is the host's own, field by field.
    assert weather.limits == dataclasses.replace(config.limits, memory=64 * 2**20)
    assert weather.restart == dataclasses.replace(config.restart, limit=1)
    assert weather.rates is not None
    assert weather.rates.services == {**config.rates.services, "storage": 9}
    assert weather.sandbox is not None
    assert weather.sandbox.without == {Layer.LANDLOCK}


def test_every_field_of_the_configuration_can_be_in_a_file_but_for_objects() -> None:
    def all_names(kind: Any, path: str) -> set[str]:
        names = set()
        for field in dataclasses.fields(kind):
            there = names_in(kind).get(field.name)
            place = f"{path}.{field.name}".lstrip(".")
            if there is None:
                names.add(place)
            elif is_table(there) and dataclasses.is_dataclass(there):
                names |= all_names(there, place)
        return names

    assert all_names(HostConfig, "") == {"resolver", "memory.store", "users.directory"}
    assert {"folders", "socket"} <= set(names_in(ROOT))


def test_a_later_file_wins_field_by_field_and_the_environment_over_all(tmp_path: Path) -> None:
    first = toml(
        tmp_path / "a.toml",
        "[limits]\nmemory = '100MB'\ncpu = 2\n[grants]\na = ['users:read']\n"
        "[plugins.a-b.config]\none = 1\ntwo = 2\n",
    )
    second = toml(
        tmp_path / "b.toml",
        "[limits]\nmemory = '200MB'\n[grants]\na = ['users:read', 'tools:register']\n"
        "[plugins.a-b.config]\ntwo = 3\n",
    )
    environment = {
        "PLUGHOST_LIMITS__CPU": "50%",
        "PLUGHOST_LIMITS__GRACE": "1",
        "PLUGHOST_SHARED_TEMPLATE": "yes",
        "PLUGHOST_SANDBOX__WITHOUT": "cgroup, landlock",
        "PLUGHOST_RATES__SERVICES__HTTP": "none",
        "PLUGHOST_PLUGINS__A_B__CONFIG__NAME": "plain text",
        "PLUGHOST_PLUGINS__A_B__CONFIG__LIST": '["x", 1]',
        "PLUGHOST_PLUGINS__A_B__ENABLED": "off",
        "PLUGHOST_SERVICE_HOST": "of Kubernetes",
        "PLUGHOST_SOCKET": "/run/x.sock",
        "PLUGHOST_STATE_FOLDER": "",
        "OTHER": "x",
    }
    config = load_config(first, second, environment=environment)
    assert (config.limits.memory, config.limits.cpu, config.limits.grace) == (200_000_000, 0.5, 1.0)
    assert config.grants == {"a": ("users:read", "tools:register")}
    assert config.shared_template
    assert config.sandbox.without == {Layer.CGROUP, Layer.LANDLOCK}
    assert config.rates.services["http"] is None
    plugin = config.of("a-b")
    assert not plugin.enabled
    # Of a plugin that is disabled nothing is made ready: its values may hold secrets.
    environment["PLUGHOST_PLUGINS__A_B__ENABLED"] = "on"
    plugin = load_config(first, second, environment=environment).of("a-b")
    assert plugin.config == {"one": 1, "two": 3, "name": "plain text", "list": ["x", 1]}


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("", {}, HotReload(enabled=False)),
        ("hot_reload = true", {}, HotReload()),
        ("hot_reload = false", {}, HotReload(enabled=False)),
        ("[hot_reload]\ndebounce = '1s'", {}, HotReload(debounce=1.0)),
        ("hot_reload = {enabled = false, patterns = ['*.x']}", {}, HotReload(False, ("*.x",))),
        ("hot_reload = false", {"PLUGHOST_HOT_RELOAD": "on"}, HotReload()),
        ("", {"PLUGHOST_HOT_RELOAD__DEBOUNCE": "2s"}, HotReload(enabled=False, debounce=2.0)),
        ("", {"PLUGHOST_HOT_RELOAD__IGNORE": "a, b"}, HotReload(False, ignore=("a", "b"))),
        ("", {"PLUGHOST_ENV": "production"}, HotReload(enabled=False)),
    ],
)
def test_hot_reload_is_switched_as_a_whole_or_has_settings_of_its_own(
    file: Path, text: str, variables: dict[str, str], expected: HotReload
) -> None:
    config = load_config(toml(file, text), environment=variables)
    assert config.hot_reload == expected


MISTAKES = [
    ("hot_reload = 'yes'\n", "1:1: hot_reload: must be true, false or a table"),
    ("[hot_reload]\ndebounce = 0\n", "2:1: hot_reload.debounce must be more than 0"),
    ("hot_reload = {pattern = ['*']}\n", "did you mean 'patterns'"),
    ("[limits]\nmemroy = 1\n", "2:1: limits.memroy: there is no such setting; did you mean 'memor"),
    ("[limts]\n", "1:1: limts: there is no such setting; did you mean 'limits'"),
    ("[limits]\nmemory = \n", "2:10: is not TOML: Invalid value"),
    ("[limits\n", "1:8: is not TOML"),
    ("x = [[[[", "is not TOML"),
    ("[limits]\nmemory = 'lots'\n", "2:10: limits.memory: 'lots' is no size"),
    ("[limits]\n\nmemory = '1MB'\n", "3:1: limits.memory is 1.0 MB"),
    ("[limits]\nthreads = 'two'\n", "2:11: limits.threads: must be an integer, not 'two'"),
    ("[limits]\nthreads = true\n", "2:11: limits.threads: must be an integer, not true"),
    ("[limits]\nthreads = 0\n", "2:1: limits.threads must be more than 0"),
    ("[limits]\ngrace = nan\n", "2:9: limits.grace: must be a number"),
    ("[limits]\nlog_level = 'loud'\n", "2:1: limits.log_level is one of debug"),
    ("limits = 3\n", "1:1: limits: must be a table"),
    ("[http]\ntimeout = 90\n", "2:1: http.timeout is over its own max_timeout"),
    ("[rates]\noperations = -1\n", "2:1: rates: operations must be more than 0"),
    ("[rates.services]\nhttp = 0\n", "2:1: rates: http must be more than 0"),
    ("[restart]\nattempts.fire = 1\n", "2:1: restart.attempts.fire: is not known; there are"),
    ("[sandbox]\nwithout = ['all']\n", "2:11: sandbox.without: is one of uid"),
    ("[memory]\nstore = 1\n", "2:1: memory.store: is given by an application"),
    ("resolver = 1\n", "1:1: resolver: is given by an application"),
    ("[storage]\nurl = 'mysql://secret'\n", "2:1: storage.url begins with redis://"),
    ("[plugins.My]\nenabled = true\n", "1:1: plugins.My: is no plugin's id"),
    ("[plugins.a]\nenabled = 1\n", "2:11: plugins.a.enabled: must be true or false, not 1"),
    ("[plugins.a.config]\nx = inf\n", "2:5: plugins.a.config.x: must be a number"),
    ("[plugins.a.limits]\nmemory = 1\n", "2:1: plugins.a.limits.memory is 1 B"),
    ("[plugins.a]\nsecrets.s = 'x'\n", "2:13: plugins.a.secrets.s: must be a table such as"),
    ("[plugins.a]\nsecrets.s = {value = 'geheim', hosts = ['x.com']}\n", "holds its value, which"),
    ("[plugins.a]\nsecrets.s = {env = 'X'}\n", "names no host that it is for"),
    ("[plugins.a]\nsecrets.s = {hosts = ['x.com']}\n", "must say where it comes from"),
    ("[plugins.a]\nsecrets.s = {env = 'X', file = 'y', hosts = ['x.com']}\n", "with one of env"),
    ("[plugins.a]\nsecrets.s = {keyring = 'x', hosts = ['x.com']}\n", "must be SERVICE/NAME"),
    ("[plugins.a]\nsecrets.s = {env = 'X', hosts = ['x.com'], port = 1}\n", "port is not known"),
    (
        "[plugins.a]\nsecrets.s = {env = 'X', hosts = ['x.com/y']}\n",
        "2:1: plugins.a.secrets.s: 'x.com",
    ),
    ("[plugins.a]\nsecrets.s = {env = 'X', hosts = ['*.com']}\n", "2:1: plugins.a.secrets.s: "),
    ("[plugins.a]\nsecrets.s = {env = 'X', hosts = ['db']}\n", "2:1: plugins.a.secrets.s: 'db'"),
    (
        "[plugins.a]\nsecrets.S = {env = 'X', hosts = ['x.com']}\n",
        "plugins.a.secrets.S: its name is",
    ),
    ("[plugins.a.config]\nx.secret.name = 'y'\n", "secret must be a table with one of env"),
    ("[grants]\na = ['fly:high']\n", "2:6: grants.a[0]: there is no permission"),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES)
def test_a_mistake_is_told_with_file_line_and_column(file: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(toml(file, text))
    assert caught.value.path == file
    assert caught.value.line > 0
    assert told in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert "mysql" not in str(caught.value)


def test_a_file_that_is_nested_without_end_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="nested too deep"):
        load_config(toml(file, "a = " + "[" * 5000))


def test_all_mistakes_of_all_places_are_told_at_once(file: Path) -> None:
    toml(file, "[limits]\ngrace = 0\nmemroy = 1\n[grants]\na = 1\n[plugins.b]\nenabled = 2\n")
    environment = {
        "PLUGHOST_LIMITS__CPU": "much",
        "PLUGHOST_LIMITS": "x",
        "PLUGHOST_GRANTS__A": "tools:register",
        "PLUGHOST_CALL_DEPHT": "3",
        "PLUGHOST_HTTP__TIMEOUT__X": "3",
        "PLUGHOST_RATES__OPERATIONS": "0",
    }
    with pytest.raises(ConfigError) as caught:
        load_config(file, environment=environment)
    told = str(caught.value).splitlines()
    assert len(told) == len(caught.value.others) + 1
    for part in (
        "limits.grace must be more than 0",
        "limits.memroy: there is no such setting",
        "grants.a: must be a list",
        "plugins.b.enabled: must be true or false",
        "PLUGHOST_LIMITS__CPU: 'much' is no share",
        "PLUGHOST_LIMITS: limits is a table",
        "PLUGHOST_GRANTS__A: grants are kept in files",
        "PLUGHOST_CALL_DEPHT: there is no such setting; did you mean PLUGHOST_CALL_DEPTH?",
        "PLUGHOST_HTTP__TIMEOUT__X: http.timeout.x: http.timeout is no table",
        "PLUGHOST_RATES__OPERATIONS: rates: operations must be more than 0",
    ):
        assert [line for line in told if part in line], part


@pytest.mark.parametrize("spoil", ["writable", "beside a manifest"])
def test_a_file_that_somebody_else_could_have_written_is_not_believed(
    file: Path, spoil: str
) -> None:
    toml(file, "call_depth = 3\n")
    if spoil == "writable":
        file.chmod(0o602)
    else:
        (file.parent / "manifest.json").touch()
    with pytest.raises(ConfigError, match=r"could grant anything|a plugin grants itself nothing"):
        load_config(file)


def test_the_file_in_the_docs_is_read_without_a_mistake(file: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text()
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    found = merged([GrantFile(file, text, {})], {})
    assert not check(found)
    assert build_command(found).folders == (file.parent / "plugins",)
    tables = set(re.findall(r"\[(\w+)\]", page)) & set(names_in(ROOT))
    assert tables == {name for name, kind in names_in(ROOT).items() if is_table(kind)} - {"plugins"}


# Secrets


def test_secrets_come_from_the_environment_and_from_files(
    file: Path, make_plugin: MakePlugin
) -> None:
    (file.parent / "token").write_text("file-secret\n")
    (file.parent / "token").chmod(0o600)
    toml(
        file,
        "[plugins.a]\nsecrets.one = {env = 'PATH', hosts = ['x.com']}\n"
        "secrets.two = {file = 'token', hosts = ['y.com:8443'], plain_http = true}\n"
        "[plugins.a.config]\nkey.secret.file = 'token'\nplain = {secret = 3, more = 4}\n"
        "list = [{secret = {file = 'token'}}]\n",
    )
    config = load_config(file)
    secrets = config.of("a").secrets
    assert secrets["one"].value == os.environ["PATH"]
    assert (secrets["two"].value, secrets["two"].hosts) == ("file-secret", ("y.com:8443",))
    assert secrets["two"].plain_http
    assert config.of("a").config["key"] == SecretText("file-secret")
    assert config.of("a").config["plain"] == {"secret": 3, "more": 4}
    assert "file-secret" not in repr(config)
    code = (
        "from plughost_sdk import Plugin\nplugin = Plugin()\n"
        "@plugin.tool\ndef seen() -> dict:\n    return dict(plugin.api.config)\n"
    )
    folder = make_plugin("a", code)
    toml(file, "[grants]\na = ['*']\n[plugins.a]\nconfig.key.secret.file = 'token'\n")
    with BlockingHost([folder], load_config(file)) as host:
        assert host.call("a.seen") == {"key": "file-secret"}


def _make_fifo(token: Path) -> None:
    token.unlink()
    os.mkfifo(token, 0o600)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda token: token.chmod(0o640), "can be read by others .mode 0640."),
        (lambda token: token.unlink(), "cannot be read: No such file"),
        (lambda token: token.write_text(""), "is empty"),
        (lambda token: token.write_bytes(b"\xff\xfe"), "is not UTF-8"),
        (lambda token: token.write_bytes(b"x" * 70_000), "longer than"),
        (_make_fifo, "no regular file"),
    ],
)
def test_a_file_with_a_secret_must_be_fit_for_it(file: Path, spoil: Any, problem: str) -> None:
    token = file.parent / "token"
    token.write_text("file-secret")
    token.chmod(0o600)
    spoil(token)
    toml(file, "[plugins.a]\nsecrets.s = {file = 'token', hosts = ['x.com']}\n")
    with pytest.raises(ConfigError, match=problem) as caught:
        load_config(file)
    assert (caught.value.line, caught.value.path) == (2, file)


def test_a_secret_that_is_not_there_is_told_unless_its_plugin_is_disabled(file: Path) -> None:
    text = "[plugins.a]\nenabled = {}\nsecrets.s = {{env = 'NOT_SET_AT_ALL', hosts = ['x.com']}}\n"
    with pytest.raises(ConfigError, match=r":3:1: plugins\.a\.secrets\.s: the variable NOT_SET"):
        load_config(toml(file, text.format("true")))
    assert not load_config(toml(file, text.format("false"))).of("a").secrets


def test_a_secret_that_cannot_be_sent_is_told_with_its_place_and_not_its_value(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "geheim")
    toml(file, "[plugins.a]\nsecrets.s = {env = 'TOKEN', hosts = ['x.com']}\n")
    with pytest.raises(ConfigError, match=r":2:1: plugins\.a\.secrets\.s: .* 8 to 4096") as caught:
        load_config(file)
    assert "geheim" not in str(caught.value)


def test_a_secret_comes_out_of_the_keyring(file: Path) -> None:
    # A keyring that is a file: no desktop need run.
    env = {
        **os.environ,
        "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
        "XDG_DATA_HOME": str(file.parent / "data"),
    }

    def python(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *arguments],
            env=env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    kept = python("-m", "keyring", "set", "my/app", "ada", stdin="from-the-ring\n")
    assert kept.returncode == 0, kept.stderr
    assert list((file.parent / "data").rglob("keyring_pass.cfg"))
    toml(file, "[plugins.a]\nconfig.key.secret.keyring = 'my/app/ada'\n")
    code = (
        "from plughost import load_config\n"
        f"print(load_config({str(file)!r}).of('a').config['key'].value)"
    )
    done = python("-c", code)
    assert (done.stdout, done.stderr) == ("from-the-ring\n", "")
    toml(file, "[plugins.a]\nconfig.key.secret.keyring = 'my/app/eve'\n")
    assert "the keyring has no my/app/eve: keyring set my/app eve" in python("-c", code).stderr
    env["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
    assert "the keyring gives no my/app/eve: No recommended" in python("-c", code).stderr


def test_without_the_extra_the_keyring_names_it(file: Path) -> None:
    toml(file, "[plugins.a]\nconfig.key.secret.keyring = 'app/ada'\n")
    code = (
        "import sys; sys.modules['keyring'] = None\n"
        f"from plughost import load_config; load_config({str(file)!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert "pip install 'plughost[keyring]'" in done.stderr
