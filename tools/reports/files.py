"""Paths as a user means them, and files that are either whole or not there."""

import os
import pathlib
import tempfile


def resolve(path: str) -> pathlib.Path:
    """Relative to where the user is: `bazel run` starts a program elsewhere."""
    return pathlib.Path(os.environ.get("BUILD_WORKING_DIRECTORY", ""), path)


def write_atomically(path: pathlib.Path, text: str) -> None:
    """Whole or not at all: a temporary file beside it is renamed. Raises OSError."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
