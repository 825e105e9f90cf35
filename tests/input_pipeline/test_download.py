"""Downloads go on where they stopped, take only what the record describes, and unpack nothing that could do harm."""

import contextlib
import dataclasses
import hashlib
import http.server
import io
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import urllib.parse
import urllib.request
import warnings
import zipfile

import hypothesis
import pytest
from hypothesis import strategies as st

from fetal_jax.core.types import UserError
from input_pipeline import download as package
from input_pipeline.builders.fetal_head_biometry.dummy import FOLDERS, dummy_data
from input_pipeline.builders.fetal_head_biometry.source import read_source
from input_pipeline.download import MARKER, RECORDS, Limits, Patience, Record, download
from input_pipeline.download.archive import Extractor
from input_pipeline.download.web import _Redirects, open_url

AT_ONCE = Patience(timeout_s=5, pauses_s=(0, 0))
RANDOM = hashlib.shake_256(b"speckle").digest(900_000)  # does not shrink, and takes several reads


@dataclasses.dataclass
class Request:
    path: str
    range: str | None
    if_range: str | None


class Server(http.server.ThreadingHTTPServer):
    """Serves one record, 7, and its files; `tricks` by file name change how."""

    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.tricks, self.requests, self.entries = dict(files), {}, [], {}
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.style = "content"

    def record(self, *wanted, **kwargs):
        return Record(7, wanted or ("*",), base_url=f"{self.url}/api/records", **kwargs)

    def json(self):
        entries = [self.entry(name, data) | self.entries.get(name, {}) for name, data in self.files.items()]
        if self.style == "by name":
            return {"files": {"enabled": True, "entries": {entry["key"]: entry for entry in entries}}}
        if self.style == "listed entries":
            return {"files": {"entries": entries}}
        return {"id": 7, "files": entries}

    def entry(self, name, data):
        path = f"{self.url}/api/records/7/files/{name}"
        links = {"self": f"{path}/content"}
        if self.style in ("by name", "listed entries"):
            links = {"self": path, "content": f"{path}/content"}
        if self.style == "bucket":
            links = {"self": f"{self.url}/api/files/0a1b-2c3d/{name}"}
        if self.style == "meta only":
            links = {"self": path}
        return {"key": name, "size": len(data), "checksum": f"md5:{hashlib.md5(data).hexdigest()}", "links": links}

    def asked(self, name):
        """The Range headers of the requests for a file."""
        return [request.range for request in self.requests if name in request.path]


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        path = urllib.parse.unquote(self.path)
        self.server.requests.append(Request(path, self.headers["Range"], self.headers["If-Range"]))
        if path == "/api/records/7":
            return self.answer(200, json.dumps(self.server.json()).encode())
        name = path.removesuffix("/content").rpartition("/")[2]
        tricks = self.server.tricks.get(name, [])
        trick = tricks.pop(0) if tricks else ""
        if name not in self.server.files or trick == "404":
            return self.answer(404, b"none")
        if isinstance(trick, tuple) and trick[0] == "redirect":
            self.send_response(302)
            self.send_header("Location", trick[1])
            return self.end_headers()
        if trick == "busy":
            return self.answer(503, b"busy", {"Retry-After": "0"})
        if trick == "hang up":
            return self.close_connection
        return self.serve(name, self.server.files[name], trick)

    def serve(self, name, data, trick):
        etag = '"md5:' + hashlib.md5(data).hexdigest() + '"'
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        fresh = self.headers["If-Range"] in (None, etag)
        if start and fresh and trick != "no ranges":
            extra = {"ETag": etag, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            return self.answer(206, data[start:], extra, trick)
        return self.answer(200, data, {"ETag": etag}, trick)

    def answer(self, status, body, headers=(), trick=""):
        self.send_response(status)
        if trick != "no length":
            self.send_header("Content-Length", str(len(body)))
        for key, value in dict(headers).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body[: trick[1]] if isinstance(trick, tuple) else body)


@pytest.fixture
def serve():
    """serve(files) -> a running server; all of them stop at the end."""
    running = []

    def start(files):
        server = Server(files)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


def zip_of(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fetched(folder):
    return {name: data for name, data in tree(folder).items() if name != MARKER}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


PLANES = {"Images/a.png": b"one", "Images/b.png": b"two"}


@pytest.mark.parametrize("style", ["content", "bucket", "meta only", "by name", "listed entries"])
def test_files_are_fetched_unpacked_and_not_asked_for_again(style, serve, tmp_path):
    server = serve({"planes of brains.zip": zip_of(PLANES), "table.csv": b"1;2\n", "other.pdf": b"paper"})
    server.style = style
    record, folder = server.record("*.zip", "table*"), tmp_path / "planes"
    assert download(record, folder, patience=AT_ONCE) == folder
    assert fetched(folder) == PLANES | {"table.csv": b"1;2\n"}
    assert names(tmp_path) == ["planes"]
    n_requests = len(server.requests)
    assert n_requests == 3
    assert download(record, folder, patience=AT_ONCE) == folder
    assert len(server.requests) == n_requests


def test_the_archives_in_an_archive_that_are_needed_are_unpacked(serve, tmp_path):
    masks = {"SegmentationClass/a.png": b"mask", "labelmap.txt": b"csp:0,255,0::"}
    outer = {"Plane/Plane/a.png": b"image", "Plane/Plane-Segmentation.zip": zip_of(masks), "Plane/COCO.zip": b"no zip"}
    outer |= {"Old-Segmentation/a.png": b"there", "Old-Segmentation.zip": b"left alone"}
    server = serve({"Plane.zip": zip_of(outer)})
    download(server.record(nested=("*segmentation*.zip",)), tmp_path / "heads", patience=AT_ONCE)
    assert fetched(tmp_path / "heads") == {
        "Plane/Plane/a.png": b"image",
        "Plane/COCO.zip": b"no zip",
        "Old-Segmentation/a.png": b"there",
        "Old-Segmentation.zip": b"left alone",
        "Plane/Plane-Segmentation/SegmentationClass/a.png": b"mask",
        "Plane/Plane-Segmentation/labelmap.txt": b"csp:0,255,0::",
    }


def test_after_a_cut_only_the_rest_is_asked_for(serve, tmp_path):
    server = serve({"data.bin": RANDOM})
    server.tricks["data.bin"] = [("cut", 600_000)]
    download(server.record(), tmp_path / "data", patience=AT_ONCE)
    assert server.asked("data.bin") == [None, "bytes=600000-"]
    assert server.requests[-1].if_range == '"md5:' + hashlib.md5(RANDOM).hexdigest() + '"'
    assert fetched(tmp_path / "data") == {"data.bin": RANDOM}


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(serve, tmp_path):
    server = serve({"data.bin": RANDOM, "small.csv": b"1"})
    server.tricks["data.bin"] = [("cut", 300_000), "hang up", "busy"]
    with pytest.raises(UserError, match=r"data\.bin/content: answers 503: check the network and run .* goes on"):
        download(server.record(), tmp_path / "data", patience=AT_ONCE)
    assert names(tmp_path) == ["data.download"]
    server.requests.clear()
    download(server.record(), tmp_path / "data", patience=AT_ONCE)
    assert server.asked("data.bin") == ["bytes=300000-"]
    assert fetched(tmp_path / "data") == {"data.bin": RANDOM, "small.csv": b"1"}


def test_files_that_arrived_whole_are_not_fetched_again(serve, tmp_path):
    server = serve({"a.bin": RANDOM, "b.bin": b"b"})
    server.tricks["b.bin"] = ["404"]
    with pytest.raises(UserError, match=r"b\.bin/content: the server answers 404"):
        download(server.record(), tmp_path / "data", patience=AT_ONCE)
    server.requests.clear()
    download(server.record(), tmp_path / "data", patience=AT_ONCE)
    assert server.asked("a.bin") == []


def test_every_cut_that_brings_a_file_further_is_forgiven(serve, tmp_path):
    server = serve({"data.bin": RANDOM})
    server.tricks["data.bin"] = [("cut", 100_000)] * 8
    download(server.record(), tmp_path / "data", patience=AT_ONCE)
    assert server.asked("data.bin")[-1] == "bytes=800000-"


def test_a_server_without_ranges_is_asked_anew_but_not_for_ever(serve, tmp_path):
    server = serve({"data.bin": RANDOM})
    server.tricks["data.bin"] = [("cut", 500_000), "no ranges"]
    download(server.record(), tmp_path / "data", patience=AT_ONCE)
    assert fetched(tmp_path / "data") == {"data.bin": RANDOM}
    shutil.rmtree(tmp_path / "data")
    server.requests.clear()
    handler, Handler.serve = Handler.serve, lambda self, name, data, trick: self.answer(200, data, {}, ("cut", 500_000))
    try:
        with pytest.raises(UserError, match=r"ended after 500000 of 900000 bytes"):
            download(server.record(), tmp_path / "data", patience=AT_ONCE)
    finally:
        Handler.serve = handler
    assert len(server.asked("data.bin")) == 3


def test_a_file_that_changed_meanwhile_starts_anew(serve, tmp_path):
    server = serve({"data.bin": RANDOM})
    server.tricks["data.bin"] = [("cut", 500_000), "404"]
    with pytest.raises(UserError, match="404"):
        download(server.record(), tmp_path / "data", patience=AT_ONCE)
    server.files["data.bin"] = RANDOM[::-1]
    server.requests.clear()
    download(server.record(), tmp_path / "data", patience=AT_ONCE)
    assert server.asked("data.bin") == [None]  # the record's own checksum is another
    assert fetched(tmp_path / "data") == {"data.bin": RANDOM[::-1]}


def test_a_part_of_another_version_on_the_server_starts_anew(serve, tmp_path):
    server = serve({"data.bin": RANDOM})
    server.tricks["data.bin"] = [("cut", 500_000), "404"]
    with pytest.raises(UserError, match="404"):
        download(server.record(), tmp_path / "data", patience=AT_ONCE)
    note = tmp_path / "data.download" / "data.bin.part.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"etag": '"of another day"'}))
    server.requests.clear()
    download(server.record(), tmp_path / "data", patience=AT_ONCE)
    assert [request.if_range for request in server.requests[1:]] == ['"of another day"']
    assert fetched(tmp_path / "data") == {"data.bin": RANDOM}


WRONG = {
    "truncated": ({}, [("cut", 1000)] + ["hang up"] * 2, r"does not answer|ended after 1000 of 900000 bytes"),
    "checksum": (
        {"checksum": "md5:" + "0" * 32},
        [],
        r"has checksum md5:\w{32}, its record says md5:0{32}; it is dele",
    ),
    "too long": ({"size": 899_999}, [], r"says 899999 bytes, the server sends 900000 bytes from byte 0 on"),
    "too short": ({"size": 900_001}, [], r"says 900001 bytes, the server sends 900000 bytes from byte 0 on"),
    "endless": ({"size": 1000}, ["no length"], r"says 1000 bytes, the server sends more than that"),
    "404": ({}, ["404"], r"data\.bin/content: the server answers 404 Not Found: .* --source"),
    "http": ({}, [("redirect", "http://example.invalid/data.bin")], r"http://example\.invalid/data\.bin: is not https"),
    "file": (
        {},
        [("redirect", "file:///etc/passwd")],
        r"content: the server answers 302 .*'file:///etc/passwd' is not allowed",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_not_as_the_record_says_is_refused_and_deleted(wrong, serve, tmp_path):
    entry, tricks, message = WRONG[wrong]
    server = serve({"data.bin": RANDOM})
    server.entries["data.bin"], server.tricks["data.bin"] = entry, list(tricks)
    with pytest.raises(UserError, match=message) as caught:
        download(server.record(), tmp_path / "data", patience=AT_ONCE)
    assert "\n" not in str(caught.value)
    left = {"data.bin.part", "data.bin.part.json"} if wrong == "truncated" else set()
    assert tree(tmp_path).keys() == {f"data.download/{name}" for name in left}


def test_only_https_is_asked_but_on_this_machine(serve):
    with pytest.raises(UserError, match=r"http://example\.invalid/x: is not https"):
        open_url("http://example.invalid/x", {}, 1)
    with pytest.raises(UserError, match=r"ftp://127\.0\.0\.1/x: is not https"):
        open_url("ftp://127.0.0.1/x", {}, 1)
    elsewhere = urllib.request.Request("https://zenodo.org/api/records/7")
    with pytest.raises(
        UserError, match=r"https://zenodo\.org/api/records/7: leads to http://127\.0\.0\.1/x, this machine"
    ):
        _Redirects().redirect_request(elsewhere, io.BytesIO(), 302, "Found", {}, "http://127.0.0.1/x")
    server = serve({"a": b"a"})
    with open_url(f"{server.url}/a", {}, 5) as response:
        assert response.read() == b"a"


BAD_RECORDS = {
    "no files": ({"files": None}, "is not a record as Zenodo writes them"),
    "a list": ([], "is not a record as Zenodo writes them"),
    "empty": ({"files": []}, r"has no file \*, only none"),
    "no checksum": ({"files": [{"key": "a", "size": 1, "links": {"self": "x"}}]}, "is not a record"),
    "climbing": ({"key": "../a"}, "file name"),
    "hidden": ({"key": ".bashrc"}, "file name"),
    "size": ({"size": "12"}, "size"),
    "crc": ({"checksum": "crc32:00000000"}, "checksum"),
    "short sum": ({"checksum": "sha256:" + "0" * 32}, "checksum"),
}


@pytest.mark.parametrize("bad", BAD_RECORDS)
def test_a_record_that_makes_no_sense_is_refused(bad, serve, tmp_path):
    answer, message = BAD_RECORDS[bad]
    server = serve({"a": b"a"})
    if isinstance(answer, dict) and "files" not in answer:
        answer = {"files": [server.entry("a", b"a") | answer]}
    server.json = lambda: answer
    with pytest.raises(UserError, match=message) as caught:
        download(server.record(), tmp_path / "data", patience=AT_ONCE)
    assert str(caught.value).startswith(f"{server.url}/api/records/7: ")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_an_answer_that_is_not_json_is_refused(serve, tmp_path):
    server = serve({})
    record = Record(7, base_url=f"{server.url}/api/files")
    server.files["7"] = b"<html>"
    with pytest.raises(UserError, match=r"/api/files/7: the answer is not JSON"):
        download(record, tmp_path / "data", patience=AT_ONCE)


def test_a_full_disk_is_told_before_anything_is_fetched(serve, tmp_path, monkeypatch):
    server = serve({"data.bin": RANDOM})
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(package.shutil, "disk_usage", lambda folder: usage(10**9, 0, 1_700_000))
    with pytest.raises(UserError, match=r"data\.download: the disk has 0\.0 GB free .* make room"):
        download(server.record(), tmp_path / "data", patience=AT_ONCE)
    assert server.asked("data.bin") == []


def test_a_folder_of_others_is_left_alone(serve, tmp_path):
    server = serve({"data.bin": RANDOM})
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"data: is there already and is not .*/records/7: remove it, or name another"):
        download(server.record(), folder, patience=AT_ONCE)
    assert names(folder) == ["thesis.txt"]
    assert server.requests == []


def test_the_records_of_the_datasets_are_at_zenodo():
    assert {name: record.url.removeprefix("https://zenodo.org/api/records/") for name, record in RECORDS.items()} == {
        "hc18": "1327317",
        "fetal_planes": "3904280",
        "fetal_head_biometry": "8265464",
    }


# Archives. Each hostile one holds a good file too, and nothing of it may stay.


def zip_with(name, data=b"x", mode=stat.S_IFREG | 0o644):
    def write(path):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("good.png", b"good")
            info = zipfile.ZipInfo("x" * len(name))
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            info.filename = info.orig_filename = name  # as it is: ZipInfo would mend some names
            archive.writestr(info, data)

    return write


def tar_with(name, kind=tarfile.REGTYPE, data=b"", mode="w:gz", **fields):
    def write(path):
        with tarfile.open(path, mode) as archive:
            archive.addfile(tarfile.TarInfo("good.png"))
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(data)
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))

    return write


def zip_members(*members):
    return lambda path: path.write_bytes(zip_of(dict.fromkeys(members, b"x")))


def damaged(path):
    data = bytearray(zip_of({"good.png": b"good", "a.bin": RANDOM}))
    data[500_000] ^= 255
    path.write_bytes(data)


def secret(path):
    """Says in both headers of its first member that it is encrypted."""
    data = bytearray(zip_of(PLANES))
    data[data.index(b"PK\3\4") + 6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)


def lying_zip(path):
    """Its headers tell of 10 bytes, and a million come out."""
    zip_with("a.bin", bytes(1_000_000))(path)
    data = path.read_bytes()
    path.write_bytes(data.replace((1_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))


HOSTILE = {
    "absolute.zip": (zip_with("/tmp/evil"), "'/tmp/evil' has an absolute path"),
    "climbs.zip": (zip_with("a/../../evil"), r"'a/\.\./\.\./evil' leads out of its folder"),
    "drive.zip": (zip_with("C:/evil"), "'C:/evil' has a backslash, colon or control"),
    "backslash.zip": (zip_with("..\\evil"), "has a backslash, colon or control"),
    "zero.zip": (zip_with("a.png\0.exe"), "has a backslash, colon or control"),
    "newline.zip": (zip_with("a\nb"), r"'a\\nb' has a backslash, colon or control"),
    "long.zip": (zip_with("a" * 300), "has too long a name"),
    "link.zip": (zip_with("link", b"/etc/passwd", stat.S_IFLNK | 0o777), "'link' is a link or device"),
    "device.zip": (zip_with("tty", b"", stat.S_IFCHR | 0o666), "'tty' is a link or device"),
    "secret.zip": (secret, r"'Images/a\.png' is encrypted"),
    "case.zip": (zip_members("A.png", "a.png"), r"has both 'A\.png' and 'a\.png'"),
    "folders.zip": (zip_members("Images/A.png", "images/b.png"), "has both 'Images' and 'images'"),
    "accent.zip": (zip_members("\u00e9.png", "e\u0301.png"), "has both"),
    "both.zip": (zip_members("a", "a/b"), "has 'a' as a file and as a folder"),
    "folder.zip": (zip_members("a", "a/"), "has 'a' as a file and as a folder"),
    "file.zip": (zip_members("a/", "a"), "has 'a' twice"),
    "bomb.zip": (zip_with("zeros", bytes(3_000_000)), r"grows to more than 1 MB from 0\.0"),
    "large.zip": (lambda path: path.write_bytes(zip_of({"a": RANDOM, "b": RANDOM, "c": RANDOM})), "more than 2 MB: "),
    "lies.zip": (lying_zip, "is damaged or of an unknown kind"),
    "many.zip": (zip_members(*map(str, range(11))), "holds more than 10 files"),
    "text.zip": (lambda path: path.write_text("hello"), "is damaged or of an unknown kind"),
    "cut.zip": (lambda path: path.write_bytes(zip_of(PLANES)[:-30]), "is damaged or of an unknown kind"),
    "crc.zip": (damaged, "is damaged or of an unknown kind"),
    "absolute.tar": (tar_with("/tmp/evil", mode="w"), "'/tmp/evil' has an absolute path"),
    "climbs.tar.gz": (tar_with("../evil"), r"'\.\./evil' leads out of its folder"),
    "link.tgz": (tar_with("link", tarfile.SYMTYPE, linkname="/etc"), "'link' is a link, a device or a sparse file"),
    "hard.tar.gz": (tar_with("hard", tarfile.LNKTYPE, linkname="good.png"), "'hard' is a link, a device"),
    "char.tar.gz": (tar_with("tty", tarfile.CHRTYPE), "'tty' is a link, a device"),
    "block.tar.gz": (tar_with("sda", tarfile.BLKTYPE), "'sda' is a link, a device"),
    "pipe.tar.gz": (tar_with("fifo", tarfile.FIFOTYPE), "'fifo' is a link, a device"),
    "bomb.tar.gz": (tar_with("zeros", data=bytes(3_000_000)), "grows to more than 1 MB"),
    "twice.tar.gz": (tar_with("good.png"), r"has 'good\.png' twice"),
    "text.tar.gz": (lambda path: path.write_text("hello"), "is damaged or of an unknown kind"),
    "cut.tar": (
        lambda path: (tar_with("a", data=RANDOM, mode="w")(path), os.truncate(path, 5000)),
        "is damaged or of an unknown kind",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_nothing_of_it_stays(name, serve, tmp_path):
    write, message = HOSTILE[name]
    (tmp_path / "made").mkdir()
    write(tmp_path / "made" / name)
    server = serve({name: (tmp_path / "made" / name).read_bytes()})
    here = tmp_path / "here"
    limits = Limits(max_bytes=2_000_000, max_members=10, max_ratio=50, free_bytes=1_000_000)
    with pytest.raises(UserError, match=message) as caught:
        download(server.record(), here / "data", limits=limits, patience=AT_ONCE)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{here / 'data.download' / name}: ")
    assert tree(here) == {f"data.download/{name}": server.files[name]}


@hypothesis.settings(max_examples=100, deadline=None, database=None)
@hypothesis.given(st.lists(st.text(alphabet="./\\:aAé~ \n\0", min_size=1, max_size=8), min_size=1, max_size=3))
def test_whatever_members_are_called_nothing_lands_outside(members):
    with tempfile.TemporaryDirectory() as scratch:
        around = pathlib.Path(scratch)
        folder = around / "a" / "out"
        folder.mkdir(parents=True)
        with zipfile.ZipFile(around / "x.zip", "w") as archive:
            for name in members:
                info = zipfile.ZipInfo("member")
                info.filename = info.orig_filename = name
                with warnings.catch_warnings(action="ignore"):  # of names that occur twice
                    archive.writestr(info, b"x")
        with contextlib.suppress(UserError):
            Extractor(folder, Limits()).add(around / "x.zip")
        outside = {path for path in around.rglob("*") if not path.is_relative_to(folder)}
        assert outside == {around / "x.zip", around / "a"}


def test_good_archives_of_each_kind_are_unpacked_without_their_rights_and_junk(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("Images/", b"")
        archive.writestr("Images/a.png", b"a")
        archive.writestr("__MACOSX/Images/._a.png", b"fork")
        archive.writestr("Images/.DS_Store", b"junk")
    for name in ("b.tar", "c.tar.gz", "d.TGZ"):
        with tarfile.open(tmp_path / name, "w" if name == "b.tar" else "w:gz") as archive:
            info = tarfile.TarInfo(f"./Images/{name}.png")
            info.size, info.mode = 1, 0o4777
            archive.addfile(info, io.BytesIO(name[:1].encode()))
    folder = tmp_path / "out"
    folder.mkdir()
    extractor = Extractor(folder, Limits())
    for name in ("a.zip", "b.tar", "c.tar.gz", "d.TGZ"):
        extractor.add(tmp_path / name)
    wanted = {"a.png": b"a", "b.tar.png": b"b", "c.tar.gz.png": b"c", "d.TGZ.png": b"d"}
    assert tree(folder) == {f"Images/{name}": data for name, data in wanted.items()}
    assert not any(path.stat().st_mode & 0o4111 for path in folder.rglob("*.png"))


def test_two_archives_cannot_write_over_each_other(serve, tmp_path):
    server = serve({"a.zip": zip_of({"x.png": b"a"}), "b.zip": zip_of({"x.png": b"b"})})
    with pytest.raises(UserError, match=r"b\.zip: has 'x\.png' twice"):
        download(server.record(), tmp_path / "data", patience=AT_ONCE)
    assert names(tmp_path) == ["data.download"]


def test_an_interrupt_while_unpacking_leaves_nothing_and_the_next_call_does_it_all(serve, tmp_path, monkeypatch):
    server = serve({"a.zip": zip_of(PLANES)})

    def interrupt(self, *args):
        next(self._folder.iterdir())  # there is something to clean up
        raise KeyboardInterrupt

    unpack = Extractor._unpack
    monkeypatch.setattr(Extractor, "add", lambda self, path, nested: (unpack(self, path, ()), interrupt(self)))
    with pytest.raises(KeyboardInterrupt):
        download(server.record(), tmp_path / "data", patience=AT_ONCE)
    assert names(tmp_path) == ["data.download"]
    monkeypatch.undo()
    server.requests.clear()
    download(server.record(), tmp_path / "data", patience=AT_ONCE)
    assert fetched(tmp_path / "data") == PLANES
    assert server.asked("a.zip") == []


KILLED = """
import os, signal, sys
from tqdm import tqdm
from input_pipeline.download import Record, archive, download
cls, name = {"unpacking": (archive.Extractor, "_write"), "fetching": (tqdm, "update")}[sys.argv[1]]
method = getattr(cls, name)
def die(*args):
    method(*args)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(cls, name, die)
download(Record(7, base_url=sys.argv[2]), sys.argv[3])
"""


def download_and_die(when, record, folder):
    process = subprocess.run([sys.executable, "-c", KILLED, when, record.base_url, str(folder)])
    assert process.returncode == -signal.SIGKILL
    assert not folder.exists()


@pytest.mark.slow
def test_after_a_kill_while_unpacking_the_folder_has_no_name_and_the_next_call_does_it_all(serve, tmp_path):
    server, folder = serve({"a.zip": zip_of(PLANES)}), tmp_path / "data"
    download_and_die("unpacking", server.record(), folder)
    server.requests.clear()
    download(server.record(), folder, patience=AT_ONCE)
    assert fetched(folder) == PLANES
    assert server.asked("a.zip") == []
    assert names(tmp_path) == ["data"]


@pytest.mark.slow
def test_after_a_kill_while_fetching_only_the_rest_is_asked_for(serve, tmp_path):
    server, folder = serve({"data.bin": RANDOM}), tmp_path / "data"
    download_and_die("fetching", server.record(), folder)
    arrived = (tmp_path / "data.download" / "data.bin.part").stat().st_size
    assert 0 < arrived < len(RANDOM)
    server.requests.clear()
    download(server.record(), folder, patience=AT_ONCE)
    assert server.asked("data.bin") == [f"bytes={arrived}-"]
    assert fetched(folder) == {"data.bin": RANDOM}


@pytest.mark.slow
def test_two_downloads_into_one_folder_do_not_meet(serve, tmp_path, monkeypatch):
    """The second comes while the first unpacks, once out of this process and once out of another."""
    server, folder, refusals = serve({"a.zip": zip_of(PLANES)}), tmp_path / "data", []
    again = "import sys; from input_pipeline.download import *; download(Record(7, base_url=sys.argv[1]), sys.argv[2])"
    unpack = Extractor.add

    def interfere(self, path, nested):
        before = tree(tmp_path)
        with pytest.raises(UserError) as caught:
            download(server.record(), folder, patience=AT_ONCE)
        command = [sys.executable, "-c", again, server.record().base_url, str(folder)]
        process = subprocess.run(command, capture_output=True, text=True)
        refusals.extend([str(caught.value), process.stderr.splitlines()[-1].partition("UserError: ")[2]])
        assert tree(tmp_path) == before
        unpack(self, path, nested)

    monkeypatch.setattr(Extractor, "add", interfere)
    download(server.record(), folder, patience=AT_ONCE)
    words = "another download into it is running: wait for it and run the command again"
    assert refusals == [f"{tmp_path / 'data.download'}: {words}"] * 2
    assert fetched(folder) == PLANES
    assert names(tmp_path) == ["data"]


def test_a_download_that_another_one_finished_meanwhile_is_not_done_again(serve, tmp_path, monkeypatch):
    server, folder = serve({"a.zip": zip_of(PLANES)}), tmp_path / "data"
    look = package.files_of

    def be_overtaken(record, patience):
        monkeypatch.setattr(package, "files_of", look)
        download(record, folder, patience=patience)
        return look(record, patience)

    monkeypatch.setattr(package, "files_of", be_overtaken)
    assert download(server.record(), folder, patience=AT_ONCE) == folder
    assert server.asked("a.zip") == [None]
    assert names(tmp_path) == ["data"]


def test_of_many_downloads_at_once_each_is_whole_or_refused(serve, tmp_path):
    server, folder, ends = serve({"a.zip": zip_of(PLANES | {"noise.bin": RANDOM})}), tmp_path / "data", []
    start = threading.Barrier(6)

    def one():
        start.wait()
        try:
            download(server.record(), folder, patience=AT_ONCE)
            ends.append("whole" if fetched(folder) == PLANES | {"noise.bin": RANDOM} else "not whole")
        except UserError as error:
            ends.append(str(error).partition(": ")[2][:16])

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 6
    assert "whole" in ends
    assert set(ends) <= {"whole", "another download"}
    assert server.asked("a.zip") == [None]
    assert names(tmp_path) == ["data"]


def zipped(folder, prefix=""):
    return zip_of({prefix + name: data for name, data in tree(folder).items()})


def test_fetal_head_biometry_as_published_is_ready_to_be_read(serve, tmp_path):
    """An archive a plane, and in it one of the masks, as at Zenodo."""
    ids = dummy_data(tmp_path / "heads")
    files = {"unannotated.zip": b"not wanted"}
    for top, _, masks in FOLDERS.values():
        data = zipped(tmp_path / "heads" / top / masks)
        shutil.rmtree(tmp_path / "heads" / top / masks)
        (tmp_path / "heads" / top / f"{masks}.zip").write_bytes(data)
        files[f"{top}.zip"] = zipped(tmp_path / "heads" / top, f"{top}/")
    server = serve(files)
    record = dataclasses.replace(RECORDS["fetal_head_biometry"], number=7, base_url=server.record().base_url)
    folder = download(record, tmp_path / "fetched", patience=AT_ONCE)
    for plane in FOLDERS:
        reading = read_source(folder, plane)
        assert ({head.name for head in reading.items}, reading.problems) == (set(ids[plane]), [])
    assert server.asked("unannotated") == []


def test_a_progress_bar_is_shown_on_a_terminal_only(serve, tmp_path, monkeypatch, capsys):
    server = serve({"data.bin": RANDOM})
    download(server.record(), tmp_path / "quiet", patience=AT_ONCE)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    download(server.record(), tmp_path / "shown", patience=AT_ONCE)
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert shown.split("\r")[-1].startswith("data.bin: 100%|")


def test_a_marker_of_a_newer_format_is_refused(serve, tmp_path):
    server, folder = serve({"data.bin": RANDOM}), tmp_path / "data"
    download(server.record(), folder, patience=AT_ONCE)
    marker = folder / MARKER
    note = json.loads(marker.read_text())
    assert note.pop("format") == 1
    marker.write_text(json.dumps(note | {"format": 2}))
    with pytest.raises(UserError, match=r"downloaded\.json: is of format 2, .*: install a newer fetal_jax$"):
        download(server.record(), folder, patience=AT_ONCE)
    marker.write_text(json.dumps(note))  # as it was written before there were formats
    assert download(server.record(), folder, patience=AT_ONCE) == folder
