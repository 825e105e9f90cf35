"""Reads the files of a Zenodo record: names, addresses, sizes, checksums.

`https://zenodo.org/api/records/N` answers with JSON. Its `files` are a list of `{"key", "size", "checksum": "md5:…",
"links": {"self"}}`, where `self` is the file itself: `…/api/files/BUCKET/NAME` until October 2023, `…/api/records/N/
files/NAME/content` since. Other InvenioRDM servers, and Zenodo if asked for `application/vnd.inveniordm.v1+json`, have
them by name or in a list in `files.entries`, where `links.content` is the file and `links.self` only tells of it.
"""

import dataclasses
import fnmatch
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from fetal_jax.core.types import UserError
from input_pipeline.download.fetch import Patience, RemoteFile, fetch_json

ZENODO = "https://zenodo.org/api/records"
CHECKSUM = re.compile(r"(?:(?P<kind>md5|sha1|sha256|sha512):)?(?P<digest>[0-9a-f]{32,128})")
DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}


@dataclasses.dataclass(frozen=True)
class Record:
    """A published record, and which of its files are needed."""

    number: int
    wanted: tuple[str, ...] = ("*",)  # globs of file names
    nested: tuple[str, ...] = ()  # globs of archives inside archives that are unpacked too, in any case of letters
    base_url: str = ZENODO

    @property
    def url(self) -> str:
        return f"{self.base_url}/{self.number}"


def files_of(record: Record, patience: Patience) -> tuple[RemoteFile, ...]:
    """The wanted files of a record, by name. Raises UserError if it cannot be fetched, or lacks a wanted file."""
    answer = fetch_json(record.url, patience)
    try:
        files = sorted((_remote_file(entry) for entry in _entries(answer)), key=lambda file: file.name)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{record.url}: is not a record as Zenodo writes them ({error!r}): download the files by hand and name"
            " their folder with --source"
        ) from error
    for pattern in record.wanted:
        if not any(fnmatch.fnmatchcase(file.name, pattern) for file in files):
            names = ", ".join(file.name for file in files) or "none"
            raise UserError(f"{record.url}: has no file {pattern}, only {names}: download by hand, then use --source")
    return tuple(file for file in files if any(fnmatch.fnmatchcase(file.name, want) for want in record.wanted))


def _entries(answer: Any) -> list[Mapping[str, Any]]:
    files = answer["files"]
    if isinstance(files, Mapping):
        files = files["entries"]
    return list(files.values()) if isinstance(files, Mapping) else list(files)


def _remote_file(entry: Any) -> RemoteFile:
    name, size, links = entry["key"], entry["size"], entry["links"]
    if not isinstance(name, str) or not re.fullmatch(r"[^\\/:\x00-\x1f]+", name) or name.startswith("."):
        raise ValueError(f"file name {name!r}")
    if type(size) is not int or size < 0:
        raise ValueError(f"size {size!r}")
    match = CHECKSUM.fullmatch(entry["checksum"].lower())
    kind = (match["kind"] or "md5") if match else ""
    if not match or len(match["digest"]) != DIGITS[kind]:
        raise ValueError(f"checksum {entry['checksum']!r}")
    url = links.get("content") or links["self"]
    return RemoteFile(name, _content(url), size, f"{kind}:{match['digest']}")


def _content(url: str) -> str:
    """The address of the file's content, its blanks and accents escaped."""
    scheme, host, path, query, _ = urllib.parse.urlsplit(url)
    path = urllib.parse.quote(path, safe="/%:@!$&'()*+,;=~-._")
    if re.search(r"/records/[^/]+/files/[^/]+$", path):
        path += "/content"
    return urllib.parse.urlunsplit((scheme, host, path, query, ""))
