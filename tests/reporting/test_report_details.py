"""The sections of a report that `details` fill: numbers, words, and what is left out where there is nothing."""

import dataclasses
import re

import numpy as np
import pytest

from benchmarks.report import made_up
from fetal_jax.core.types import DatasetFacts
from fetal_jax.reporting.report import Explanation, Report, write_report
from fetal_jax.reporting.sections import ablation as report_beside
from fetal_jax.reporting.sections import scores as report_scores

HOSTILE = "<script>alert('x')</script> $a$ & \"more\""
FACTS = DatasetFacts("d", "a dataset", ("background", "head"), ((0, 0, 0), (0, 9, 0)), "its name", "none", "")


@pytest.fixture
def page(tmp_path):
    """The report with these details and scores as HTML."""

    def page(details, test=None, **changes):
        path = tmp_path / "report.html"
        summary = {"test": test} if test else {}
        write_report(path, Report("A run", {}, {}, [], [], summary, FACTS, [], [], details=details, **changes))
        return path.read_text(encoding="utf-8")

    return page


def text(html):
    body = html[html.index("<body>") :]
    return " ".join(re.sub(r"<svg.*?</svg>|<[^>]+>", " ", body, flags=re.S).split())


def cells(html, heading):
    """The cells of the first table row with that heading, an interval in brackets."""
    row = re.search(rf"<tr[^>]*>\s*<th[^>]*>{re.escape(heading)}.*?</th>(.*?)</tr>", html, re.S)[1]
    found = re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)
    return [re.sub(r"<small>(.*?)</small>", r" (\1)", cell).strip() for cell in found]


def sections(html):
    return re.findall(r'<section id="(.*?)">', html)


def scores(**metrics):
    table = {metric: {"head": value, "mean": value} for metric, value in metrics.items()}
    median = {metric: {"head": value + 0.01} for metric, value in metrics.items()}
    about = {"n_images": 160, "n_subjects": 129, "defined": {metric: {"head": 158} for metric in metrics}}
    return {"per_image": table, "per_subject": table, "pooled": table, "median": median, **about}


def test_scores_have_intervals_medians_and_the_number_of_images(page):
    interval = {"per_image": {"dice": {"mean": [0.9527, 0.96716]}}, "per_subject": {"dice": None}}
    html = page({"intervals": interval}, scores(dice=0.9606, specificity=0.98, f1=0.9606))
    assert cells(html, "Dice") == ["0.9606 (0.953–0.967)", "0.9606", "0.9606", "0.9706 (of 158)"]
    assert cells(html, "Specificity")[0] == "0.9800"
    assert "test Dice, per image 95 %: 0.953–0.967 0.9606 test Dice, per subject" in text(html)
    assert "F1 equals Dice" in text(html)
    assert 'class="f1"' not in html


def test_distances_are_in_millimetres_where_there_are_any(page):
    both = scores(dice=0.9, hd95_px=18.5, hd95_mm=2.664, surface_dice_mm=0.71912)
    html = page({"intervals": {"per_image": {"hd95_mm": {"mean": [2.1, 3.25]}}}}, both)
    assert cells(html, "HD95") == ["2.66 (2.10–3.25)", "2.66", "2.66", "2.67 (of 158)"]
    assert cells(html, "Surface Dice")[0] == "0.7191"
    assert "In millimetres, on 160 images" in text(html)
    assert "18.50" not in html


def test_images_without_a_pixel_size_are_not_counted_as_measured(page):
    some = scores(dice=0.9, hd95_mm=2.664)
    some["defined"]["hd95_mm"] = {"head": 150}
    html = page({}, some)
    assert "In millimetres, on 152 images" in text(html)
    assert "8 images without a known pixel size: in no number of this section." in text(html)
    assert "without a known pixel size" not in page({}, scores(dice=0.9, hd95_mm=2.664))


def test_the_networks_of_an_ensemble_are_named():
    summary = {"test_ensemble": scores(dice=0.9), "ensemble": ["seed0", "seed1"]}
    report = Report("A run", {}, {}, [], [], {"test": scores(dice=0.8)} | summary, FACTS, [], [])
    columns = report_beside.results(report)
    assert [column["note"] for column in columns if column["title"] == "Ensemble"] == ["seed0, seed1"]


def test_one_is_not_many_and_the_dice_of_several_structures_is_explained(page, monkeypatch):
    found = {"uncertainty": {"coverage": [1.0], "risk": [0.1]}}
    one = scores(dice=0.9) | {"n_images": 1, "n_subjects": 1}
    html = text(page(found, one))
    assert "on 1 image of 1 subject" in html
    assert "The mean risk of 1 test image when" in html
    assert "mean over the structures" not in html
    two = DatasetFacts("d", "a dataset", ("background", "head", "csp"), ((0, 0, 0),) * 3, "its name", "none", "")
    monkeypatch.setitem(globals(), "FACTS", two)
    assert "Dice of an image: mean over the structures that it shows." in text(page(found))


def test_distances_are_in_pixels_where_no_spacing_is_known(page):
    html = page({"mm_note": "The size of a pixel is not known."}, scores(dice=0.9, hd95_px=18.5))
    assert cells(html, "HD95")[0] == "18.50"
    assert "The size of a pixel is not known." in text(html)
    assert "In pixels, on 160 images" in text(html)


def test_results_with_tta_and_post_processing_stand_beside():
    chosen = {"tta": {"chosen": "flips"}, "postprocess": {"chosen": "largest"}}
    results = {"test": scores(dice=0.9, hd95_mm=3.0), "test_tta": scores(dice=0.91, hd95_mm=2.5)}
    report = Report("A run", {}, {}, [], [], results | {"test_cleaned": scores(dice=0.92)}, FACTS, [], [])
    columns = report_beside.results(dataclasses.replace(report, details={"choices": chosen}))
    assert [(c["title"], c["note"]) for c in columns][1:] == [("With TTA", "flips"), ("Post-processed", "largest")]
    made = report_scores.scores(report)["beside"]
    assert [row["cells"] for row in made if row["average"] == "pooled"] == [
        ["0.9000", "0.9100", "0.9200"],
        ["3.00", "2.50", "–"],
    ]


def test_the_gain_is_told_with_its_test(page):
    gain = {"before": "fine_tune", "after": "retrain", "n": 129, "difference": 0.00481, "low": -0.0006, "high": 0.009}
    gain |= {"wilcoxon_p": 2.6e-6, "effect": 0.2009, "smallest_gain": 0.00595, "verdict": "the last stage is better"}
    html = page({"gain": gain})
    assert "retrain against fine_tune Verdict: the last stage is better." in text(html)
    assert cells(html, "Mean gain in Dice, points") == ["+0.48"]
    assert cells(html, "95 % interval") == ["−0.06 to +0.90"]
    assert cells(html, "Wilcoxon signed-rank test") == ["p &lt; 0.0001"]
    assert cells(html, "Effect (Cohen&#39;s d of the differences)") == ["0.20"]
    assert cells(html, "Smallest gain") == ["0.60"]


def test_choices_tell_every_candidate_and_the_reason(page):
    rows = [("none", 0.9542, 0.0, None), ("largest", 0.9642, 0.01, 0.003)]
    candidates = [dict(zip(("name", "mean", "difference", "p"), row, strict=True)) for row in rows]
    html = page(
        {
            "choices": {
                "tta": None,
                "postprocess": {"chosen": "largest", "reason": "it is better", "candidates": candidates},
            }
        }
    )
    assert "Post-processing: largest it is better" in text(html)
    assert cells(html, "none") == ["0.9542", "–", "–"]  # the baseline is compared with nothing
    assert re.search(r'<tr class="chosen"><th>largest</th><td>0.9642</td><td>\+1.00</td><td>p = 0.003</td>', html)


def test_the_confusion_matrix_is_in_shares_of_the_reference(page):
    html = page({"confusion": {"classes": ["background", "head"], "pixels": [[9900, 100], [30, 970]]}})
    assert cells(html, "background") == ["99.00 %", "1.00 %"]
    assert cells(html, "head") == ["3.00 %", "97.00 %"]
    assert "10,000 px" in html
    empty = page({"confusion": {"classes": ["background", "head"], "pixels": [[5, 0], [0, 0]]}})
    assert cells(empty, "head") == ["–", "–"]


def test_a_class_without_a_curve_is_named(page):
    line = {"x": [0.0, 0.5, 1.0], "y": [0.0, 0.6, 1.0], "auc": 0.55}
    nothing = {"x": [None, None], "y": [None, None], "auc": None}
    html = page({"curves": {"head": {"roc": line, "pr": line}, "tail": {"roc": nothing, "pr": nothing}}})
    assert "<figcaption>ROC; none of tail</figcaption>" in html
    assert "head, area 0.5500" in html


def test_calibration_is_drawn_with_its_numbers(page):
    bins = [{"confidence": None, "accuracy": None, "share": 0.0}, {"confidence": 0.9, "accuracy": 0.8, "share": 1.0}]
    html = page({"calibration": {"ece": 0.1, "brier": 0.0153, "bins": bins}})
    assert "calibration error 0.1000, Brier score 0.0153" in text(html)
    assert "<figcaption>Reliability</figcaption><svg" in html
    assert sections(page({"calibration": {"ece": None, "brier": None, "bins": bins[:1]}})) == ["settings"]


def test_sizes_are_told_to_the_digits_of_their_spread(page):
    size = {"title": "Head circumference", "unit": "mm", "n": 3, "n_missing": 2, "bias": -1.468, "sd": 8.33}
    size |= {
        "low": -17.796,
        "high": 14.859,
        "mad": 4.0592,
        "half_width": 13.039,
        "n_calibration": 36,
        "coverage": 0.8992,
    }
    size |= {"reference": [100.0, 200.0, 300.0], "difference": [-10.0, 2.0, 4.0]}
    area = size | {"title": "Area", "unit": "mm²", "sd": 328.0, "half_width": None, "coverage": None}
    html = page({"biometry": {"measures": {"hc_mm": size, "area": area}, "note": "A point a subject."}})
    assert cells(html, "Head circumference") == [
        "−1.47 (−17.80 to 14.86 (few subjects))",
        "4.06",
        "± 13.04 (from 36)",
        "89.9 %",
    ]
    assert cells(html, "Area") == ["−1 (−18 to 15 (few subjects))", "4", "– (from 36)", "–"]
    assert "3 subjects 2 images not measured" in text(html)
    assert "few subjects" not in page({"biometry": {"measures": {"hc_mm": size | {"n": 10}}}})
    assert html.count("limits of agreement</text>") == 2
    assert html.count("90 % interval</text>") == 1  # the area has none


def test_abstention_and_its_areas_are_told(page):
    found = {
        "coverage": [0.5, 1.0],
        "risk": [0.01, 0.04],
        "area": 0.025,
        "random": 0.04,
        "ideal": 0.02,
        "correlation": 0.7,
        "n_undefined": 3,
    }
    html = page({"uncertainty": found})
    assert "Left out: 3 images with no structure and none found." in text(html)
    assert cells(html, "by the network") == ["0.0250"]
    assert cells(html, "the best order there is") == ["0.0200"]
    assert "of 2 test images" in text(html)
    assert "the true one: 0.70." in text(html)


def test_anomalies_are_told_apart_only_where_some_are_known(page):
    most = [{"name": "a", "subject": "s", "score": 5.25, "words": "hc_mm is 5.2 SD above normal"}]
    known = {
        "normal": [1.0, 2.0, None],
        "anomalous": [5.25],
        "auroc": 1.0,
        "low": 0.9,
        "high": 1.0,
        "kinds": {"lv": None},
    }
    html = page({"anomaly": known | {"most": most, "note": "A phantom is no clinical evidence."}})
    assert (
        "1 subject with a known anomaly against 2 without: area under the ROC curve 1.000 (95 % interval 0.900–1.000)"
        in text(html)
    )
    assert cells(html, "lv") == ["–"]
    assert cells(html, "a, subject s") == ["5.25", "hc_mm is 5.2 SD above normal"]
    assert "A phantom is no clinical evidence." in text(html)
    without = page({"anomaly": {"normal": [1.0, 2.0], "anomalous": [], "auroc": None, "most": []}})
    assert "No anomaly is known among 2 test subjects" in text(without)
    assert "test subjects (2)" in without


def test_robustness_marks_the_changes_that_a_test_shows(page):
    rows = [(10.0, 0.95, 0.01, 0.2), (20.0, 0.90, 0.06, 0.001)]
    drops = [
        {"strength": s, "unit": "grey levels", "dice": d, "low": d, "high": d, "drop": x, "p": p} for s, d, x, p in rows
    ]
    clean = {"dice": 0.96, "low": 0.95, "high": 0.97}
    html = page({"robustness": {"n_images": 8, "n_subjects": 7, "clean": clean, "perturbations": {"noise": drops}}})
    assert "as they are: 0.9600 (0.950–0.970), on 8 test images of 7 subjects" in text(html)
    assert cells(html, "noise") == ["−1.00 (at 10)", "−6.00 (at 20)"]
    assert html.count('<td class="shown">−6.00') == 1
    assert 'class="shown">−1.00' not in html


def test_the_spread_over_seeds_is_told_where_it_was_measured(page):
    row = {"strength": 10.0, "mean": 0.91234, "sd": 0.00456, "icc": 0.71239}
    drop = {"strength": 10.0, "unit": "grey levels", "dice": 0.9, "low": 0.8, "high": 1.0, "drop": 0.0, "p": None}
    found = {"n_images": 8, "n_subjects": 7, "clean": {"dice": 0.96}, "perturbations": {"noise": [drop]}}
    seeds = {"workdirs": ["a", "b", "c"], "clean": row | {"mean": 0.95}, "perturbations": {"noise": [row]}}
    html = page({"robustness": found | {"seeds": seeds}})
    assert "Over 3 seeds" in text(html)
    assert cells(html, "as they are") == ["0.9500 (± 0.0046)"]
    assert "<td>0.9123<small>± 0.0046</small></td>" in html
    assert "the images as they are: 0.712." in text(html)
    assert "seeds" not in text(page({"robustness": found}))


def test_explanations_have_their_maps_and_words(page):
    image, mask = np.zeros((30, 40), np.uint8), np.eye(30, 40, dtype=np.uint8)
    maps = {"Grad-CAM, decoder/up4": np.zeros((30, 40, 3), np.uint8)}
    one = Explanation("010_HC", "010", "head", image, None, mask, maps, ["passes the sanity check"], 0.7126)
    html = page({}, explanations=[one, dataclasses.replace(one, concentration=None)])
    assert "010_HC · subject 010 · head: concentration 0.713 reference and prediction" in text(html)
    assert html.count("data:image/jpeg") == 4
    assert html.count("<b>Grad-CAM, decoder/up4</b>") == 2
    assert "passes the sanity check" in text(html)


def test_every_part_may_be_missing_or_empty(page):
    full = made_up(10).details
    assert len(full) > 10
    for nothing in ({}, None):
        assert sections(page(dict.fromkeys(full, nothing))) == ["settings"]


def hollow(value):
    """The same data with every number gone, but counts and strengths."""
    if isinstance(value, dict):
        return {key: each if key == "strength" else hollow(each) for key, each in value.items()}
    if isinstance(value, list):
        return [hollow(each) for each in value]
    return None if isinstance(value, float) else value


def test_every_number_may_be_null(page):
    words = text(page(hollow(made_up(10).details), scores(dice=0.9)))
    assert "None" not in words
    assert "nan" not in words.lower().split()
    assert "Robustness" in words


def test_every_text_of_the_details_is_escaped(page):
    def poison(value):
        if isinstance(value, dict):
            return {key: poison(each) for key, each in value.items()}
        return HOSTILE if isinstance(value, str) else value

    details = poison(made_up(10).details)
    details["curves"] = {HOSTILE: details["curves"]["brain"]}
    details["anomaly"] |= {
        "kinds": {HOSTILE: 0.9},
        "most": [{"name": HOSTILE, "subject": "s", "score": 1.0, "words": HOSTILE}],
    }
    details["robustness"]["perturbations"] = {HOSTILE: poison(details["robustness"]["perturbations"]["perturbation 0"])}
    details["choices"] = {HOSTILE: {"chosen": HOSTILE, "reason": HOSTILE, "candidates": []}}
    html = page(details | {"mm_note": HOSTILE}, scores(dice=0.9, hd95_px=1.0))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 12
