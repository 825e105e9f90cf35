"""Downloads the published files of a dataset, where its licence allows it, and unpacks them."""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Sequence

from fetal_jax.core.atomic import replacing_folder
from fetal_jax.core.json_files import NewerFormat, read_json, write_json
from fetal_jax.core.types import UserError
from input_pipeline.download.archive import Extractor, Limits
from input_pipeline.download.claim import LOCK, claimed
from input_pipeline.download.fetch import Patience, RemoteFile, fetch
from input_pipeline.download.zenodo import Record, files_of

MARKER = "downloaded.json"  # names the record of a folder; a folder that has one is complete
FORMAT = 1  # of that file
RECORDS = {  # all CC BY 4.0
    "fetal_head_biometry": Record(
        8265464, ("Trans-*.zip", "Diverse Fetal Head Images.zip"), nested=("*segmentation*.zip",)
    ),
    "fetal_planes": Record(3904280, ("FETAL_PLANES_ZENODO.zip",)),
    "hc18": Record(1327317, ("training_set*", "test_set*")),  # the version behind the DOI of all versions, 1322001
}

__all__ = ["MARKER", "RECORDS", "Limits", "Patience", "Record", "download"]


def download(
    record: Record,
    folder: str | os.PathLike,
    *,
    limits: Limits | None = None,
    patience: Patience | None = None,
) -> pathlib.Path:
    """Fetches the wanted files of a record and unpacks its archives into `folder`, which it returns.

    Files are kept in `FOLDER.download` until all are unpacked, and a later call resumes from there. The folder gets
    its name only when it is complete; from then on the network is not used again. Files that are not archives are
    copied unchanged.
    Raises UserError, one line that names the file or address and the remedy, if the record or a file of it cannot be
    fetched, is not what the record says or is not safe to unpack, if the disk is too small, if `folder` holds
    something else, or if another download into it is running.
    """
    folder = pathlib.Path(folder)
    if _is_downloaded(record, folder):
        return folder
    patience = patience or Patience()
    files = files_of(record, patience)
    waiting = folder.with_name(folder.name + ".download")
    with claimed(waiting):
        if _is_downloaded(record, folder):  # by another call, since we looked
            return folder
        _check_space(files, waiting)
        paths = [fetch(file, waiting, patience) for file in files]
        with replacing_folder(folder) as scratch:
            extractor = Extractor(scratch, limits or Limits())
            for path in paths:
                extractor.add(path, record.nested)
            note = _identity(record) | {"files": [dataclasses.asdict(file) for file in files]}
            write_json(scratch / MARKER, note, format=FORMAT)
        _empty(waiting)
    return folder


def _empty(folder: pathlib.Path) -> None:
    """Removes everything but the lock, which its holder removes last."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _identity(record: Record) -> dict:
    return {"record": record.url, "wanted": list(record.wanted), "nested": list(record.nested)}


def _is_downloaded(record: Record, folder: pathlib.Path) -> bool:
    """Whether the folder is complete. Raises UserError if it exists and holds something else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = read_json(folder / MARKER, format=FORMAT, what="the marker of a download")
    except NewerFormat:
        raise
    except UserError:
        found = {}
    if not _identity(record).items() <= found.items():
        raise UserError(f"{folder}: is there already and is not {record.url}: remove it, or name another folder")
    return True


def _check_space(files: Sequence[RemoteFile], folder: pathlib.Path) -> None:
    """Raises UserError if the disk is too small. Every byte is needed twice, archived and unpacked: images hardly
    shrink in an archive."""
    paths = [folder / f"{file.name}{suffix}" for file in files for suffix in ("", ".part")]
    arrived = sum(path.stat().st_size for path in paths if path.is_file())
    needed = 2 * sum(file.size for file in files) - arrived
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: the disk has {free / 1e9:.1f} GB free and {needed / 1e9:.1f} GB are needed: make room, or name"
            " a folder on another disk"
        )
