"""What XLA has compiled, kept on this host for the training processes to come: compiling is most of what a short study costs.

XLA ends every process that reads a damaged file, or one made for another processor or another TensorFlow. So each kind has a
folder of its own, a file counts once it is sealed with its SHA-256, which happens after a process has trained with it, and all
are dropped when a process dies. The folder is for its owner alone, as it holds code.
"""

import hashlib
import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

FLAG = "--tf_xla_persistent_cache_directory="
FLAGS = ("TF_XLA_FLAGS", "XLA_FLAGS")
LIMIT = 200_000_000  # bytes; the oldest go first
CPU = Path("/proc/cpuinfo")


def kept_below(cache: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that keeps what it compiles below `cache`; as it was where no private folder can be there."""
    features = re.search(r"^(?:flags|Features)\s*:.*$", CPU.read_text(), re.MULTILINE) if CPU.exists() else None
    kind = [version("tensorflow"), platform.machine(), features.group() if features else platform.processor()]
    kind += [environment.get(name, "") for name in FLAGS]
    folder = cache / hashlib.sha256("\n".join(kind).encode()).hexdigest()[:16]
    given = environment.get(FLAGS[0], "")
    if FLAG in given or re.search(r"\s", str(folder)):
        return dict(environment)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        private = folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o077 and os.access(folder, os.W_OK)
    except OSError:
        private = False
    return {**environment, FLAGS[0]: f"{given} {FLAG}{folder}".strip()} if private else dict(environment)


class Executables:
    """The files that a process with this environment reads and writes."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        found = re.search(rf"{FLAG}(\S+)", environment.get(FLAGS[0], ""))
        self._folder = Path(found.group(1)) if found else None
        self._sealed: set[Path] = set()

    def check(self, room: int = LIMIT) -> None:
        """Drop what is not as it was sealed, and the oldest of what takes more than `room` bytes; before a process starts."""
        found = []
        for file in self._files():
            with suppress(FileNotFoundError):  # another process has dropped it
                found.append((file.stat().st_mtime, file.stat().st_size, file))
        for _, size, file in sorted(found, reverse=True):
            room -= size
            if room < 0 or not _whole(file):
                _drop(file)

    def seal(self) -> None:
        """Let the files count that have come; after a process has trained with them."""
        for file in set(self._files()) - self._sealed:
            with suppress(FileNotFoundError):
                _seal(file).write_bytes(_digest(file))
                self._sealed.add(file)

    def drop(self) -> None:
        """Drop all; after a process has died: one of them may be why."""
        for file in self._files():
            _drop(file)

    def _files(self) -> list[Path]:
        return [] if self._folder is None else list(self._folder.glob("*.pb"))


def _seal(file: Path) -> Path:
    return file.with_suffix(".sha256")


def _digest(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).hexdigest().encode()


def _whole(file: Path) -> bool:
    try:
        return _seal(file).read_bytes() == _digest(file)
    except FileNotFoundError:
        return False


def _drop(file: Path) -> None:
    _seal(file).unlink(missing_ok=True)
    file.unlink(missing_ok=True)
