"""Output files of the tools in Python, by the rule that tp/io/atomic_file.h has for those in C++.

A file is there whole or not at all: its bytes go to a temporary file beside it, which is synced and
renamed over it. A file that was there keeps its permissions, and a symbolic link stays a link. What is
no regular file (a pipe, /dev/null) and the process's own descriptors (/dev/stdout) are written
straight, since there is nothing to rename."""

from __future__ import annotations

import errno
import itertools
import os
import pathlib
import stat

_OWN_DESCRIPTORS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")
_numbers = itertools.count()


def resolve(path: str) -> pathlib.Path:
    """Relative to where the user is: `bazel run` starts a program elsewhere."""
    return pathlib.Path(os.environ.get("BUILD_WORKING_DIRECTORY", ""), path)


def encode(text: str) -> bytes:
    """In UTF-8. JSON may hold halves of characters, which have no bytes: each becomes a `?`."""
    return text.encode("utf-8", "replace")


def write(path: pathlib.Path, contents: str | bytes) -> None:
    """Makes `contents` the whole of a file, or writes it to what is no regular file. Raises
    OSError."""
    data = encode(contents) if isinstance(contents, str) else contents
    target, mode = _target(path)
    if target is None:
        _write_all(_open_to_append(str(path)), data)
        return
    temporary, file = _create_beside(target)
    try:
        if mode is not None:
            os.chmod(temporary, mode)
        _write_all(file, data, sync=True)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def check_writable(path: pathlib.Path) -> None:
    """Whether write would get as far as writing: to be asked before long work. Leaves nothing behind
    and touches no file that is there. Raises OSError."""
    target, _ = _target(path)
    if target is not None:  # a stream's reader would take an open and close for its end
        temporary, file = _create_beside(target)
        os.close(file)
        os.unlink(temporary)


def is_stream(path: pathlib.Path) -> bool:
    """Whether write would write straight, so that nothing there is overwritten."""
    try:
        return _target(path)[0] is None
    except OSError:
        return False


def identity(path: pathlib.Path) -> object:
    """What tells a file from others, however it is spelled: its number where it is there, else its
    path, links followed."""
    try:
        found = os.stat(path)
        return found.st_dev, found.st_ino
    except OSError:
        return os.path.realpath(path)


def _target(path: pathlib.Path) -> tuple[pathlib.Path | None, int | None]:
    """The file behind the links, or None where it is to be written straight; and its permissions."""
    if str(path).startswith(_OWN_DESCRIPTORS):
        return None, None
    target = pathlib.Path(os.path.realpath(path))
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return target, None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return (target, stat.S_IMODE(mode)) if stat.S_ISREG(mode) else (None, None)


def _open_to_append(path: str) -> int:
    """Where the path names a descriptor of this process it is that one again: redirected to a file,
    what either writes comes behind what the other wrote."""
    own = {"/dev/stdout": "1", "/dev/stderr": "2"}.get(path, "")
    for folder in ("/dev/fd/", "/proc/self/fd/"):
        own = own or (path[len(folder) :] if path.startswith(folder) else "")
    if own.isdecimal():
        return os.dup(int(own))
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)


def _create_beside(target: pathlib.Path) -> tuple[pathlib.Path, int]:
    while True:
        # The name cut, so that the temporary name of a long one is not too long.
        name = f".{target.name[:40]}.{os.getpid()}-{next(_numbers)}.tmp"
        temporary = target.parent / name
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            return temporary, os.open(temporary, flags, 0o666)
        except FileExistsError:
            continue


def _write_all(file: int, data: bytes, sync: bool = False) -> None:
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        if sync:
            os.fsync(file)
    finally:
        os.close(file)
