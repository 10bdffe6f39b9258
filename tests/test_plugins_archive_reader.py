"""The plugin archive-reader: its functions on real and hostile archives, and through a host."""

import bz2
import gzip
import lzma
import random
import tarfile
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plughost import Host, ToolError
from plughost_protocol.values import MAX_VALUES, count_values
from plughost_sdk import ToolError as ToolMistake

from .conftest import trusting

pytestmark = pytest.mark.anyio

PLUGIN = Path(__file__).parent.parent / "plugins" / "archive_reader"

MiB = 1024 * 1024
FILES = {
    "readme.txt": b"hello\n",
    "src/größe 漢字.py": b"print()\n" * 1000,
    "empty": b"",
    "noise.bin": random.Random(1).randbytes(200_000),
}


def _load() -> Any:
    spec = spec_from_file_location("archive_reader", PLUGIN / "plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reader = _load()


def _zip(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def _header(name: str, type: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = type
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def _tar(
    files: Mapping[str, bytes], *others: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT
) -> bytes:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, content in files.items():
            archive.addfile(_header(name, size=len(content)), BytesIO(content))
        for info in others:
            archive.addfile(info)
    return file.getvalue()


def _read(data: bytes, member: str) -> bytes:
    return b"".join(reader.read(data, member))


def _refusal(function: Callable[[], object]) -> ToolMistake:
    with pytest.raises(ToolMistake) as caught:
        function()
    return caught.value


PACK: dict[str, Callable[[Mapping[str, bytes]], bytes]] = {
    "zip": _zip,
    "zip, stored": lambda files: _zip(files, zipfile.ZIP_STORED),
    "tar": _tar,
    "tar, gnu": lambda files: _tar(files, form=tarfile.GNU_FORMAT),
    "tar.gz": lambda files: gzip.compress(_tar(files)),
    "tar.bz2": lambda files: bz2.compress(_tar(files)),
    "tar.xz": lambda files: lzma.compress(_tar(files)),
}
ARCHIVES = {kind: pack(FILES) for kind, pack in PACK.items()}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_is_listed_and_read(kind: str) -> None:
    data = ARCHIVES[kind]
    listing = reader.list_entries(data)

    assert listing.format == kind.split(",")[0]
    assert {entry.name: entry.size for entry in listing.entries} == {
        name: len(content) for name, content in FILES.items()
    }
    assert {entry.kind for entry in listing.entries} == {"file"}
    for name, content in FILES.items():
        assert _read(data, name) == content


@pytest.mark.parametrize("kind", ARCHIVES)
def test_content_comes_in_chunks_of_64_kib(kind: str) -> None:
    sizes = [len(chunk) for chunk in reader.read(ARCHIVES[kind], "noise.bin")]

    assert sizes == [65_536, 65_536, 65_536, 3_392]


@pytest.mark.parametrize(
    "data", [_zip({}), _tar({}), gzip.compress(_tar({}))], ids=["zip", "tar", "tar.gz"]
)
def test_an_archive_may_be_empty(data: bytes) -> None:
    assert reader.list_entries(data).entries == []
    assert _refusal(lambda: _read(data, "a")).code == "no_such_member"


def test_a_zip_behind_a_program_is_a_zip() -> None:
    data = b"#!/bin/sh\nexec unzip $0\n" + ARCHIVES["zip"]

    assert _read(data, "readme.txt") == b"hello\n"


def test_a_tar_that_ends_with_a_zip_is_a_tar() -> None:
    inner = ARCHIVES["zip, stored"]
    listing = reader.list_entries(_tar({"a.zip": inner}))

    assert listing.format == "tar"
    assert _read(_tar({"a.zip": inner}), "a.zip") == inner


def test_names_are_reported_as_they_are_and_lead_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["../../etc/passwd", "/etc/passwd", "C:\\a", "a//b/./c", "x" * 300]
    files = {name: name.encode() for name in names}

    for data in (_zip(files), _tar(files)):
        assert [entry.name for entry in reader.list_entries(data).entries] == names
        assert [_read(data, name) for name in names] == list(files.values())
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_not_utf_8_can_still_be_read() -> None:
    data = _tar({"größe": b"a"}, form=tarfile.USTAR_FORMAT).replace(
        "größe".encode(), b"gr\xf6\xdfe\0\0"
    )
    at = data.index(b"ustar") - 257
    header = bytearray(data[at : at + 512])
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data = data[:at] + bytes(header) + data[at + 512 :]
    (entry,) = reader.list_entries(data).entries

    assert entry.name == "gr\ufffd\ufffde"
    assert _read(data, entry.name) == b"a"


def test_links_in_a_tar_are_reported_and_not_followed() -> None:
    data = _tar(
        {"real": b"secret"},
        _header("soft", tarfile.SYMTYPE, linkname="/etc/passwd"),
        _header("hard", tarfile.LNKTYPE, linkname="real"),
    )
    _, soft, hard = reader.list_entries(data).entries

    assert (soft.kind, soft.target, soft.size) == ("symlink", "/etc/passwd", 0)
    assert (hard.kind, hard.target) == ("hardlink", "real")
    for name in ("soft", "hard"):
        refusal = _refusal(partial(_read, data, name))
        assert refusal.code == "is_link"
        assert "not followed" in str(refusal)


def test_a_link_in_a_zip_holds_its_target() -> None:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo("soft")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")

    assert _read(file.getvalue(), "soft") == b"/etc/passwd"


def test_what_is_no_file_cannot_be_read() -> None:
    special = [
        _header("dir", tarfile.DIRTYPE),
        _header("pipe", tarfile.FIFOTYPE),
        _header("disk", tarfile.BLKTYPE),
    ]
    data = _tar({}, *special)

    assert [entry.kind for entry in reader.list_entries(data).entries] == [
        "directory",
        "other",
        "other",
    ]
    assert {_refusal(partial(_read, data, n)).code for n in ("dir", "pipe", "disk")} == {
        "not_a_file"
    }
    assert _refusal(lambda: _read(_zip({"dir/": b""}), "dir/")).code == "not_a_file"


def test_the_last_of_several_entries_with_one_name_is_read() -> None:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", "old")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", "newer")
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.addfile(_header("a", size=3), BytesIO(b"old"))
        tar.addfile(_header("a", size=5), BytesIO(b"newer"))

    for data in (file.getvalue(), packed.getvalue()):
        assert [entry.name for entry in reader.list_entries(data).entries] == ["a", "a"]
        assert _read(data, "a") == b"newer"


# What is damaged, or wants to do damage


@pytest.mark.parametrize(
    "data",
    [b"", b"text", bytes(100), gzip.compress(b"no tar"), b"BZh9", b"PK\3\4"],
    ids=["nothing", "text", "zeros", "gzip", "bzip2", "zip"],
)
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    assert _refusal(lambda: reader.list_entries(data)).code == "bad_archive"


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_cut_short_is_refused(kind: str) -> None:
    data = ARCHIVES[kind]

    assert _refusal(lambda: reader.list_entries(data[: len(data) // 2])).code == "bad_archive"


def test_a_tar_with_a_damaged_header_is_not_listed_in_part() -> None:
    data = bytearray(ARCHIVES["tar, gnu"])
    data[data.index(b"noise.bin")] = ord("N")

    assert "is damaged" in str(_refusal(lambda: reader.list_entries(bytes(data))))


def test_content_that_its_checksum_denies_ends_in_an_error_after_its_chunks() -> None:
    data = bytearray(ARCHIVES["zip, stored"])
    data[data.index(FILES["noise.bin"]) + 199_999] ^= 1
    chunks = reader.read(bytes(data), "noise.bin")

    assert [len(next(chunks)) for _ in range(3)] == [65_536] * 3
    refusal = _refusal(lambda: next(chunks))
    assert (refusal.code, "CRC" in str(refusal)) == ("bad_archive", True)


def test_an_encrypted_member_is_reported_and_not_read() -> None:
    data = _zip({"a": b"secret"}, zipfile.ZIP_STORED)
    # Bit 0 of the flags, in the local header and in the directory.
    data = data.replace(b"PK\3\4\x14\0\0", b"PK\3\4\x14\0\1").replace(
        b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1"
    )

    assert reader.list_entries(data).entries[0].encrypted
    assert _refusal(lambda: _read(data, "a")).code == "encrypted"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_whose_unpacking_has_no_bound_is_listed_and_not_read(method: int) -> None:
    data = _zip({"a": b"a"}, method)

    assert reader.list_entries(data).entries[0].size == 1
    assert _refusal(lambda: _read(data, "a")).code == "unsupported"


def test_what_packs_well_is_read_as_long_as_it_is_not_large() -> None:
    content = bytes(8 * MiB - 4096)

    assert _read(_zip({"a": content}), "a") == content
    assert _read(gzip.compress(_tar({"a": content})), "a") == content


def test_a_zip_bomb_is_listed_but_not_unpacked() -> None:
    data = _zip({"bomb": bytes(64 * MiB), "good": b"a"})

    assert reader.list_entries(data).entries[0].size == 64 * MiB
    refusal = _refusal(lambda: next(reader.read(data, "bomb")))
    assert refusal.code == "too_large"
    assert f"would unpack to {64 * MiB}" in str(refusal)
    assert _read(data, "good") == b"a"


def test_a_zip_that_belies_its_size_gives_no_more_than_it_says() -> None:
    data = _zip({"bomb": bytes(64 * MiB)}).replace(
        (64 * MiB).to_bytes(4, "little"), (4096).to_bytes(4, "little")
    )
    chunks: list[bytes] = []

    assert "CRC" in str(_refusal(lambda: chunks.extend(reader.read(data, "bomb"))))
    assert sum(map(len, chunks)) <= 4096


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_tar_that_is_a_bomb_is_refused_before_it_is_unpacked(
    pack: Callable[[bytes], bytes],
) -> None:
    data = pack(_tar({"bomb": bytes(64 * MiB), "after": b"a"}))

    assert _refusal(lambda: reader.list_entries(data)).code == "too_large"
    assert _refusal(lambda: _read(data, "bomb")).code == "too_large"


def test_a_sparse_file_of_terabytes_is_listed_and_not_read() -> None:
    info = _header(
        "disk.img",
        pax_headers={
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.name": "disk.img",
            "GNU.sparse.size": str(2**42),
            "GNU.sparse.numblocks": "0",
            "GNU.sparse.map": f"{2**42},0",
        },
    )
    data = _tar({}, info)

    assert reader.list_entries(data).entries[0].size == 2**42
    assert _refusal(lambda: _read(data, "disk.img")).code == "too_large"


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_tar_header_that_wants_the_memory_gets_none(kind: bytes) -> None:
    header = _header("name", kind, size=32 * MiB).tobuf(tarfile.GNU_FORMAT)
    data = gzip.compress(header + bytes(32 * MiB))

    assert "a header is longer than" in str(_refusal(lambda: reader.list_entries(data)))


@pytest.mark.parametrize("size", [-512, -1, 2**63])
def test_a_tar_entry_of_an_impossible_size_is_refused(size: int) -> None:
    header = _header("a", size=size).tobuf(tarfile.GNU_FORMAT)

    assert _refusal(lambda: reader.list_entries(header + bytes(2048))).code == "bad_archive"


def test_a_tar_whose_names_have_names_without_end_is_refused() -> None:
    header = _header("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=4).tobuf(tarfile.GNU_FORMAT)
    data = (header + b"abc\0".ljust(512, b"\0")) * 3000

    assert _refusal(lambda: reader.list_entries(gzip.compress(data))).code == "bad_archive"


def test_a_full_listing_fits_in_a_message_and_one_entry_more_is_refused() -> None:
    names = [f"{number}" for number in range(10_000)]
    links = [_header(name, tarfile.SYMTYPE, linkname=name) for name in names]

    for data in (_zip(dict.fromkeys(names, b"")), gzip.compress(_tar({}, *links), 1)):
        message = msgspec.msgpack.encode(reader.list_entries(data))
        assert count_values(message, MAX_VALUES) < MAX_VALUES
    for data in (_zip(dict.fromkeys([*names, "a"], b"")), _tar({}, *links, _header("a"))):
        assert _refusal(partial(reader.list_entries, data)).code == "too_many_entries"


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_damaged_archive_ends_in_a_tool_error_or_not_at_all(kind: str) -> None:
    whole = PACK[kind]({name: content[:500] for name, content in FILES.items()})
    chance = random.Random(kind)
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.choice(b"\x00\xff\x8079-")
        try:
            for entry in reader.list_entries(bytes(data)).entries:
                _read(bytes(data), entry.name)
        except ToolMistake:
            pass


# Through a host


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with Host([PLUGIN], trusting()) as host:
        assert not host.problems
        yield host


async def _streamed(host: Host, data: bytes, member: str) -> list[bytes]:
    params = {"data": data, "member": member}
    async with host.stream("archive-reader.read", params) as chunks:
        return [chunk async for chunk in chunks]


@pytest.mark.parametrize("kind", ARCHIVES)
async def test_an_archive_goes_through_a_host(host: Host, kind: str) -> None:
    data = ARCHIVES[kind]
    listing = await host.call("archive-reader.list", {"data": data})

    assert [entry["name"] for entry in listing["entries"]] == list(FILES)
    for name, content in FILES.items():
        assert b"".join(await _streamed(host, data, name)) == content


async def test_a_large_file_is_streamed_and_a_plain_call_has_its_chunks(host: Host) -> None:
    content = random.Random(2).randbytes(6 * MiB)
    data = _zip({"a": content})
    streamed = await _streamed(host, data, "a")

    assert b"".join(streamed) == content
    assert await host.call("archive-reader.read", {"data": data, "member": "a"}) == streamed


async def test_a_caller_may_leave_a_stream_after_the_first_chunk(host: Host) -> None:
    params = {"data": ARCHIVES["tar.gz"], "member": "noise.bin"}
    pid = host.plugins["archive-reader"].pid
    for _ in range(20):
        async with host.stream("archive-reader.read", params) as chunks:
            async for chunk in chunks:
                assert chunk == FILES["noise.bin"][:65_536]
                break

    assert len((await host.call("archive-reader.list", {"data": params["data"]}))["entries"]) == 4
    assert host.plugins["archive-reader"].pid == pid


async def test_a_bomb_ends_in_a_tool_error_and_the_worker_lives_on(host: Host) -> None:
    pid = host.plugins["archive-reader"].pid
    bomb = {"bomb": bytes(64 * MiB)}

    for data in (_zip(bomb), gzip.compress(_tar(bomb)), bz2.compress(_tar(bomb))):
        with pytest.raises(ToolError) as caught:
            await _streamed(host, data, "bomb")
        assert caught.value.code == "too_large"
    assert await host.call("archive-reader.list", {"data": _tar({})})
    assert host.plugins["archive-reader"].pid == pid
