"""What all tests share."""

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

MakePlugin: TypeAlias = Callable[..., Path]


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
