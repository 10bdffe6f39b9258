"""The Python interpreter of a worker: where it and what it imports lie."""

import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from plughost.errors import HostMisuse, PlughostError
from plughost_protocol.launch import boot_code

__all__ = ["Interpreter", "find_interpreter"]

_TIMEOUT: Final = 30.0  # seconds; a cold interpreter on a loaded machine

_NOTHING_MORE: Final[Mapping[str, str]] = MappingProxyType({})

_ASK: Final = """
import json, sys, sysconfig
try:
    import msgspec
    place = msgspec.__file__
except ImportError:
    place = ""
json.dump([list(sys.version_info[:3]), place, sys.base_exec_prefix,
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix}),
    sysconfig.get_config_var("MULTIARCH") or ""], sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python, as the template process is started with it."""

    executable: str
    prefix: str
    """Where it is installed; its programs are in `bin` below."""
    libraries: tuple[str, ...]
    """The standard library's folders."""
    multiarch: str
    """Such as `x86_64-linux-gnu`; empty where the system has no such folders."""
    version: str
    """Such as `3.11.4`."""
    import_paths: tuple[str, ...]
    """Where the worker's packages and msgspec lie: it starts without site-packages of its own."""

    def start(
        self,
        module: str,
        function: str,
        fd: int,
        request: bytes,
        *,
        variables: Mapping[str, str] = _NOTHING_MORE,
        stderr: int | None = None,
        collects: bool = False,
    ) -> "subprocess.Popen[bytes]":
        """A process that calls a function of `plughost_worker` with a descriptor and a request.

        It has a session of its own and none of our environment: `variables` and LANG are all.
        `collects` is for one that is forked often; see `boot_code`.
        """
        boot = boot_code(list(self.import_paths), module, function, fd, request, collects=collects)
        return subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [self.executable, "-I", "-S", "-c", boot],
            pass_fds=[fd],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={"LANG": "C.UTF-8", **variables},
            cwd="/",
            start_new_session=True,
        )


@cache
def find_interpreter(executable: str = "") -> Interpreter:
    """Our own, or another one. Raises `HostMisuse` for one that cannot run a worker."""
    if not executable:
        return Interpreter(
            sys.executable,
            sys.base_exec_prefix,
            _folders(
                sysconfig.get_path("stdlib"),
                # Not the virtual environment's, which sys.exec_prefix is.
                sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix}),
            ),
            sysconfig.get_config_var("MULTIARCH") or "",
            ".".join(map(str, sys.version_info[:3])),
            _import_paths(with_msgspec=True),
        )
    try:
        asked = subprocess.run(  # noqa: S603 - the operator names it
            [executable, "-I", "-c", _ASK],
            capture_output=True,
            check=True,
            timeout=_TIMEOUT,
            stdin=subprocess.DEVNULL,
        )
        version, place, prefix, stdlib, platform, multiarch = msgspec.json.decode(
            asked.stdout, type=tuple[tuple[int, int, int], str, str, str, str, str]
        )
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as exc:
        raise HostMisuse(f"{executable} cannot be asked what Python it is: {exc}") from exc
    if version < (3, 11):
        raise HostMisuse(f"{executable} is Python {version[0]}.{version[1]}: a worker needs 3.11")
    if not place:
        raise HostMisuse(f"{executable} has no msgspec: {executable} -m pip install msgspec")
    # Ours are plain Python; its msgspec must come first, for ours is compiled for our version.
    return Interpreter(
        executable,
        prefix,
        _folders(stdlib, platform),
        multiarch,
        ".".join(map(str, version)),
        (str(Path(place).parent.parent), *_import_paths(with_msgspec=False)),
    )


def _folders(*paths: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(paths))


def _import_paths(*, with_msgspec: bool) -> tuple[str, ...]:
    packages = ["plughost_worker", "plughost_sdk", "plughost_protocol"]
    paths: list[str] = []
    for package in [*packages, *(["msgspec"] if with_msgspec else [])]:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise PlughostError(f"the package {package} is not installed: install plughost anew")
        paths.append(str(Path(spec.origin).parent.parent))
    return _folders(*paths)
