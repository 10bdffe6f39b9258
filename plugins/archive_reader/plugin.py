"""Lists and reads archives given as bytes: zip, and tar plain or packed by gzip, bzip2 or xz.

Nothing is written to disk and no link is followed: names are reported and that is all. How much
an archive may unpack to is bounded, since a few bytes can stand for gigabytes.
"""

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedIOBase, BytesIO
from typing import IO, Final, Literal, NamedTuple, TypeAlias
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, is_zipfile

from msgspec import Struct

from plughost_sdk import Plugin, ToolError

plugin = Plugin()

Kind: TypeAlias = Literal["file", "directory", "symlink", "hardlink", "other"]
Format: TypeAlias = Literal["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]

_CHUNK: Final = 64 * 1024  # bytes
_MAX_HEADER: Final = 256 * 1024  # bytes; of one entry in a tar, long names and sparse maps included
_MAX_ENTRIES: Final = 10_000  # a listing of more could outgrow a message
_MAX_RATIO: Final = 100  # bytes out for each byte in
_FREE: Final = 8 * 1024 * 1024  # bytes that may come out at any ratio: small files pack well
_MAX_UNPACKED: Final = 512 * 1024 * 1024  # bytes

_LINKS: Final[dict[bytes, Kind]] = {tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hardlink"}
_PACKED: Final[dict[bytes, tuple[Format, Callable[[BytesIO], BufferedIOBase]]]] = {
    b"\x1f\x8b": ("tar.gz", lambda file: gzip.GzipFile(fileobj=file)),
    b"BZh": ("tar.bz2", bz2.BZ2File),
    b"\xfd7zXZ\0": ("tar.xz", lzma.LZMAFile),
}


class Entry(Struct, omit_defaults=True):
    """One entry, as the archive describes it; sizes are bytes."""

    name: str
    kind: Kind
    size: int
    compressed_size: int | None = None
    target: str | None = None
    """Where a link in a tar leads; a link in a zip is a file with its target as content."""
    encrypted: bool = False


class Listing(Struct):
    """What is in an archive. Of several entries with one name, the last is the one to be read."""

    format: Format
    entries: list[Entry]


class _Member(NamedTuple):
    entry: Entry
    packed: int  # bytes that it comes out of
    open: Callable[[], IO[bytes] | None] | None


@plugin.tool(name="list", idempotent=True)
def list_entries(data: bytes) -> Listing:
    """List the entries of a zip or tar archive; a tar may be packed by gzip, bzip2 or xz.

    Args:
        data: The archive.
    """
    with _clear_errors():
        kind, members = _opened(data)
        return Listing(kind, [member.entry for member in members])


@plugin.tool(idempotent=True)
def read(data: bytes, member: str) -> Iterator[bytes]:
    """Stream the content of a file in an archive, in chunks of 64 KiB.

    Where a checksum does not fit, the stream ends with an error after what came before it.

    Args:
        data: The archive.
        member: The file's name, exactly as `list` tells it.
    """
    with _clear_errors():
        named = [each for each in _opened(data)[1] if each.entry.name == member]
        if not named:
            raise ToolError(f"there is no {member!r} in the archive", code="no_such_member")
        # Neither library gives more than the size that was checked, whatever the data holds.
        file = _content(named[-1])
        while chunk := file.read(_CHUNK):
            yield chunk


def _content(member: _Member) -> IO[bytes]:
    name, kind = member.entry.name, member.entry.kind
    if target := member.entry.target:
        raise ToolError(f"{name!r} is a {kind} to {target!r}, and not followed", code="is_link")
    if member.entry.encrypted:
        raise ToolError(f"{name!r} is encrypted", code="encrypted")
    if member.open is None:
        raise ToolError(f"{name!r} is neither stored nor deflated", code="unsupported")
    _check_size(member.entry.size, member.packed)
    file = member.open() if kind == "file" else None
    if file is None:
        raise ToolError(f"{name!r} is no file, its kind is {kind}", code="not_a_file")
    return file


def _opened(data: bytes) -> tuple[Format, Iterator[_Member]]:
    # A tar first, by its mark: one that ends with a zip looks like a zip from behind.
    if data[257:262] != b"ustar" and is_zipfile(BytesIO(data)):
        return "zip", _zip_members(data)
    for magic, (kind, unpack) in _PACKED.items():
        if data.startswith(magic):
            return kind, _tar_members(unpack(BytesIO(data)), len(data))
    return "tar", _tar_members(BytesIO(data), len(data))


def _zip_members(data: bytes) -> Iterator[_Member]:
    _check_count(data.count(b"PK\1\2"))  # before zipfile makes an object of each
    archive = ZipFile(BytesIO(data))
    for info in archive.infolist():
        kind: Kind = "directory" if info.is_dir() else "file"
        size, packed = info.file_size, min(info.compress_size, len(data))
        entry = Entry(info.filename, kind, size, packed, encrypted=bool(info.flag_bits & 1))
        # zipfile unpacks other methods without a bound: 4 KiB of bzip2 can be gigabytes.
        is_bounded = info.compress_type in (ZIP_STORED, ZIP_DEFLATED)
        yield _Member(entry, packed, partial(archive.open, info) if is_bounded else None)


def _tar_members(file: BufferedIOBase, packed: int) -> Iterator[_Member]:
    source = _Source(file)
    archive = tarfile.TarFile(fileobj=source, encoding="utf-8", errors="replace")
    for count, info in enumerate(iter(archive.next, None), 1):
        # Each one would keep a copy of the archive's pax headers. typeshed leaves it out.
        archive.members = []  # type: ignore[attr-defined]
        _check_count(count)
        if not 0 <= info.size < 2**63:
            raise tarfile.ReadError(f"{info.name!r} has a size of {info.size}")
        _check_size(archive.offset, packed)
        link = _LINKS.get(info.type)
        kind = link or ("file" if info.isreg() else "directory" if info.isdir() else "other")
        entry = Entry(info.name, kind, info.size, target=info.linkname if link else None)
        yield _Member(entry, packed, partial(archive.extractfile, info))
        source.room = _MAX_HEADER
    # tarfile takes a damaged header for the end.
    if source.last.strip(b"\0"):
        raise tarfile.ReadError(f"the header at byte {archive.offset} is damaged")
    source.room = _MAX_UNPACKED  # from here on, it is content


class _Source(BufferedIOBase):
    """An unpacked tar as tarfile reads it, with a bound, since tarfile has none for headers."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self.room = _MAX_HEADER
        self.last = b""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= self.room:
            raise tarfile.ReadError(f"a header is longer than {_MAX_HEADER} bytes")
        self.room -= size
        self.last = self._file.read(size)
        return self.last

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _check_count(entries: int) -> None:
    if entries > _MAX_ENTRIES:
        raise ToolError(f"there are more than {_MAX_ENTRIES} entries", code="too_many_entries")


def _check_size(unpacked: int, packed: int) -> None:
    most = min(_MAX_UNPACKED, _FREE + _MAX_RATIO * packed)
    if unpacked > most:
        problem = f"{packed} bytes would unpack to {unpacked}, and {most} is the limit"
        raise ToolError(problem, code="too_large")


@contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except (ToolError, MemoryError):
        raise
    # Damage shows as a dozen types of exceptions, from KeyError to zlib's own.
    except Exception as exc:
        raise ToolError(f"the archive is damaged, or none: {exc!r}", code="bad_archive") from exc
