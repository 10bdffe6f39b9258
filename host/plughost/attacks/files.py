"""Attacks on files that were not granted."""

import os
import secrets
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from .attack import Aim, Attempt, Control, Group, Need, NotPossible, Proof, Section
from .proofs import appeared, changed, claims, either, holds, locked, shows
from .range import SECRET_VARIABLE, Range

__all__ = ["FILES"]

FILES: Final = Section(Group.FILES)

_VIEW: Final = "mounts landlock"
_FAR: Final = "mounts seccomp"


@FILES.attack("reads the password hashes in /etc/shadow", "uid mounts landlock", needs=(Need.ROOT,))
def read_shadow(_: Range) -> Aim:
    path = Path("/etc/shadow")
    try:
        with path.open() as file:
            begin = file.read(8)
    except OSError:
        return Aim({"path": str(path)}, claims(":"))
    return Aim({"path": str(path)}, shows(begin, "its first bytes"))


@FILES.attack("reads a file in the operator's home folder", "uid mounts landlock")
def read_operators_home(at: Range) -> Aim:
    try:
        fd, name = tempfile.mkstemp(prefix=".plughost-attack-", dir=Path.home())
    except (OSError, RuntimeError) as exc:
        raise NotPossible(f"no home folder to write to: {exc}") from exc
    os.close(fd)
    path = Path(name)
    at.later(path.unlink)
    secret = secrets.token_hex(16)
    path.write_text(secret)
    return Aim({"path": name}, shows(secret))


@FILES.attack("reads a file that only the operator may read", "uid mounts landlock")
def read_private_file(at: Range) -> Aim:
    path, secret = at.secret_file()
    return Aim({"path": str(path)}, shows(secret))


@FILES.attack("reads a file that every user may read", _VIEW)
def read_public_file(at: Range) -> Aim:
    path, secret = at.secret_file(0o644)
    return Aim({"path": str(path)}, shows(secret))


@FILES.attack("reads a file in the machine's /tmp", _VIEW)
def read_host_temporary_file(at: Range) -> Aim:
    folder = Path(tempfile.mkdtemp(prefix="plughost-attack-"))
    folder.chmod(0o755)
    path, secret = at.secret_file(0o644, folder)
    at.later(folder.rmdir)
    at.later(path.unlink)
    return Aim({"path": str(path)}, shows(secret))


@FILES.attack("reads the code of another plugin", _VIEW)
def read_neighbour_code(at: Range) -> Aim:
    path, secret = at.secret_file(0o644, at.plugins / "neighbour")
    return Aim({"path": str(path)}, shows(secret))


@FILES.attack("reads the data of another plugin", _VIEW)
def read_neighbour_data(at: Range) -> Aim:
    path, secret = at.secret_file(0o644, at.data_folder("neighbour"))
    return Aim({"path": str(path)}, shows(secret))


@FILES.attack(
    "reads a file by the host's root folder and descriptors in /proc",
    _VIEW,
    control=Control.BARE,
)
def read_host_through_proc(at: Range) -> Aim:
    path, secret = at.secret_file(0o644)
    target = {"path": str(path), "host": os.getpid(), "fd": at.open_fd}
    return Aim(target, either(shows(secret), shows(at.inherited_secret)))


@FILES.attack("goes up from its own folder by `..`", _VIEW)
def read_by_dotdot(at: Range) -> Aim:
    path, secret = at.secret_file(0o644)
    return Aim({"path": str(path)}, shows(secret))


@FILES.attack("lists a folder", _VIEW)
def list_folder(at: Range) -> Aim:
    name = secrets.token_hex(8)
    path = at.new_file(name=name)
    return Aim({"path": str(path.parent)}, shows(name, "a name in it"))


@FILES.attack("finds out whether a file exists, and how large it is", "mounts")
def see_that_a_file_exists(at: Range) -> Aim:
    size = 1_000_000 + secrets.randbelow(1_000_000)
    path = at.new_file(text="x" * size)
    return Aim({"path": str(path)}, shows(f"size={size}", "its size"))


@FILES.attack("changes into a folder", "mounts")
def enter_folder(at: Range) -> Aim:
    folder = at.new_folder()
    return Aim({"path": str(folder)}, shows(f"inode={folder.stat().st_ino}", "its number"))


@FILES.attack("reads a variable of the host's environment", "environment", control=Control.BARE)
def read_host_environment(at: Range) -> Aim:
    return Aim({"variable": SECRET_VARIABLE}, shows(at.environment_secret))


@FILES.attack("reads files that the host has left open", "descriptors", control=Control.BARE)
def read_inherited_descriptors(at: Range) -> Aim:
    return Aim({}, shows(at.inherited_secret))


@FILES.attack("opens a disk, past its file system", "uid mounts landlock", needs=(Need.ROOT,))
def open_disk(_: Range) -> Aim:
    return Aim({}, claims("is open"))


# Writing


def _outside(at: Range, *, look: Callable[[Path], object] | None = None) -> Aim:
    path = at.new_file()
    return Aim({"path": str(path)}, changed(path, look=look))


@FILES.attack("writes to a file that every user may write to", _VIEW)
def overwrite_file(at: Range) -> Aim:
    return _outside(at)


@FILES.attack("makes files, folders and links in a folder that every user may write to", _VIEW)
def create_file(at: Range) -> Aim:
    folder = at.new_folder()
    return Aim({"path": str(folder)}, appeared(folder))


@FILES.attack("truncates a file", _VIEW)
def truncate_file(at: Range) -> Aim:
    return _outside(at)


def _three(at: Range) -> tuple[list[Path], dict[str, Any]]:
    paths = [at.new_file(), at.new_file(), at.new_folder()]
    return paths, {"paths": [str(path) for path in paths]}


@FILES.attack("deletes files and folders", _VIEW)
def delete_file(at: Range) -> Aim:
    paths, target = _three(at)
    return Aim(target, changed(*paths))


@FILES.attack("renames files", _VIEW)
def rename_file(at: Range) -> Aim:
    paths, target = _three(at)
    return Aim(target, changed(*paths))


@FILES.attack("changes the mode of a file of the operator's", f"uid {_FAR}")
def change_mode(at: Range) -> Aim:
    return _outside(at)


@FILES.attack("changes the times of a file", _FAR)
def change_times(at: Range) -> Aim:
    return _outside(at)


@FILES.attack(
    "gives a file to another user", "uid capabilities mounts seccomp",
    control=Control.BARE, needs=(Need.ROOT,),
)  # fmt: skip
def change_owner(at: Range) -> Aim:
    path = at.new_file()
    return Aim({"path": str(path), "uid": 12345, "gid": 12345}, changed(path))


@FILES.attack("sets an extended attribute of a file", _FAR)
def set_attribute(at: Range) -> Aim:
    path = at.new_file()
    try:
        os.setxattr(path, "user.probe", b"")
    except OSError as exc:
        raise NotPossible(f"the file system has no attributes: {exc.strerror}") from exc
    return Aim({"path": str(path)}, changed(path))


def _own_code(at: Range) -> list[Path]:
    return list(at.plugins.glob("attacker*/attempts/files.py"))


def _code_proof(at: Range) -> Proof:
    folders = [path.parent for path in _own_code(at)]
    return either(changed(*_own_code(at)), appeared(*folders))


@FILES.attack("rewrites its own code", "uid mounts landlock", spoils=True)
def rewrite_own_code(at: Range) -> Aim:
    code = {path: path.read_bytes() for path in _own_code(at)}
    proof = _code_proof(at)

    def judge(attempt: Attempt) -> str:
        evidence = proof(attempt)
        for path, content in code.items():
            path.write_bytes(content)
        return evidence

    return Aim({}, judge)


@FILES.attack("opens its own code to all users, by a descriptor that may only read", f"uid {_FAR}")
def open_up_own_code(at: Range) -> Aim:
    return Aim({}, _code_proof(at))


@FILES.attack("changes the code of another plugin", _VIEW)
def write_neighbour_code(at: Range) -> Aim:
    folder = at.plugins / "neighbour"
    folder.chmod(0o777)
    path = at.new_file(folder=folder, name="helper.py")
    return Aim({"path": str(path)}, either(changed(path), appeared(folder)))


@FILES.attack("changes the data of another plugin", _VIEW)
def write_neighbour_data(at: Range) -> Aim:
    folder = at.data_folder("neighbour")
    path = at.new_file(folder=folder, name="data")
    return Aim({"path": str(path)}, either(changed(path), appeared(folder)))


@FILES.attack("adds a file to the interpreter, which runs in every program", "uid mounts landlock")
def write_interpreter(at: Range) -> Aim:
    name = f"plughost-attack-{secrets.token_hex(8)}.txt"
    folders = {sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib")}
    if not any(os.access(folder, os.W_OK) for folder in folders):
        raise NotPossible("the operator may not write to the interpreter either")
    paths = [Path(folder, name) for folder in folders]
    for path in paths:
        at.later(path.unlink)
    return Aim({"name": name, "folders": sorted(folders)}, appeared(*paths))


@FILES.attack("watches which files others make", _FAR)
def watch_folder(at: Range) -> Aim:
    name = secrets.token_hex(8)
    folder = at.new_folder()
    stop = at.keep_making(folder / name)
    seen = either(shows(name, "a name"), claims("an event of"))

    def proof(attempt: Attempt) -> str:
        stop()
        return seen(attempt)

    return Aim({"path": str(folder)}, proof)


@FILES.attack("locks a file that the host locks", _VIEW)
def lock_host_file(at: Range) -> Aim:
    path = at.new_file()
    return Aim({"path": str(path)}, locked(path))


# Leaving things behind


def _left(at: Range, folder: Path) -> Aim:
    path = folder / f"plughost-attack-{secrets.token_hex(8)}"
    if not os.access(folder, os.W_OK):
        raise NotPossible(f"{folder} is not there, or the operator may not write to it")
    at.later(path.unlink)
    return Aim({"path": str(path)}, appeared(path))


@FILES.attack("leaves a file in /tmp", _VIEW)
def leave_file_in_tmp(at: Range) -> Aim:
    return _left(at, Path("/tmp"))  # noqa: S108 - that is the attack


@FILES.attack("leaves a file in /var/tmp", _VIEW)
def leave_file_in_var_tmp(at: Range) -> Aim:
    return _left(at, Path("/var/tmp"))  # noqa: S108


@FILES.attack("leaves a file in /dev/shm", _VIEW)
def leave_file_in_dev_shm(at: Range) -> Aim:
    return _left(at, Path("/dev/shm"))  # noqa: S108


@FILES.attack("leaves a file in the operator's home folder", "uid mounts landlock")
def leave_file_in_home(at: Range) -> Aim:
    return _left(at, Path.home())


@FILES.attack(
    "makes a control group, and so limits of its own", "uid mounts landlock", needs=(Need.ROOT,)
)
def make_cgroup(at: Range) -> Aim:
    name = f"plughost-attack-{secrets.token_hex(4)}"
    found = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")]
    paths = [folder / name for folder in found if os.access(folder, os.W_OK)]
    if not paths:
        raise NotPossible("the operator may make no control groups")
    for path in paths:
        at.later(path.rmdir)
    return Aim({"paths": [str(path) for path in paths]}, _any_there(paths))


def _any_there(paths: list[Path]) -> Proof:
    return lambda _: next((f"{path} is there" for path in paths if path.exists()), "")


@FILES.attack(
    "opens a setting of the kernel's for writing", "uid mounts landlock", needs=(Need.ROOT,)
)
def write_kernel_setting(_: Range) -> Aim:
    path = "/proc/sys/kernel/core_pattern"
    return Aim({"path": path}, holds(path))
