"""What all tests share."""

import json
import os
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from plughost import GRANT_ALL_ASKED, HostConfig

MakePlugin: TypeAlias = Callable[..., Path]


def trusting(**settings: Any) -> HostConfig:
    """A configuration that grants all that is asked for, where grants are not the subject."""
    return HostConfig(grants=GRANT_ALL_ASKED, **settings)


def sharing(**settings: Any) -> HostConfig:
    """The same with one template process for all plugins, where that is not the subject either.

    For hosts with many plugins, or many versions of one: each has its own process by default.
    """
    return trusting(shared_template=True, **settings)


def pytest_configure(config: pytest.Config) -> None:
    """Examples that Hypothesis keeps are no part of the repository.

    Not a fixture: it settles where they are while tests are collected.
    """
    folder = tempfile.TemporaryDirectory(prefix="plughost-hypothesis-")
    config.add_cleanup(folder.cleanup)
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder.name


@pytest.fixture(scope="session", autouse=True)
def _places_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Plugins' data and the user's grants are not those of the person who runs the tests."""
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        os.environ[variable] = str(tmp_path_factory.mktemp(variable.lower()))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def make_plugin(tmp_path: Path) -> MakePlugin:
    """Writes a plugin into `tmp_path/plugins`, and gives that folder."""

    def make(plugin_id: str, code: str, **manifest: Any) -> Path:
        folder = tmp_path / "plugins" / plugin_id
        folder.mkdir(parents=True)
        fields = {
            "id": plugin_id,
            "name": plugin_id,
            "version": "1.0.0",
            "permissions": ["tools:register"],
        }
        (folder / "manifest.json").write_text(json.dumps(fields | manifest))
        (folder / "plugin.py").write_text(textwrap.dedent(code))
        return folder.parent

    return make
