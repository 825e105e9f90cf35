"""The experiment on known sizes: which sizes an image shows, and the table."""

import dataclasses

import numpy as np

from experiments import biometry_hc18 as experiment
from fetal_jax.biometry.agreement import bland_altman
from input_pipeline.dataset import Dataset


def test_an_image_is_measured_for_what_its_plane_shows(data_dir):
    record = next(Dataset("fetal_phantom/tiny", data_dir).records(["S000_TC_0"]))
    assert set(experiment.known_sizes(record)) == {"hc_mm", "tcd_mm", "csp_mm"}
    thalamic = dataclasses.replace(record, about=record.about | {"plane": "trans_thalamic", "csp_mm": 0.0})
    assert set(experiment.known_sizes(thalamic)) == {"hc_mm", "lv_mm"}
    head = dataclasses.replace(record, about={"hc_mm": 77.2})
    assert experiment.known_sizes(head) == {"hc_mm": 77.2}
    assert experiment.known_sizes(dataclasses.replace(record, about={"hc_mm": 0.0})) == {}


def test_a_line_of_the_table():
    found = bland_altman(np.array([1.0, 2.0, np.nan]), np.array([0.5, 2.5, 1.0]))
    assert experiment.line("hc_mm", found).split() == ["hc_mm", "2", "1", "0.000", "0.707", "0.500", "0.500"]


def test_the_tiny_phantom_is_measured_within_its_coarse_pixels(data_dir, capsys):
    experiment.main("fetal_phantom/tiny", str(data_dir))
    lines = capsys.readouterr().out.splitlines()
    table = {line.split()[0]: [float(number) for number in line.split()[1:]] for line in lines[2:-1]}
    assert set(table) == {"csp_mm", "hc_mm", "tcd_mm"}
    assert {row[0] for row in table.values()} == {24}
    assert max(abs(row[2]) for row in table.values()) < 0.1
    assert table["hc_mm"][5] < 0.3
