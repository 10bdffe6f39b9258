"""Where a manifest may be written, and how its fields are read there.

`manifest.json` is nothing else. A `pyproject.toml` has it as `[tool.plughost]`, a `package.json`
as `"plughost"`, and what these say of the package need not be said again. A plugin of one file
has it in a block of comments, as PEP 723 writes them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeAlias

from plughost.errors import ManifestError
from plughost.text import clean_line

from .documents import decode_json, decode_toml, read_text, repeats_a_key
from .marks import NO_MARK, Keys, Mark, Marks, json_marks, keys_of, mark_at
from .toml_marks import toml_marks

__all__ = ["FORMS", "MANIFEST", "ManifestSource", "find_source", "has_manifest", "other_sources"]

MANIFEST: Final = "manifest.json"
PYPROJECT: Final = "pyproject.toml"
PACKAGE: Final = "package.json"
FORMS: Final = (MANIFEST, PYPROJECT, PACKAGE)
"""The files of a folder that may hold its manifest; the first that does is read."""

_NAME: Final = "plughost"
_MAX_HEADER: Final = 64 * 1024  # bytes of a Python file in which its header must end
_ID: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")


# What a package's file says of the package, and where.
_Known: TypeAlias = dict[str, tuple[object, Keys]]


@dataclass(frozen=True)
class ManifestSource:
    """A manifest's fields as they are written, before anything is checked."""

    path: Path
    """The file."""
    fields: dict[str, Any]
    find_marks: Callable[[], Marks]
    base: Keys = ()
    """Where in the document the manifest stands."""
    elsewhere: Mapping[str, Keys] = field(default_factory=dict)
    """The fields that stand elsewhere in it, and where."""
    shift: Mark = NO_MARK
    """What the lines and columns of a header begin at."""
    repeats: bool = False
    """Whether a key may be written twice anywhere in the document."""

    @cached_property
    def _marks(self) -> Marks:
        return self.find_marks()

    def twice(self) -> list[str]:
        """The fields that are written twice."""
        if not self.repeats:  # finding the places takes longer than all else
            return []
        inside = [keys[len(self.base) :] for keys in self._marks.twice if self._holds(keys)]
        return [".".join(map(str, keys)) for keys in inside]

    def _holds(self, keys: Keys) -> bool:
        return len(keys) > len(self.base) and keys[: len(self.base)] == self.base

    def mark(self, problem: str) -> Mark:
        """Where the field stands with which a problem's sentence begins."""
        place = problem.partition(": ")[0]
        keys = keys_of(place)
        name = str(keys[0]) if keys else ""
        where = (*self.elsewhere[name], *keys[1:]) if name in self.elsewhere else self.base + keys
        is_known = self._marks.has_key(where)
        is_odd = "unknown field" in problem or "written twice" in problem
        mark = self._marks.of_key(where) if is_known and is_odd else self._marks.of(where)
        return Mark(mark.line + self.shift.line, mark.column + self.shift.column)

    def refuse(self, problems: list[str]) -> ManifestError:
        """The error for what is wrong with it, from the file's first line to its last."""
        marked = sorted(((self.mark(problem), problem) for problem in problems), key=_mark)
        told = [clean_line(problem) for _, problem in marked]
        return ManifestError(self.path, told, [mark for mark, _ in marked])


_mark: Final = itemgetter(0)


def find_source(root: Path) -> ManifestSource | None:
    """The manifest of a folder or of a Python file; None where there is none.

    Raises `ManifestError` for what is meant to be one and cannot be read.
    """
    if root.suffix == ".py" and not root.is_dir():
        return _of_header(root)
    for name in FORMS:
        if (source := _READERS[name](root / name)) is not None:
            return source
    return None


def other_sources(root: Path) -> list[Path]:
    """The files of a plugin's folder that hold a manifest, too, and are not read."""
    there = []
    for name in FORMS:
        path = root / name
        try:
            if _READERS[name](path) is not None:
                there.append(path)
        except ManifestError:
            there.append(path)
    return there[1:]


def has_manifest(root: Path) -> bool:
    """Whether a folder or a Python file is a plugin, with a good manifest or a bad one."""
    try:
        return find_source(root) is not None
    except ManifestError:
        return True


def _of_manifest(path: Path) -> ManifestSource | None:
    text = read_text(path)
    if text is None:
        return None
    fields = decode_json(path, text)
    if not isinstance(fields, dict):
        raise ManifestError(path, ["must be a JSON object"], [Mark(1, 1)])
    fields.pop("$schema", None)  # for editors
    return ManifestSource(path, fields, partial(json_marks, text), repeats=repeats_a_key(text))


def _of_package(path: Path) -> ManifestSource | None:
    text = read_text(path)
    if text is None or f'"{_NAME}"' not in text:
        return None
    try:
        document = decode_json(path, text)
    except ManifestError:
        if re.search(rf'"{_NAME}"\s*:', text):
            raise
        return None
    if not isinstance(document, dict) or _NAME not in document:
        return None
    author = document.get("author")
    if isinstance(author, dict):
        author = author.get("name")
    known: _Known = {name: (document.get(name), (name,)) for name in _OF_PACKAGES}
    known["author"] = (author, ("author",))
    marks = partial(json_marks, text)
    return _inside(path, document[_NAME], (_NAME,), known, marks, repeats=repeats_a_key(text))


def _of_pyproject(path: Path) -> ManifestSource | None:
    text = read_text(path)
    if text is None or _NAME not in text:
        return None
    try:
        document = decode_toml(path, text)
    except ManifestError:
        if re.search(rf'^\s*\[\s*tool\s*\.\s*"?{_NAME}"?\s*[.\]]', text, re.MULTILINE):
            raise
        return None
    tool = document.get("tool")
    if not isinstance(tool, dict) or _NAME not in tool:
        return None
    project = document.get("project")
    project = project if isinstance(project, dict) else {}
    known: _Known = {name: (project.get(name), ("project", name)) for name in _OF_PACKAGES}
    known["requires_python"] = (project.get("requires-python"), ("project", "requires-python"))
    match project.get("authors"):
        case [{"name": str(author)}, *_]:
            known["author"] = (author, ("project", "authors", 0, "name"))
    match project.get("urls"):
        case {"Homepage": str(url)} | {"homepage": str(url)}:
            known["homepage"] = (url, ("project", "urls"))
    marks = partial(toml_marks, text)
    return _inside(path, tool[_NAME], ("tool", _NAME), known, marks)


_OF_PACKAGES: Final = ("name", "version", "description", "homepage")
_READERS: Final = {MANIFEST: _of_manifest, PYPROJECT: _of_pyproject, PACKAGE: _of_package}


def _inside(
    path: Path,
    own: object,
    base: Keys,
    known: _Known,
    marks: Callable[[], Marks],
    *,
    repeats: bool = False,
) -> ManifestSource:
    """A manifest in a package's file, completed by what that says of the package."""
    if not isinstance(own, dict):
        place = ".".join(map(str, base))
        raise ManifestError(path, [f"{place}: must be a table"], [marks().of(base)])
    fields = dict(own)
    elsewhere: dict[str, Keys] = {}
    name, where = known["name"]
    if isinstance(name, str) and _ID.fullmatch(name) and "id" not in fields:
        fields["id"], elsewhere["id"] = name, where
    for key, (value, keys) in known.items():
        if key not in fields and isinstance(value, str):
            fields[key], elsewhere[key] = value, keys
    return ManifestSource(path, fields, marks, base, elsewhere, repeats=repeats)


_HEADER: Final = re.compile(
    # https://peps.python.org/pep-0723, where the last line that can end the block does
    rf"(?m)^# /// {_NAME}\s*$\n(?P<lines>(?:^#(?:| .*)$\n)+)^# ///\s*$"
)
_BEGIN: Final = re.compile(rf"(?m)^# /// {_NAME}\s*$")


_ENDLESS: Final = (
    f"the header '# /// {_NAME}' has no end in the file's first {_MAX_HEADER} bytes: "
    "each of its lines begins with '# ', and the last is '# ///'"
)


def _of_header(path: Path) -> ManifestSource | None:
    text = read_text(path, _MAX_HEADER)
    if text is None or f"# /// {_NAME}" not in text:
        return None
    text = text.replace("\r\n", "\n")
    begins = [match.start() for match in _BEGIN.finditer(text)]
    if not begins:
        return None
    match = _HEADER.search(text)
    if match is None:
        raise ManifestError(path, [_ENDLESS], [mark_at(text, begins[0])])
    if len(begins) > 1:
        problem = f"has {len(begins)} headers: write one"
        raise ManifestError(path, [problem], [mark_at(text, begins[1])])
    lines = [line[2:] for line in match["lines"].splitlines()]
    toml = "\n".join(lines) + "\n"
    shift = Mark(text.count("\n", 0, match.start("lines")), 2)
    fields = decode_toml(path, toml, shift)
    problems = []
    if "main" in fields:
        problems.append("main: a plugin of one file is its own entry file: leave it out")
    source = ManifestSource(path, fields, partial(toml_marks, toml), shift=shift)
    if problems:
        raise source.refuse(problems)
    fields["main"] = path.name
    return source
