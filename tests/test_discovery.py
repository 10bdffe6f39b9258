"""Where plugins are found, which of two runs, and what is broken there stops nothing else."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from plughost import Host
from plughost.catalog.discovery import Found, discover
from plughost.catalog.granted_paths import path_problem
from plughost.catalog.permissions import Permission
from plughost.catalog.search_path import search_path

from .cli_runner import write_plugin
from .conftest import trusting

CODE = "from plughost_sdk import Plugin\nplugin = Plugin()\n"
SINGLE = '# /// plughost\n# id = "{}"\n# name = "x"\n# version = "1.0.0"\n# ///\n' + CODE


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, a system and a folder to be in, all of them empty."""
    # The environment and the working folder are what this is about.
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_DIRS", f"{tmp_path / 'site1'}:{tmp_path / 'site2'}")
    monkeypatch.delenv("PLUGHOST_PLUGIN_PATH", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.mark.anyio
async def test_a_host_that_is_given_what_was_found_does_not_search_again(world: Path) -> None:
    put(world, "first")
    there = discover([world])
    put(world, "second")
    async with Host([world], trusting(), there=there) as host:
        assert set(host.plugins) == {"first"}
        assert await host.load("second") == ["second"]
    # What has changed between the two would never be noticed.
    async with Host([world], trusting(hot_reload=True), there=there) as host:
        assert set(host.plugins) == {"first", "second"}


def put(folder: Path, plugin_id: str, name: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return write_plugin(folder, name or plugin_id, CODE, id=plugin_id)


def codes(found: list[Found]) -> dict[str, Path]:
    return {plugin.manifest.id: plugin.code for plugin in found}


def test_the_search_path_is_variable_user_local_system(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGHOST_PLUGIN_PATH", f"{world / 'a'}{os.pathsep}{world / 'b'}")
    folders = [place.path for place in search_path() if not place.name]
    assert folders == [
        world / "a",
        world / "b",
        world / "home" / "plughost" / "plugins",
        Path("plugins"),
        Path("src/plugins"),
        world / "site1" / "plughost" / "plugins",
        world / "site2" / "plughost" / "plugins",
    ]


def test_the_first_found_wins_and_says_what_it_hides(world: Path) -> None:
    places = [
        world / "home" / "plughost" / "plugins",
        world / "here" / "plugins",
        world / "here" / "src" / "plugins",
        world / "site2" / "plughost" / "plugins",
    ]
    for number, place in enumerate(places):
        for plugin_id in ("p0", "p1", "p2", "p3")[: number + 1]:
            put(place, plugin_id)
    found, refused = discover()
    assert codes(found) == {f"p{n}": place / f"p{n}" for n, place in enumerate(places)}
    hidden = {plugin.manifest.id: plugin.hides for plugin in found}
    assert hidden["p0"] == tuple(place / "p0" for place in places[1:])
    assert hidden["p3"] == ()
    assert not refused


def test_folders_that_are_named_are_all_that_is_searched(world: Path) -> None:
    put(world / "here" / "plugins", "local")
    put(world / "named", "other")
    assert list(codes(discover([world / "named"]).found)) == ["other"]
    assert discover([]).found == []


def test_a_search_path_without_any_plugin_is_no_error_and_a_bad_variable_is(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert discover() == ([], [])
    monkeypatch.setenv("PLUGHOST_PLUGIN_PATH", str(world / "gone"))
    assert "No such file" in str(discover().refused[0].error)


def test_no_plugin_may_write_where_plugins_are_found(world: Path) -> None:
    (world / "here" / "src").mkdir()
    (world / "here" / "docs").mkdir()
    write, read = (Permission.parse(f"fs:{kind}:{world}/here/src") for kind in ("write", "read"))
    assert f"holds {world}/here/src/plugins" in path_problem(write, [])
    assert path_problem(read, []) == ""
    assert path_problem(Permission.parse(f"fs:write:{world}/here/docs"), []) == ""


def test_one_plugin_reached_in_two_ways_hides_nothing(world: Path) -> None:
    put(world / "here" / "plugins", "one")
    (world / "here" / "src").mkdir()
    (world / "here" / "src" / "plugins").symlink_to(world / "here" / "plugins")
    found, refused = discover()
    assert [plugin.hides for plugin in found] == [()]
    assert not refused


def test_two_of_one_id_in_one_folder_are_an_error_that_names_both(tmp_path: Path) -> None:
    first, second = put(tmp_path, "twin", "a"), put(tmp_path, "twin", "b")
    found, refused = discover([tmp_path])
    assert codes(found) == {"twin": first}
    assert [item.root for item in refused] == [second]
    assert f"'twin' is taken by {first}" in str(refused[0].error)
    assert str(second) in str(refused[0].error)


def test_a_refused_folder_is_not_taken_for_the_plugin_that_has_its_name(tmp_path: Path) -> None:
    broken = put(tmp_path / "a", "tool")
    (broken / "manifest.json").write_text("{")
    put(tmp_path / "b", "tool")
    found, refused = discover([tmp_path / "a", tmp_path / "b"])
    assert [plugin.manifest.id for plugin in found] == ["tool"]
    assert [item.name for item in refused] == [str(broken)]


def test_python_files_with_a_header_are_plugins_and_others_are_not(tmp_path: Path) -> None:
    put(tmp_path, "folder")
    (tmp_path / "single.py").write_text(SINGLE.format("single"))
    (tmp_path / "helpers.py").write_text("x = 1\n")
    (tmp_path / "bad.py").write_text(SINGLE.format("Bad"))
    found, refused = discover([tmp_path])
    assert codes(found) == {"folder": tmp_path / "folder", "single": tmp_path / "single.py"}
    assert [item.name for item in refused] == ["bad.py"]
    (plugin,), _ = discover([tmp_path / "single.py"])
    assert (plugin.root, plugin.file) == (tmp_path, tmp_path / "single.py")
    assert "no header" in str(discover([tmp_path / "helpers.py"]).refused[0].error)


def test_what_is_broken_in_a_folder_leaves_the_rest(tmp_path: Path) -> None:
    put(tmp_path, "good")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "itself").symlink_to(tmp_path)
    half = put(tmp_path, "half")
    (half / "manifest.json").write_text('{"id": "half", "na')
    fifo = tmp_path / "fifo"
    fifo.mkdir()
    os.mkfifo(fifo / "manifest.json")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "plugin.py").touch()
    (tmp_path / "notes").mkdir()
    found, refused = discover([tmp_path])
    assert list(codes(found)) == ["good"]
    errors = {item.name: str(item.error) for item in refused}
    assert set(errors) == {"loop", "nowhere", "half", "fifo", "pipe.py", "bare"}
    assert "leads nowhere, or round in a circle" in errors["loop"]
    assert "(line 1, column 19)" in errors["half"]
    assert "is no regular file" in errors["fifo"]
    assert "no manifest: write manifest.json" in errors["bare"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_leaves_the_rest(tmp_path: Path) -> None:
    put(tmp_path, "good")
    closed = put(tmp_path, "closed")
    closed.chmod(0)
    try:
        found, refused = discover([tmp_path, closed])
    finally:
        closed.chmod(0o700)
    assert list(codes(found)) == ["good"]
    assert "Permission denied" in str(refused[0].error)


def test_a_plugin_among_ten_thousand_entries_is_found(tmp_path: Path) -> None:
    for number in range(8_000):
        (tmp_path / f"{number}.txt").touch()
    for number in range(1_000):
        (tmp_path / f"folder{number}").mkdir()
        (tmp_path / f"{number}.py").write_text("x = 1\n")
    put(tmp_path, "needle")
    found, refused = discover([tmp_path])
    assert (list(codes(found)), refused) == (["needle"], [])


@pytest.mark.anyio
async def test_a_folder_may_be_named_by_a_way_round(world: Path) -> None:
    put(world / "plugins", "one")
    for folder in (Path("../plugins"), Path("../plugins/one"), world / "here/../plugins"):
        (found,) = discover([folder]).found
        assert found.root == world / "plugins" / "one"
        async with Host([folder], trusting()) as host:
            assert host.problems == {}


def test_a_plain_manifest_is_read_without_what_compares_versions(tmp_path: Path) -> None:
    put(tmp_path, "plain")
    code = (
        "import sys\n"
        "from plughost.catalog.discovery import discover\n"
        "assert discover([sys.argv[1]]).found\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"semantic_version", "packaging", "importlib.metadata", "tomlkit"}


# Installed packages


def install(site: Path, name: str, entry_points: str) -> None:
    """What an installer leaves of a package."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[plughost.plugins]\n{entry_points}\n")


BOMB = "raise RuntimeError('the host has imported a plugin')\n"


def test_installed_packages_are_found_and_never_imported(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = world / "site-packages"
    install(site, "whole", "whole = whole_plugin")
    (site / "whole_plugin").mkdir()
    (site / "whole_plugin" / "__init__.py").write_text(BOMB)
    write_plugin(site / "whole_plugin", "inner", CODE, id="inner-one")
    write_plugin(site, "shallow", CODE, id="shallow-one")
    (site / "shallow" / "__init__.py").write_text(BOMB)
    install(site, "dotted", "dotted = whole_plugin.inner:create_plugin")
    install(site, "beside", "beside = shallow.plugin")
    (site / "alone.py").write_text(SINGLE.format("alone") + BOMB)
    install(site, "alone", "alone = alone")
    install(site, "lost", "lost = no_such_package.at_all\nodd = not a module")
    monkeypatch.syspath_prepend(site)
    found, refused = discover()
    assert codes(found) == {
        "inner-one": site / "whole_plugin" / "inner",
        "shallow-one": site / "shallow",
        "alone": site / "alone.py",
    }
    errors = {item.name: str(item.error) for item in refused}
    assert set(errors) == {"whole", "lost", "odd"}
    assert "the entry point 'lost' of lost 1.0 names 'no_such_package.at_all'" in errors["lost"]
    assert not {"whole_plugin", "shallow", "alone"} & set(sys.modules)


def wheel(folder: Path, plugin: Path) -> Path:
    """A wheel with a plugin's folder in it as the package `packed_plugin`."""
    info = "packed_plugin-1.0.dist-info"
    files = {f"packed_plugin/{path.name}": path.read_text() for path in plugin.iterdir()}
    files |= {
        "packed_plugin/__init__.py": BOMB,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: packed-plugin\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[plughost.plugins]\npacked = packed_plugin\n",
    }
    made = folder / "packed_plugin-1.0-py3-none-any.whl"
    with ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in files))
    return made


def test_a_plugin_that_pip_installed_is_found_and_runs(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    target = tmp_path / "target"
    made = wheel(tmp_path, write_plugin(tmp_path, "packed", CODE, permissions=[]))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--no-deps", "--no-index", "--target", target, made],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    code = (
        "import sys, anyio; sys.path.insert(0, sys.argv[1])\n"
        "from plughost import Host\n"
        "async def main():\n"
        "    async with Host() as host:\n"
        "        assert host.plugin('packed').pid, host.problems\n"
        "        print(host.plugin('packed').found.root, 'packed_plugin' in sys.modules)\n"
        "anyio.run(main)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, target],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
        cwd=tmp_path,
    )
    assert done.stdout == f"{target / 'packed_plugin'} False\n", done.stderr


# Single files in a sandbox

LOOKS = """
import os
from pathlib import Path
from plughost_sdk import Plugin

plugin = Plugin()

@plugin.tool
async def look(path: str) -> list[str]:
    seen = []
    for name in (path, path + "/other.py", path + "/neighbour/plugin.py"):
        try:
            seen += sorted(os.listdir(name)) if os.path.isdir(name) else [Path(name).read_text()]
        except OSError as exc:
            seen.append(type(exc).__name__)
    return seen

@plugin.tool
async def borrow() -> str:
    try:
        import other
    except ImportError:
        return "nothing to import"
    return other.SECRET
"""


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder with a plugin of one file among other things."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    header = SINGLE.format("single").replace("# ///\n" + CODE, "")
    asks = '# permissions = ["tools:register"]\n# ///\n'
    (folder / "single.py").write_text(header + asks + LOOKS)
    (folder / "other.py").write_text("SECRET = 'mine'\n")
    write_plugin(folder, "neighbour", CODE)
    return folder


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_plugin_of_one_file_sees_nothing_else_of_the_folder(shared: Path) -> None:
    folder = shared
    async with Host([folder], trusting()) as host:
        assert not host.problems
        seen = await host.call("single.look", {"path": str(folder)})
        borrowed = await host.call("single.borrow")
    assert seen == ["single.py", "FileNotFoundError", "FileNotFoundError"]
    assert borrowed == "nothing to import"
