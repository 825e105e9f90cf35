"""The benchmark of the report: a page with every section, and what is refused."""

import re

import pytest

from benchmarks import report as program
from fetal_jax.reporting.report import SECTIONS

pytestmark = pytest.mark.slow


def test_the_report_has_every_section_and_its_size_is_printed(tmp_path, capsys):
    assert program.main(["--images", "10", "--out", str(tmp_path / "report.html")]) == 0
    said = re.fullmatch(r"10 images: [\d.]+ s \(limit 60\), ([\d.]+) MB \(limit 20\)\n", capsys.readouterr().out)
    html = (tmp_path / "report.html").read_text()
    assert float(said[1]) == pytest.approx(len(html.encode()) / 1e6, abs=0.006)
    assert re.findall(r'<section id="(.*?)">', html) == [section.id for section in SECTIONS]


def test_a_report_that_is_too_large_fails(monkeypatch, capsys):
    monkeypatch.setattr(program, "MOST_MEGABYTES", 0.1)
    assert program.main(["--images", "10"]) == 1
    assert "(limit 0.1)" in capsys.readouterr().out


def test_too_few_images_are_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        program.main(["--images", "1"])
    assert ended.value.code == 2
    assert "--images must be at least 10" in capsys.readouterr().err
