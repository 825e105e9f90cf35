"""Safe unpacking of archives: nothing outside a fresh folder, no file twice, within limits of size and number.

Headers are not trusted: bytes are counted as they are written. Rights and owners in an archive are ignored.
"""

import dataclasses
import fnmatch
import functools
import lzma
import pathlib
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

from fetal_jax.core.types import UserError

CHUNK = 1 << 20
TARS = (".tar", ".tar.gz", ".tgz")
ARCHIVES = (".zip", *TARS)
JUNK = ("__MACOSX", ".DS_Store")  # that macOS adds
BAD_LETTERS = {"\\", ":", *map(chr, range(32)), "\x7f"}
MAX_NAME = 255  # bytes, on every common file system
REMEDY = "it is not unpacked; tell the publisher, or unpack it by hand and name its folder with --source"
# What the readers of the standard library raise for an archive that is damaged or unsupported.
DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of what is unpacked. The published datasets stay below a tenth of each."""

    max_bytes: int = 64 << 30  # unpacked, of all archives together
    max_members: int = 200_000  # of all archives together
    max_ratio: float = 100.0  # unpacked bytes to bytes of their archive
    free_bytes: int = 16 << 20  # that an archive may hold at any ratio: a table of zeros is harmless


@runtime_checkable
class Stream(Protocol):
    """A binary file that is open for reading. The readers of archives share no class that says so to a type checker."""

    def read(self, size: int, /) -> bytes: ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *error: Any) -> Any: ...


@dataclasses.dataclass(frozen=True)
class _Member:
    name: str
    trouble: str  # why it is not a plain file or folder; "" if it is one
    is_folder: bool
    open: Callable[[], Stream]


class Extractor:
    """Unpacks archives into one fresh folder, and counts the bytes and files of all of them."""

    def __init__(self, folder: pathlib.Path, limits: Limits):
        self._folder, self._limits = folder, limits
        self._bytes = self._members = 0
        self._spelling: dict[str, str] = {}  # of every path by its folded one
        self._files: set[str] = set()

    def add(self, path: pathlib.Path, nested: tuple[str, ...] = ()) -> None:
        """Unpacks an archive, and those in it whose names fit a glob of `nested` into folders named after them.

        A file that is not an archive is copied. Raises UserError, one line that names the archive and its member.
        """
        if not path.name.lower().endswith(ARCHIVES):
            with path.open("rb") as source:
                self._write(path, path.stat().st_size, self._claim(path, (path.name,)), source, 0)
            return
        for written in self._unpack(path, ()):
            inner = written.relative_to(self._folder)
            is_wanted = any(fnmatch.fnmatch(inner.name.lower(), glob.lower()) for glob in nested)
            if is_wanted and not written.with_name(_stem(inner.name)).exists():
                self._unpack(written, (*inner.parent.parts, _stem(inner.name)))
                written.unlink()

    def _unpack(self, path: pathlib.Path, into: tuple[str, ...]) -> list[pathlib.Path]:
        """Unpacks one archive; the files that it wrote."""
        size, done, written = path.stat().st_size, 0, []
        members = _zip_members if path.name.lower().endswith(".zip") else _tar_members
        try:
            for member in members(path):
                target = self._place(path, member, into)
                if target is not None:
                    with member.open() as source:
                        done = self._write(path, size, target, source, done)
                    written.append(target)
        except UserError:
            raise
        except DAMAGED as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the archive
                raise
            words = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{path}: is damaged or of an unknown kind ({words}): {REMEDY}") from error
        return written

    def _place(self, path: pathlib.Path, member: _Member, into: tuple[str, ...]) -> pathlib.Path | None:
        """The path to write a member to; None if there is nothing to write."""
        self._members += 1
        if self._members > self._limits.max_members:
            raise UserError(f"{path}: holds more than {self._limits.max_members} files: {REMEDY}")
        trouble = member.trouble or _trouble_of(member.name)
        if trouble:
            raise UserError(f"{path}: its member {member.name[:100]!r} {trouble}: {REMEDY}")
        parts = tuple(part for part in member.name.split("/") if part not in ("", "."))
        if not parts or parts[0] in JUNK or parts[-1] in JUNK:
            return None
        if not member.is_folder:
            return self._claim(path, (*into, *parts))
        if self._spell(path, (*into, *parts)) in self._files:
            raise UserError(f"{path}: has {'/'.join(parts)!r} as a file and as a folder: {REMEDY}")
        self._folder.joinpath(*into, *parts).mkdir(parents=True, exist_ok=True)
        return None

    def _claim(self, path: pathlib.Path, parts: tuple[str, ...]) -> pathlib.Path:
        """The path of a new file. Raises UserError if another has that name, on any file system."""
        folded = self._spell(path, parts)
        target = self._folder.joinpath(*parts)
        if folded in self._files or target.exists():
            raise UserError(f"{path}: has {'/'.join(parts)!r} twice: {REMEDY}")
        self._files.add(folded)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _spell(self, path: pathlib.Path, parts: tuple[str, ...]) -> str:
        """The folded path. Raises UserError if it, or a folder above, was spelt otherwise before or is a file."""
        for n in range(1, len(parts) + 1):
            name = "/".join(parts[:n])
            folded = unicodedata.normalize("NFC", name).casefold()
            before = self._spelling.setdefault(folded, name)
            if before != name:
                raise UserError(f"{path}: has both {before!r} and {name!r}: {REMEDY}")
            if n < len(parts) and folded in self._files:
                raise UserError(f"{path}: has {name!r} as a file and as a folder: {REMEDY}")
        return folded

    def _write(self, path: pathlib.Path, size: int, target: pathlib.Path, source: Stream, done: int) -> int:
        """Writes a file of an archive of `size` bytes that has given `done` already; the new count."""
        most = max(self._limits.max_ratio * size, self._limits.free_bytes)
        with target.open("xb") as file:
            while data := source.read(CHUNK):
                done += len(data)
                self._bytes += len(data)
                if done > most:
                    raise UserError(f"{path}: grows to more than {most / 1e6:.0f} MB from {size / 1e6:.1f}: {REMEDY}")
                if self._bytes > self._limits.max_bytes:
                    raise UserError(f"{path}: grows to more than {self._limits.max_bytes / 1e6:.0f} MB: {REMEDY}")
                file.write(data)
        return done


def _trouble_of(name: str) -> str:
    if name.startswith("/"):
        return "has an absolute path"
    if ".." in name.split("/"):
        return "leads out of its folder"
    if BAD_LETTERS & set(name):
        return "has a backslash, colon or control character in its name"
    if any(len(part.encode(errors="surrogateescape")) > MAX_NAME for part in name.split("/")):
        return "has too long a name"
    return ""


def _zip_members(path: pathlib.Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was made on Windows
            trouble = "is a link or device" if kind not in (0, stat.S_IFREG, stat.S_IFDIR) else ""
            if info.flag_bits & 1:
                trouble = "is encrypted"
            yield _Member(
                info.orig_filename,  # ZipInfo ends the other one at a zero byte
                trouble,
                info.orig_filename.endswith("/"),
                functools.partial(archive.open, info),
            )


def _tar_members(path: pathlib.Path) -> Iterator[_Member]:
    with tarfile.open(path, "r:*") as archive:
        for info in archive:
            is_plain = (info.isreg() and not info.issparse()) or info.isdir()
            trouble = "" if is_plain else "is a link, a device or a sparse file"
            yield _Member(info.name, trouble, info.isdir(), functools.partial(_extracted, archive, info))


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Stream:
    file = archive.extractfile(info)
    if file is None:
        raise tarfile.TarError(f"{info.name} is not a file")
    return file


def _stem(name: str) -> str:
    suffix = next(suffix for suffix in (*sorted(ARCHIVES, key=len, reverse=True), "") if name.lower().endswith(suffix))
    return name[: len(name) - len(suffix)] if suffix else name
