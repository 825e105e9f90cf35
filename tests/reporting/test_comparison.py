import csv
import json
import re

import numpy as np
import pytest
from markupsafe import Markup

from fetal_jax.core.types import UserError
from fetal_jax.evaluation.comparison import higher_is_better
from fetal_jax.reporting.charts.comparison import WORSE, differences_by_subject
from fetal_jax.reporting.compare import compare
from fetal_jax.statistics.paired import paired
from input_pipeline.splits import PARTS, Splits

HOSTILE = "<script>alert('x')</script>"
SUBJECTS = [f"S{i // 2}" for i in range(24)]  # two images of each of twelve subjects
NAMES = [f"S{i // 2}_{i % 2}" for i in range(24)]


def dice(shift=0.0, classes=1, seed=0):
    """Scores of the 24 images, of which the noise is the run's own."""
    base = np.random.default_rng(99).uniform(0.6, 0.8, (24, classes))
    return base + np.random.default_rng(seed).normal(shift, 0.01, base.shape)


@pytest.fixture
def run(tmp_path):
    """Writes the workdir of an evaluated run and returns its path."""

    def write(folder, values=None, classes=("csp",), names=NAMES, subjects=SUBJECTS, dataset="phantom", **config):
        workdir = tmp_path / folder
        workdir.mkdir()
        parts = dict.fromkeys(PARTS, ()) | {"test": tuple(names), "labelled": tuple(config.pop("labelled", ()))}
        Splits(f"{dataset}:1", 0, parts, {"test": len(set(subjects))}, None, {}).save(workdir / "splits.json")
        (workdir / "config.json").write_text(json.dumps({"format": 2, "seed": 0, "model": {"name": "unet"}} | config))
        summary = {"dataset": dataset, "model": "unet", "final_stage": "retrain"}
        (workdir / "summary.json").write_text(json.dumps(summary))
        values = dice(classes=len(classes)) if values is None else values
        with (workdir / "per_image.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["name", "subject", "class", "accuracy", "dice", "hd95_mm"])
            for name, subject, row in zip(names, subjects, values, strict=True):
                for label, value in zip(classes, row, strict=True):
                    cells = ["", ""] if np.isnan(value) else [f"{value:.6f}", f"{100 * (1 - value):.6f}"]
                    writer.writerow([name, subject, label, "", *cells])
        return workdir

    return write


def cells(html, label, number=0):
    """The cells of the rows of a class in the tables of pairs, without the words beside a value."""
    rows = re.findall(rf"<tr[^>]*><th>{label}</th>(.*?)</tr>", html, re.S)
    return re.findall(r"<td>(.*?)(?:<small>(.*?)</small>)?</td>", rows[number])


def refused(workdirs, message, **options):
    with pytest.raises(UserError, match=message) as caught:
        compare(workdirs, **options)
    assert "\n" not in str(caught.value)
    assert not list(workdirs[0].glob("*.html") if workdirs else [])


def test_the_numbers_are_those_of_the_paired_tests(run):
    a, b = dice(seed=1), dice(0.02, seed=2)
    runs = run("unet", a), run("case_unet", b, model={"name": "case_unet"})
    lines = compare(runs)
    result = paired(np.round(a[:, 0], 6), np.round(b[:, 0], 6), SUBJECTS)
    assert lines[0] == "dice of 24 test images of 12 subjects"
    assert lines[2].startswith("case_unet against unet")
    assert re.search(rf"csp +{result.mean_a:.4f} \[.*\] +{result.mean_b:.4f} \[", lines[4])
    found = cells((runs[0] / "comparison.html").read_text(), "csp")
    assert [value for value, _ in found] == [
        f"{result.mean_a:.4f}",
        f"{result.mean_b:.4f}",
        f"{result.difference:+.4f}",
        "12",
        "&lt;0.0001",
        *(f"{p:.4f}" for p in (result.wilcoxon_p, result.permutation_p, result.wilcoxon_p)),
        f"{result.effect:+.2f}",
        found[-1][0],
    ]
    assert result.t_p < 1e-4
    assert found[2][1] == f"[{result.low:+.4f}, {result.high:+.4f}]"
    assert 0 < float(found[-1][0]) < 0.02
    assert lines[5] == f"  csp: case_unet is better (p = {result.wilcoxon_p:.2g})"
    assert lines[-1] == f"page: {runs[0] / 'comparison.html'}"


def test_of_distances_less_is_better(run):
    lines = compare([run("unet", dice(seed=1)), run("case_unet", dice(0.02, seed=2))], "hd95_mm")
    assert "  csp: case_unet is better (p = 0.00049)" in lines
    assert re.search(r"csp +\d\d\.\d\d \[\d\d\.\d\d, \d\d\.\d\d\]", lines[5])
    assert lines[1] == "less is better"
    assert not higher_is_better("assd_px")
    assert higher_is_better("surface_dice_mm")


def test_rows_may_stand_in_another_order(run):
    a, b = run("a", dice(seed=1)), run("b", dice(0.02, seed=2))
    before = compare([a, b])
    head, *rows = (b / "per_image.csv").read_text().splitlines()
    (b / "per_image.csv").write_text("\n".join([head, *rows[::-1]]))
    assert compare([a, b]) == before


def test_several_runs_are_compared_in_pairs_and_corrected_for_their_number(run):
    runs = [run("a", dice(seed=1)), run("b", dice(0.02, seed=2)), run("c", dice(0.002, seed=3), size=128)]
    lines = compare(runs)
    assert [line.split(";")[0] for line in lines if " against " in line] == [
        "b against a",
        "c against a",
        "c against b",
    ]
    html = (runs[0] / "comparison.html").read_text()
    p, corrected = (
        [float(cells(html, "csp", pair)[column][0].replace("&lt;", "")) for pair in range(3)] for column in (5, 7)
    )
    assert corrected[0] == pytest.approx(3 * min(p), abs=2e-4)
    assert corrected[1] == pytest.approx(max(p), abs=2e-4)
    assert any(line.startswith("Holm: Wilcoxon's p corrected for 3 pairs") for line in lines)


def test_classes_stand_beside_their_mean_and_undefined_images_are_counted(run):
    a, b = dice(classes=2, seed=1), dice(classes=2, seed=2)
    a[3, 1], b[3, 1], b[4, 1] = np.nan, 0, np.nan
    runs = run("a", a, ("brain", "csp")), run("b", b, ("brain", "csp"))
    lines = compare(runs)
    assert "  csp: left out: a has a false positive in 1 image; b has a false positive in 1 more" in lines
    html = (runs[0] / "comparison.html").read_text()
    mean = paired(*(np.nanmean(np.round(x, 6), 1) for x in (a, b)), SUBJECTS)
    assert cells(html, "all structures of an image")[1][0] == f"{mean.mean_b:.4f}"
    kept = [i for i in range(24) if i not in (3, 4)]
    csp = paired(a[kept, 1], b[kept, 1], [SUBJECTS[i] for i in kept])
    assert cells(html, "csp")[2][0] == f"{csp.difference:+.4f}"


def test_images_are_left_out_for_reasons_that_are_told(run):
    a, b = dice(seed=1), dice(seed=2)
    a[:6], b[:6], a[6], b[6] = np.nan, np.nan, np.nan, 0
    runs = run("a", a), run("b", b)
    words = "left out: 6 images where it is rightly absent from both; b has a false positive in 1 more"
    assert f"  csp: {words}" in compare(runs)
    assert words in (runs[0] / "comparison.html").read_text()
    for folder in runs:
        table = folder / "per_image.csv"
        rows = [line.rsplit(",", 1)[0] + "," if "S9_" in line else line for line in table.read_text().splitlines()]
        table.write_text("\n".join(rows))
    assert f"  csp: {words}; 2 images without a pixel size, so without millimetres" in compare(runs, "hd95_mm")


def test_a_copy_is_called_one_and_is_no_other_seed(run):
    runs = [run("a", dice(seed=1)), run("copy", dice(seed=1)), run("b", dice(seed=2))]
    lines = compare(runs)
    assert "note: a and copy have the same scores: is one a copy of the other?" in lines
    assert not any("ICC" in line or "of the other?" in line for line in lines if "b" in line.split() or "ICC" in line)
    assert cells((runs[0] / "comparison.html").read_text(), "csp")[-1] == ("–", "")


def test_a_page_is_refused_where_it_cannot_be_written(run, tmp_path):
    runs = [run("a"), run("b")]
    refused(runs, r"--out .*/none/x.html: the folder .*/none does not exist", out=tmp_path / "none" / "x.html")
    refused(runs, r"--out .* is a folder: name a file in it", out=tmp_path)


def test_the_axis_of_the_chart_is_that_of_the_differences(monkeypatch):
    drawn = []
    monkeypatch.setattr("fetal_jax.reporting.charts.style.to_svg", lambda figure: drawn.append(figure) or Markup())
    differences_by_subject({"csp": (np.array([0.01, 0.02]), -0.05, 0.08)}, label="difference in dice")
    assert drawn[0].axes[0].get_xlim() == pytest.approx((-0.0012, 0.0212))


def test_only_classes_in_common_are_compared_and_the_others_are_named(run):
    lines = compare([run("a", classes=("brain", "csp")), run("b", classes=("csp", "lv"))])
    assert not any(line.startswith("  brain") or line.startswith("  mean") for line in lines)
    assert "note: Not compared, as not every run has it: brain of a." in lines
    assert "note: Not compared, as not every run has it: lv of b." in lines


def test_runs_that_differ_only_by_their_seed_have_an_agreement(run):
    runs = [run("s0", dice(seed=1)), run("s1", dice(seed=2), seed=1), run("other", dice(seed=3), seed=2, size=96)]
    lines = [line for line in compare(runs) if line.startswith("between seeds")]
    assert len(lines) == 1
    assert re.match(r"between seeds: ICC\(2,1\) of csp 0\.9\d \[.*\] \(s0, s1; seeds 0, 1; 12 subjects\)", lines[0])
    assert "Agreement between seeds" in (runs[0] / "comparison.html").read_text()
    assert not any("ICC" in line for line in compare([runs[0], runs[2]]))


def test_too_few_subjects_are_told_so(run):
    few = {"names": NAMES[:10], "subjects": SUBJECTS[:10]}
    lines = compare([run("a", dice(seed=1)[:10], **few), run("b", dice(0.05, seed=2)[:10], **few)])
    assert "  csp: n = 5 cannot reach p < 0.05 by Wilcoxon (at least 0.062)" in lines
    assert any(line.startswith("note: Only 5 test subjects") for line in lines)


def test_a_run_that_scores_the_same_and_one_that_has_no_score(run):
    nothing = np.full((24, 1), np.nan)
    runs = [run("a"), run("b"), run("c", nothing)]
    lines = compare(runs)
    assert "  csp: no difference on any of n = 12" in lines
    assert lines.count("  csp: nothing to compare: no image is defined in both") == 2
    assert cells((runs[0] / "comparison.html").read_text(), "csp", 1)[0] == ("–", "")


def test_another_split_of_the_same_test_images_is_mentioned(run):
    lines = compare([run("a"), run("b", labelled=["x"])])
    assert "note: b has the test images of a but another split: it trained on other images." in lines


def test_settings_of_stages_by_which_runs_differ_are_named(run):
    stages = [{"name": "decoder", "epochs": 2}, {"name": "retrain", "epochs": 10}]
    longer = [stages[0], {"name": "retrain", "epochs": 30}]
    runs = [run(name, stages=each) for name, each in (("a", stages), ("b", longer), ("c", stages[:1]))]
    compare(runs)
    html = (runs[0] / "comparison.html").read_text()
    assert "stages.retrain.epochs = 30" in html
    assert re.search(r"stages = decoder\s*<", html)


def test_the_page_is_one_file_and_everything_in_it_is_escaped(run, tmp_path):
    runs = [run("a", classes=(HOSTILE, "$x")), run("b & <i>", classes=(HOSTILE, "$x"), note=HOSTILE)]
    compare(runs, out=tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "<script" not in html
    assert "<i>" not in html.replace("<i style", "")
    assert "note = &lt;script&gt;" in html
    assert not re.search(r"(src|href)=\"(?!#)", html)
    assert html.count("<svg") == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["page.html"]


def test_the_chart_has_a_dot_a_subject():
    rows = {"csp": (np.array([-0.01, 0.02, 0.05]), -0.02, 0.04), HOSTILE: (np.array([0.1]), np.nan, np.nan)}
    svg = differences_by_subject(rows | {"lv": (np.array([]), np.nan, np.nan)}, label="difference in dice")
    dots = [len(re.findall("<use ", part)) for part in svg.split("PathCollection")[1:]]
    assert dots[0] == 3
    assert svg.count(f"fill: {WORSE}") == 1
    assert "difference in dice" in svg
    assert "<script" not in svg
    assert svg == differences_by_subject(rows | {"lv": (np.array([]), np.nan, np.nan)}, label="difference in dice")


def test_folders_of_one_name_are_called_by_their_paths(run, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    runs = [run("x/run"), run("y/run", dice(seed=5))]
    assert f"{runs[1]} against {runs[0]}" in compare(runs)[2]


def test_runs_of_other_test_images_are_refused_and_the_images_named(run):
    other = run("b", names=["q1", "q2", "q3", "q4", *NAMES[4:]])
    refused(
        [run("a"), other], r"4 only in a \(S0_0, S0_1, S1_0, ...\); 4 only in b \(q1, q2, q3, ...\): compare runs of"
    )
    refused([run("c"), run("d", dice()[1:], names=NAMES[1:], subjects=SUBJECTS[1:])], r"images: 1 only in c \(S0_0\): ")


def test_runs_of_other_data_are_refused(run):
    refused([run("a"), run("b", dataset="hc18")], "a was tested on phantom and b on hc18: compare runs of one dataset")
    refused([run("c"), run("d", subjects=["T", *SUBJECTS[1:]])], "S0_0 is of subject S0 in c and T in d")
    refused([run("e"), run("f", classes=("lv",))], r"no class in common \(e: csp; f: lv\): compare")


def test_what_is_no_two_runs_is_refused(run, tmp_path):
    one = run("a")
    refused([], "at least two runs")
    refused([one], "at least two runs")
    refused([one, one.parent / "." / "a"], "is given twice")
    refused([one, tmp_path], "is not a workdir")
    refused(
        [one, run("b")], r"metric 'dise' is not in .*per_image.csv: choose from accuracy, dice, hd95_mm", metric="dise"
    )


@pytest.mark.parametrize("name", ["per_image.csv", "summary.json"])
def test_a_run_that_is_not_evaluated_is_refused(run, name):
    runs = run("a"), run("b")
    (runs[1] / name).unlink()
    refused(runs, f"b has no {name}: run fetal-jax evaluate")


@pytest.mark.parametrize("name", ["config.json", "summary.json"])
@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe"])
def test_damaged_json_is_refused(run, name, content):
    runs = run("a"), run("b")
    (runs[1] / name).write_bytes(content)
    refused(runs, "b/config.json is damaged" if name == "config.json" else r"b/summary.json: is not a summary of a run")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name,subject", "name,patient", "no rows below name, subject, class"),
        ("S3_1,S3,csp,", "S3_1,S3,csp", "line 9: 5 cells of 6"),
        ("S3_1,S3,", "S3_0,S3,", "line 9: csp of S3_0 a second time"),
        ("S3_1,S3,csp", "S3_0,S4,lv", "line 9: S3_0 has two subjects"),
        ("S3_1,S3,csp", "S3_0,S3,lv", "no row for"),
        ("csp,,0.", "csp,,O.", "line 2: dice is 'O.*', not a number"),
        ("csp,,0.", "csp,,inf", "line 2: dice is 'inf.*', not a number"),
        ("S3_1,S3,csp", "S3_9,S3,csp", "is not of the test images in splits.json"),
        ("S3_1,", '"S3_1,', "is damaged"),
        ("S3_1,", "\udcff,", "is damaged"),
    ],
)
def test_a_damaged_table_is_refused(run, old, new, message):
    runs = run("a"), run("b")
    table = runs[1] / "per_image.csv"
    text = table.read_text()
    assert old in text
    table.write_bytes(text.replace(old, new, 1).encode(errors="surrogateescape"))
    refused(runs, f"b/per_image.csv.*{message}")


def test_an_empty_table_is_refused(run):
    runs = run("a"), run("b")
    (runs[0] / "per_image.csv").write_text("")
    refused(runs, "a/per_image.csv is damaged")
