"""The engines against each other and against the official JSON Schema Test Suite.

The suite travels in the source distribution of `jsonschema`, fetched once by pip.
"""

import json
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from plughost.catalog.schema import CompiledSchema, SchemaRefused
from plughost.catalog.schema_explain import find_problems

_CACHE = Path.home() / ".cache" / "plughost-tests"
_DOWNLOAD_TIMEOUT = 50.0  # two small downloads; pytest gives a test 60 seconds


@pytest.fixture(scope="session")
def suite() -> Path:
    """The sdist of jsonschema, with the test suite in it."""
    wanted = f"jsonschema=={version('jsonschema')}"
    archive = _CACHE / f"jsonschema-{version('jsonschema')}.tar.gz"
    if not archive.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        try:
            subprocess.run(
                [*pip, "--no-binary", "jsonschema", "--dest", str(_CACHE), wanted],
                check=True,
                capture_output=True,
                timeout=_DOWNLOAD_TIMEOUT,
            )
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"pip cannot fetch the source of {wanted}: {error}")
    return archive


def _groups(archive: Path, draft: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            path = Path(member.name)
            # Directly in the draft's folder: below it stands optional/.
            if path.suffix == ".json" and path.parts[1:-1] == ("json", "tests", draft):
                content = tar.extractfile(member)
                assert content is not None
                for group in json.load(content):
                    yield path.stem, group


def _hold_against(archive: Path, draft: str, dialect: str) -> tuple[int, Counter[str]]:
    agreed, refused = 0, Counter[str]()
    for keyword, group in _groups(archive, draft):
        schema = group["schema"]
        if isinstance(schema, dict):
            schema = {"$schema": dialect, **schema}
        try:
            compiled = CompiledSchema(schema)
        except SchemaRefused:
            refused[keyword] += 1
            continue
        for case in group["tests"]:
            named = f"{keyword}: {group['description']}: {case['description']}"
            valid, value = case["valid"], case["data"]
            assert compiled.accepts(value) is valid, named
            assert (not compiled.explain(value)) is valid, named
            if compiled._suits_python(1, 1):
                found = find_problems(compiled._checked, compiled._draft, value, "")
                assert (not found) is valid, named
            agreed += 1
    return agreed, refused


# Other documents, other base URIs, and the drafts' own schemas by their address: refused by rule.
_REFUSED = {"anchor", "defs", "definitions", "dynamicRef", "recursiveRef", "ref", "refRemote"}
_REFUSED |= {"unevaluatedItems", "unevaluatedProperties", "vocabulary"}


@pytest.mark.parametrize(
    ("draft", "dialect", "least_agreed", "most_refused"),
    [
        ("draft2020-12", "https://json-schema.org/draft/2020-12/schema", 1100, 54),
        ("draft2019-09", "https://json-schema.org/draft/2019-09/schema", 1080, 47),
        ("draft7", "http://json-schema.org/draft-07/schema#", 820, 28),
    ],
)
def test_both_engines_give_what_the_official_suite_says(
    suite: Path, draft: str, dialect: str, least_agreed: int, most_refused: int
) -> None:
    agreed, refused = _hold_against(suite, draft, dialect)

    assert refused.keys() <= _REFUSED
    assert refused.total() <= most_refused
    assert agreed >= least_agreed
