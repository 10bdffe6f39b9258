"""The page about the bestiary, held against the files."""

import ast
import json
import re

import pytest

from .plugins.zoo import PLUGINS

_PAGE = (PLUGINS.parent.parent / "docs" / "bestiary.md").read_text()
_FOLDERS = sorted(path.parent for path in PLUGINS.glob("*/plugin.py"))


def test_every_plugin_stands_in_the_table_and_no_other_does() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", _PAGE, re.MULTILINE)
    assert sorted(listed) == [folder.name for folder in _FOLDERS]


def test_every_row_of_the_table_is_complete() -> None:
    for row in re.findall(r"^\| `.*", _PAGE, re.MULTILINE):
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 4, row
        assert all(cells), row


@pytest.mark.parametrize("folder", _FOLDERS, ids=lambda folder: folder.name)
def test_every_plugin_is_named_like_its_folder_and_says_what_it_does(folder: object) -> None:
    path = PLUGINS / str(folder)
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["id"] == path.name.replace("_", "-")
    code = (path / "plugin.py").read_text()
    assert code.startswith('"""')
    assert ast.get_docstring(ast.parse(code))


def test_every_plugin_is_run_by_a_test() -> None:
    tests = [*PLUGINS.parent.glob("test_bestiary*.py"), PLUGINS.parent / "test_no_orphans.py"]
    code = "".join(path.read_text() for path in tests)
    for folder in _FOLDERS:
        name = folder.name
        assert name in code or name.replace("_", "-") in code, name
