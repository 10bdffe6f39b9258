"""`plughost new` and `plughost check`."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from plughost.management.new import new_plugin
from plughost.management.output import Output
from plughost.management.problems import CommandFailed

from .cli_runner import plughost, write_plugin


def test_a_new_plugin_passes_its_check_its_tests_and_answers_a_call(tmp_path: Path) -> None:
    made = plughost("new", "my-plugin", "--dir", tmp_path)
    assert made.code == 0
    root = tmp_path / "my-plugin"
    assert f"plughost grant my-plugin --all --dir {root}" in made.out
    assert f"plughost call --dir {root} my-plugin.hello name=you" in made.out
    check = plughost("check", root)
    assert (check.code, "my-plugin.hello" in check.out) == (0, True), check
    call = plughost("call", "--dir", root, "my-plugin.hello", "name=you")
    assert (call.code, call.out) == (0, "Hello, you.\n")
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(root)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert tests.returncode == 0, tests.stdout
    assert "2 passed" in tests.stdout


def test_a_new_plugin_that_uses_services_is_typed_and_passes_its_tests(tmp_path: Path) -> None:
    made = plughost("new", "my-notes", "--dir", tmp_path, "--example", "services")
    root = tmp_path / "my-notes"
    assert f"plughost call --dir {root} my-notes.note 'text=buy tea'" in made.out
    check = plughost("check", root)
    assert (check.code, "my-notes.noted" in check.out) == (0, True), check
    for command in (
        ["pytest", "-q", "-p", "no:cacheprovider", str(root)],
        ["ruff", "check", "--isolated", str(root)],
        ["mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(root / "plugin.py")],
    ):
        if command[0] != "pytest" and find_spec(command[0]) is None:
            continue  # of the extra `lint`, which the tests do not need
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_an_example_that_there_is_not_is_wrong_usage(tmp_path: Path) -> None:
    done = plughost("new", "demo", "--dir", tmp_path, "--example", "servces")
    assert (done.code, "--example hello or services" in done.err) == (2, True), done
    assert not list(tmp_path.iterdir())


def test_a_bad_id_is_wrong_usage(tmp_path: Path) -> None:
    done = plughost("new", "../up", "--dir", tmp_path)
    assert (done.code, "cannot be a plugin's id" in done.err) == (2, True), done
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["My_Plugin", "1st", "", "a b", "../up", "x" * 65, "-", "a\n"])
def test_a_bad_id_is_refused_with_a_good_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        new_plugin(Output(), name, tmp_path)
    better = caught.value.problem.then.removeprefix("plughost new ")
    assert new_plugin(Output(), better, tmp_path) == 0


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    done = plughost("new", "taken", "--dir", tmp_path, "--json")
    assert (done.code, "exists already" in done.error["message"]) == (1, True)
    assert not list((tmp_path / "taken").iterdir())


def test_new_tells_in_json_what_it_wrote(tmp_path: Path) -> None:
    done = plughost("new", "demo", "--json", cwd=tmp_path)
    assert done.json == {
        "id": "demo",
        "path": "demo",
        "files": ["manifest.json", "plugin.py", "tests/test_plugin.py"],
    }


def test_check_names_every_problem_of_a_manifest(tmp_path: Path) -> None:
    root = write_plugin(tmp_path, "odd", "", version="one", main="other.py", limits={"cpu": "x"})
    done = plughost("check", root)
    assert done.code == 1
    written = (root / "manifest.json").read_text()
    for value, told in (
        ('"one"', "version: 'one' is none"),
        ('"other.py"', "main: there is no file 'other.py'"),
        ('"x"', "limits.cpu:"),
    ):
        assert f"{root}/manifest.json:1:{written.index(value) + 1}: {told}" in done.out


def test_check_shows_the_traceback_of_a_plugin_that_does_not_load(tmp_path: Path) -> None:
    write_plugin(tmp_path, "boom", "import sys\nprint('so far')\n1 / 0\n")
    write_plugin(tmp_path, "fine", "from plughost_sdk import Plugin\nplugin = Plugin()\n")
    done = plughost("check", tmp_path)
    assert done.code == 1
    assert "ZeroDivisionError" in done.out
    assert 'plugin.py", line 3' in done.out
    assert "so far" in done.out
    assert "it offers no tools" in done.out
    boom, fine = plughost("check", tmp_path, "--json").json
    assert (boom["id"], boom["ok"], fine["id"], fine["ok"]) == ("boom", False, "fine", True)
    assert set(boom) == {
        *("path", "id", "ok", "problems", "marks", "notes", "log", "tools", "asks", "grant")
    }
    assert any("Traceback" in line for line in boom["log"])


def test_check_starts_what_sleeps_and_what_is_disabled(tmp_path: Path) -> None:
    code = "from plughost_sdk import Plugin\nplugin = Plugin()\n@plugin.tool\ndef do(): ...\n"
    write_plugin(tmp_path, "lazy", code, activation=["tool"])
    write_plugin(tmp_path, "off", "1 / 0\n", activation=["tool"])
    done = plughost("check", tmp_path, env={"PLUGHOST_PLUGINS__OFF__ENABLED": "false"})
    assert f"ok lazy  {tmp_path}/lazy\n" in done.out
    assert "lazy.do" in done.out
    assert f"failed off  {tmp_path}/off\n  ZeroDivisionError" in done.out


def test_check_of_nothing_is_a_failure(tmp_path: Path) -> None:
    done = plughost("check", tmp_path)
    assert (done.code, "holds no plugin" in done.out) == (1, True)
