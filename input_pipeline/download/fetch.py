"""Fetches a file over HTTPS: resumes where it stopped, checks size and checksum, shows a progress bar."""

import dataclasses
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Callable
from http.client import HTTPResponse
from typing import Any, TypeVar

from tqdm import tqdm

from fetal_jax.core.json_files import read_json, write_json
from fetal_jax.core.types import UserError
from input_pipeline.download.web import Dropped, Refused, open_url, read

CHUNK = 1 << 18
MAX_JSON = 1 << 24
MAX_PAUSE_S = 60.0
NOTE_FORMAT = 1  # of NAME.part.json
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A file as its record describes it."""

    name: str
    url: str
    size: int  # bytes
    checksum: str  # "md5:" or another name of hashlib, and hexadecimal digits: all, or as many as are published


@dataclasses.dataclass(frozen=True)
class Patience:
    """Timeout and pauses of the requests to a server, in seconds."""

    timeout_s: float = 60.0
    pauses_s: tuple[float, ...] = (1.0, 4.0, 16.0)  # before each attempt after one that brought nothing


def fetch_json(url: str, patience: Patience) -> Any:
    """The JSON document at `url`. Raises UserError if it cannot be fetched or is not JSON."""

    def attempt() -> bytes:
        with open_url(url, {"Accept": "application/json"}, patience.timeout_s) as response:
            body = read(response, MAX_JSON)
            if response.length:
                raise Dropped("broke off")
            return body

    body = _insist(attempt, url, patience)
    try:
        return json.loads(body)
    except ValueError as error:
        raise UserError(f"{url}: the answer is not JSON: try again later") from error


def remote_file(url: str, checksum: str, patience: Patience) -> RemoteFile:
    """The file at `url` as its server describes it. Raises UserError if it cannot be reached or does not say a size."""

    def attempt() -> str:
        with open_url(url, {}, patience.timeout_s) as response:
            return response.headers.get("Content-Length", "")

    size = _insist(attempt, url, patience).strip()
    if not size.isdigit():
        raise UserError(f"{url}: the server does not say how large the file is: download it by hand and import it")
    return RemoteFile(url.rpartition("/")[2], url, int(size), checksum)


def fetch(file: RemoteFile, folder: pathlib.Path, patience: Patience) -> pathlib.Path:
    """The path of the file in `folder`; it is not fetched again if it is there and its checksum is right.

    Until it is complete it is called `NAME.part`. That file is kept after a failure, and a later call requests the
    rest only, if the server still has the same file and serves parts.
    Raises UserError if the file cannot be fetched, or its size or checksum is not the record's; then it is deleted.
    """
    path = folder / file.name
    if path.is_file():
        if _digest(path, file).startswith(file.checksum):
            return path
        path.unlink()
    part = _Part(file, folder)
    # disable=None: no bar where stderr is not a terminal.
    with tqdm(desc=file.name, total=file.size, unit="B", unit_scale=True, disable=None) as bar:
        _insist(lambda: _transfer(file, part, patience.timeout_s, bar), file.url, patience)
    found = _digest(part.path, file)
    if not found.startswith(file.checksum):
        part.discard()
        raise UserError(
            f"{file.url}: has checksum {found}, its record says {file.checksum}; it is deleted: run the command again,"
            " and if it stays so, tell the publisher"
        )
    os.replace(part.path, path)
    part.discard()
    return path


class _Part:
    """The bytes of a file that have arrived, with a note of the version that they belong to."""

    def __init__(self, file: RemoteFile, folder: pathlib.Path):
        self.path = folder / f"{file.name}.part"
        self._note = folder / f"{file.name}.part.json"
        self._file = file
        self._version = {"url": file.url, "size": file.size, "checksum": file.checksum}
        self.most = self.size  # bytes that were ever there

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def resume(self) -> tuple[int, str]:
        """The byte to resume from, and the entity tag of what is there; (0, "") to start anew."""
        try:
            note = read_json(self._note, format=NOTE_FORMAT, what="a note of a download")
            etag = note.pop("etag")
        except (UserError, KeyError):  # also a note of a newer format: its bytes are fetched again
            return 0, ""
        return (self.size, etag) if note == self._version and self.size <= self._file.size else (0, "")

    def start(self, etag: str) -> None:
        """Deletes what is there, and notes the version that comes now."""
        self.discard()
        write_json(self._note, self._version | {"etag": etag}, format=NOTE_FORMAT)

    def discard(self) -> None:
        """Deletes the bytes and the note."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _transfer(file: RemoteFile, part: _Part, timeout_s: float, bar: tqdm) -> None:
    """Requests the missing bytes. Raises Dropped if the answer ends too early."""
    start, etag = part.resume()
    if start == file.size and part.path.is_file():
        return
    with _open_from(file, part, start, etag, timeout_s) as response:
        if response.status != 206:
            start = 0
            part.start(response.headers.get("ETag", ""))
        length = response.headers.get("Content-Length")
        if length is not None and length.strip() != str(file.size - start):
            part.discard()
            raise _wrong_size(file, f"{length} bytes from byte {start} on")
        with part.path.open("ab") as target:
            while data := _read(response, part, target):
                start += len(data)
                if start > file.size:
                    part.discard()
                    raise _wrong_size(file, "more than that")
                target.write(data)
                bar.update(start - bar.n)
    if start < file.size:
        raise _dropped(part, f"ended after {start} of {file.size} bytes")


def _read(response: HTTPResponse, part: _Part, target) -> bytes:
    try:
        return read(response, CHUNK)
    except Dropped as dropped:
        target.flush()
        raise _dropped(part, str(dropped)) from dropped


def _open_from(file: RemoteFile, part: _Part, start: int, etag: str, timeout_s: float) -> HTTPResponse:
    """The answer with the whole file, or (status 206) with the missing bytes. Raises Dropped to start anew."""
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and etag.startswith('"'):  # a weak tag does not say that bytes are the same
        headers["If-Range"] = etag
    try:
        response = open_url(file.url, headers, timeout_s)
    except Refused as refused:
        if refused.status == 416 and start:
            part.discard()
            raise Dropped("does not go on where it stopped, and starts anew") from refused
        raise
    if response.status == 206:
        fits = response.headers.get("Content-Range", "").strip() == f"bytes {start}-{file.size - 1}/{file.size}"
        if not start or not fits or response.headers.get("ETag", etag) != etag:
            response.close()
            part.discard()
            raise Dropped("has changed, and starts anew")
    return response


def _dropped(part: _Part, words: str) -> Dropped:
    progressed, part.most = part.size > part.most, max(part.most, part.size)
    return Dropped(words, progressed=progressed)


def _wrong_size(file: RemoteFile, found: str) -> UserError:
    return UserError(
        f"{file.url}: its record says {file.size} bytes, the server sends {found}; it is deleted: run the command"
        " again, and if it stays so, tell the publisher"
    )


def _insist(attempt: Callable[[], Result], url: str, patience: Patience) -> Result:
    """Retries after a pause while the connection drops. An attempt that brought bytes resets the count."""
    pauses = list(patience.pauses_s)
    while True:
        try:
            return attempt()
        except Dropped as dropped:
            if dropped.progressed:
                pauses = list(patience.pauses_s)
            if not pauses:
                raise UserError(
                    f"{url}: {dropped}: check the network and run the command again, it goes on where it stopped"
                ) from dropped
            time.sleep(min(max(pauses.pop(0), dropped.wait_s), MAX_PAUSE_S))


def _digest(path: pathlib.Path, file: RemoteFile) -> str:
    kind = file.checksum.partition(":")[0]
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False))
    return f"{kind}:{digest.hexdigest()}"
