"""The sections of a report from their results: numbers, words, and what is left out where there is nothing."""

import dataclasses
import re

import numpy as np
import pytest

from benchmarks.report import made_up
from fetal_jax.core.types import DatasetFacts
from fetal_jax.evaluation.results import (
    AnomalyResult,
    AurocResult,
    BiometryResult,
    CalibrationResult,
    ClassCurves,
    ConfusionResult,
    CorruptionResult,
    DeviantSubject,
    DiceInterval,
    MeasureResult,
    PairedTestsResult,
    PixelCurve,
    ReliabilityBin,
    RobustnessResult,
    SeedsResult,
    SeedsRow,
    UncertaintyResult,
)
from fetal_jax.evaluation.scores import Absence, Intervals, Scores
from fetal_jax.evaluation.selection import Candidate, Selection
from fetal_jax.evaluation.uncertainty import RiskCoverageCurve
from fetal_jax.reporting.report import Explanation, Report, write_report
from fetal_jax.reporting.sections import scores as scores_section

NAN = float("nan")
HOSTILE = "<script>alert('x')</script> $a$ & \"more\""
FACTS = DatasetFacts("d", "a dataset", ("background", "head"), ((0, 0, 0), (0, 9, 0)), "its name", "none", "")


FULL = made_up(10)


@pytest.fixture
def page(tmp_path):
    """A report of these sections alone, as HTML."""

    def page(facts=FACTS, **sections):
        path = tmp_path / "report.html"
        write_report(path, Report("A run", facts, {}, **sections))
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


def averages(defined=158, **metrics):
    table = {metric: {"head": value, "mean": value} for metric, value in metrics.items()}
    return Scores(
        per_image=table,
        per_subject=table,
        pooled=table,
        median={metric: {"head": value + 0.01} for metric, value in metrics.items()},
        defined={metric: {"head": defined} for metric in metrics},
        n_images=160,
        n_subjects=129,
        absent={"head": Absence(0, 0, 0)},
    )


NO_INTERVALS = Intervals({}, {}, {})


def result(test=None, intervals=NO_INTERVALS, **changes):
    """Scores of a run of one stage."""
    stages = {"supervised": test or averages(dice=0.9)}
    plain = {"with_tta": None, "postprocessed": None, "before_labelling": None, "kept_pseudo_labels": None}
    about = {"foreground": ("head",), "stages": stages, "intervals": intervals}
    return dataclasses.replace(FULL.scores, **about | plain | changes)


def per_image(**metrics):
    return Intervals({metric: {"head": ends, "mean": ends} for metric, ends in metrics.items()}, {}, {})


def test_scores_have_intervals_medians_and_the_number_of_images(page):
    test = averages(dice=0.9606, specificity=0.98, f1=0.9606)
    html = page(scores=result(test, per_image(dice=[0.9527, 0.96716])))
    assert cells(html, "Dice") == ["0.9606 (0.953–0.967)", "0.9606", "0.9606", "0.9706 (of 158)"]
    assert cells(html, "Specificity")[0] == "0.9800"
    assert "test Dice, per image 95 %: 0.953–0.967 0.9606 test Dice, per subject" in text(html)
    assert "F1 equals Dice" in text(html)
    assert 'class="f1"' not in html


def test_distances_are_in_millimetres_where_there_are_any(page):
    both = averages(dice=0.9, hd95_px=18.5, hd95_mm=2.664, surface_dice_mm=0.71912)
    html = page(scores=result(both, per_image(hd95_mm=[2.1, 3.25])))
    assert cells(html, "HD95") == ["2.66 (2.10–3.25)", "2.66", "2.66", "2.67 (of 158)"]
    assert cells(html, "Surface Dice")[0] == "0.7191"
    assert "In millimetres, on 160 images" in text(html)
    assert "18.50" not in html


def test_images_without_a_pixel_size_are_not_counted_as_measured(page):
    some = averages(dice=0.9, hd95_mm=2.664)
    some.defined["hd95_mm"]["head"] = 150
    html = page(scores=result(some))
    assert "In millimetres, on 152 images" in text(html)
    assert "8 images without a known pixel size: in no number of this section." in text(html)
    assert "without a known pixel size" not in page(scores=result(averages(dice=0.9, hd95_mm=2.664)))


def test_the_networks_of_an_ensemble_are_named():
    columns = scores_section.side_by_side(result(with_ensemble=averages(dice=0.9), ensemble=("seed0", "seed1")))
    assert [column["note"] for column in columns if column["title"] == "Ensemble"] == ["seed0, seed1"]


def uncertainty(coverage, risk, aurc=0.1, oracle=0.1, random=0.1, n_undefined=0, correlation=0.7):
    curve = RiskCoverageCurve(np.array(coverage), np.array(risk), aurc, oracle, random, n_undefined)
    return UncertaintyResult(curve, correlation)


def test_one_is_not_many_and_the_dice_of_several_structures_is_explained(page):
    found = uncertainty([1.0], [0.1])
    one = dataclasses.replace(averages(dice=0.9), n_images=1, n_subjects=1)
    html = text(page(uncertainty=found, scores=result(one)))
    assert "on 1 image of 1 subject" in html
    assert "The mean risk of 1 test image when" in html
    assert "mean over the structures" not in html
    two = DatasetFacts("d", "a dataset", ("background", "head", "csp"), ((0, 0, 0),) * 3, "its name", "none", "")
    assert "Dice of an image: mean over the structures that it shows." in text(page(two, uncertainty=found))


def test_distances_are_in_pixels_where_no_spacing_is_known(page):
    html = page(scores=result(averages(dice=0.9, hd95_px=18.5), spacing_note="The size of a pixel is not known."))
    assert cells(html, "HD95")[0] == "18.50"
    assert "The size of a pixel is not known." in text(html)
    assert "In pixels, on 160 images" in text(html)


def test_results_with_tta_and_post_processing_stand_side_by_side():
    added = {"with_tta": averages(dice=0.91, hd95_mm=2.5), "postprocessed": averages(dice=0.92)}
    made = result(averages(dice=0.9, hd95_mm=3.0), tta="flips", postprocess="largest", **added)
    columns = scores_section.side_by_side(made)
    assert [(c["title"], c["note"]) for c in columns][1:] == [("With TTA", "flips"), ("Post-processed", "largest")]
    rows = scores_section.scores(made)["beside"]
    assert [row["cells"] for row in rows if row["average"] == "pooled"] == [
        ["0.9000", "0.9100", "0.9200"],
        ["3.00", "2.50", "–"],
    ]


def test_the_gain_is_told_with_its_test(page):
    numbers = {"n": 129, "difference": 0.00481, "low": -0.0006, "high": 0.009, "wilcoxon_p": 2.6e-6}
    words = {"effect": 0.2009, "smallest_gain": 0.00595, "verdict": "the last stage is better"}
    gain = dataclasses.replace(FULL.tests.gain, **numbers, **words)
    html = page(tests=PairedTestsResult(gain, {}))
    assert "retrain against fine_tune Verdict: the last stage is better." in text(html)
    assert cells(html, "Mean gain in Dice, points") == ["+0.48"]
    assert cells(html, "95 % interval") == ["−0.06 to +0.90"]
    assert cells(html, "Wilcoxon signed-rank test") == ["p &lt; 0.0001"]
    assert cells(html, "Effect (Cohen&#39;s d of the differences)") == ["0.20"]
    assert cells(html, "Smallest gain") == ["0.60"]


def test_selections_tell_every_candidate_and_the_reason(page):
    candidates = Candidate("none", 0.9542, 0, 0, 0.0, NAN), Candidate("largest", 0.9642, 0, 9, 0.01, 0.003)
    selection = Selection("largest", "none", candidates, "it is better")
    html = page(tests=PairedTestsResult(None, {"postprocess": selection}))
    assert "Post-processing: largest it is better" in text(html)
    assert cells(html, "none") == ["0.9542", "–", "–"]  # the baseline is compared with nothing
    assert re.search(r'<tr class="chosen"><th>largest</th><td>0.9642</td><td>\+1.00</td><td>p = 0.003</td>', html)


def pixels(**changes):
    return dataclasses.replace(FULL.pixels, **changes)


@pytest.mark.slow
def test_the_confusion_matrix_is_in_shares_of_the_reference(page):
    classes = ("background", "head")
    html = page(pixels=pixels(confusion=ConfusionResult(classes, ((9900, 100), (30, 970)))))
    assert cells(html, "background") == ["99.00 %", "1.00 %"]
    assert cells(html, "head") == ["3.00 %", "97.00 %"]
    assert "10,000 px" in html
    empty = page(pixels=pixels(confusion=ConfusionResult(classes, ((5, 0), (0, 0)))))
    assert cells(empty, "head") == ["–", "–"]


@pytest.mark.slow
@pytest.mark.parametrize("nothing", [PixelCurve((NAN, NAN), (NAN, NAN), NAN), PixelCurve((), (), NAN)])
def test_a_class_without_a_curve_is_named(page, nothing):
    line = PixelCurve((0.0, 0.5, 1.0), (0.0, 0.6, 1.0), 0.55)
    html = page(pixels=pixels(curves={"head": ClassCurves(line, line), "tail": ClassCurves(nothing, nothing)}))
    assert "<figcaption>ROC; none of tail</figcaption>" in html
    assert "head, area 0.5500" in html


@pytest.mark.slow
def test_calibration_is_drawn_with_its_numbers(page):
    bins = ReliabilityBin(NAN, NAN, 0.0), ReliabilityBin(0.9, 0.8, 1.0)
    html = page(pixels=pixels(calibration=CalibrationResult(0.1, 0.0153, bins)))
    assert "calibration error 0.1000, Brier score 0.0153" in text(html)
    assert "<figcaption>Reliability</figcaption><svg" in html
    assert "Reliability" not in page(pixels=pixels(calibration=CalibrationResult(NAN, NAN, bins[:1])))


def test_sizes_are_told_to_the_digits_of_their_spread(page):
    size = MeasureResult(
        title="Head circumference",
        unit="mm",
        n=3,
        n_missing=2,
        bias=-1.468,
        sd=8.33,
        low=-17.796,
        high=14.859,
        mad=4.0592,
        reference=(100.0, 200.0, 300.0),
        difference=(-10.0, 2.0, 4.0),
        half_width=13.039,
        n_calibration=36,
        coverage=0.8992,
    )
    area = dataclasses.replace(size, title="Area", unit="mm²", sd=328.0, half_width=float("inf"), coverage=NAN)
    html = page(biometry=BiometryResult({"hc_mm": size, "area": area}, {}, "A point a subject."))
    assert cells(html, "Head circumference") == [
        "−1.47 (−17.80 to 14.86 (few subjects))",
        "4.06",
        "± 13.04 (from 36)",
        "89.9 %",
    ]
    assert cells(html, "Area") == ["−1 (−18 to 15 (few subjects))", "4", "– (from 36)", "–"]
    assert "3 subjects 2 images not measured" in text(html)
    many = BiometryResult({"hc_mm": dataclasses.replace(size, n=10)}, {}, "")
    assert "few subjects" not in page(biometry=many)
    assert html.count("limits of agreement</text>") == 2
    assert html.count("90 % interval</text>") == 1  # the area has none


def test_risk_and_coverage_and_their_areas_are_told(page):
    found = uncertainty([0.5, 1.0], [0.01, 0.04], aurc=0.025, oracle=0.02, random=0.04, n_undefined=3)
    html = page(uncertainty=found)
    assert "Left out: 3 images with no structure and none found." in text(html)
    assert cells(html, "by the network") == ["0.0250"]
    assert cells(html, "the best order there is") == ["0.0200"]
    assert "of 2 test images" in text(html)
    assert "the true one: 0.70." in text(html)


def test_anomalies_are_told_apart_only_where_some_are_known(page):
    most = (DeviantSubject("a", "s", 5.25, "hc_mm is 5.2 SD above normal"),)
    separation = AurocResult(1.0, 0.9, 1.0, {"lv": NAN})
    note = "A phantom is not clinical evidence."
    html = page(anomaly=AnomalyResult((1.0, 2.0, NAN), (5.25,), most, 0, 3, note, separation))
    assert (
        "1 subject with a known anomaly against 2 without: area under the ROC curve 1.000 (95 % interval 0.900–1.000)"
        in text(html)
    )
    assert cells(html, "lv") == ["–"]
    assert cells(html, "a, subject s") == ["5.25", "hc_mm is 5.2 SD above normal"]
    assert "A phantom is not clinical evidence." in text(html)
    without = page(anomaly=AnomalyResult((1.0, 2.0), (), (), 0, 2, "", None))
    assert "No anomaly is known among 2 test subjects" in text(without)
    assert "test subjects (2)" in without


def corruption(strength=10.0, dice=0.9, drop=0.0, p=NAN):
    return CorruptionResult(strength, "grey levels", dice, dice, dice, drop, drop, drop, p, 8)


def robustness(*rows, seeds=None):
    return RobustnessResult(8, 7, 0.01, DiceInterval(0.96, 0.95, 0.97), {"noise": rows}, seeds)


def test_robustness_marks_the_changes_that_a_test_shows(page):
    rows = corruption(10.0, 0.95, 0.01, 0.2), corruption(20.0, 0.90, 0.06, 0.001)
    html = page(robustness=robustness(*rows))
    assert "as they are: 0.9600 (0.950–0.970), on 8 test images of 7 subjects" in text(html)
    assert cells(html, "noise") == ["−1.00 (at 10)", "−6.00 (at 20)"]
    assert html.count('<td class="shown">−6.00') == 1
    assert 'class="shown">−1.00' not in html


def test_the_spread_over_seeds_is_told_where_it_was_measured(page):
    row = SeedsRow(10.0, 0.91234, 0.00456, 0.71239, 0.6, 0.8)
    seeds = SeedsResult(("a", "b", "c"), dataclasses.replace(row, mean=0.95), {"noise": (row,)})
    html = page(robustness=robustness(corruption(), seeds=seeds))
    assert "Over 3 seeds" in text(html)
    assert cells(html, "as they are") == ["0.9500 (± 0.0046)"]
    assert "<td>0.9123<small>± 0.0046</small></td>" in html
    assert "the images as they are: 0.712." in text(html)
    assert "seeds" not in text(page(robustness=robustness(corruption())))


def test_explanations_have_their_maps_and_words(page):
    image, mask = np.zeros((30, 40), np.uint8), np.eye(30, 40, dtype=np.uint8)
    maps = {"Grad-CAM, decoder/up4": np.zeros((30, 40, 3), np.uint8)}
    one = Explanation("010_HC", "010", "head", image, None, mask, maps, ["passes the sanity check"], 0.7126)
    html = page(explanations=(one, dataclasses.replace(one, concentration=None)))
    assert "010_HC · subject 010 · head: concentration 0.713 reference and prediction" in text(html)
    assert html.count("data:image/jpeg") == 4
    assert html.count("<b>Grad-CAM, decoder/up4</b>") == 2
    assert "passes the sanity check" in text(html)


def test_every_section_may_be_missing(page):
    fields = [field for field in dataclasses.fields(Report) if field.default is None]
    assert {"scores", "tests", "pixels", "biometry", "uncertainty", "anomaly"} < {field.name for field in fields}
    assert sections(page(**{field.name: None for field in fields})) == ["settings"]
    assert sections(page(tests=PairedTestsResult(None, {}), biometry=BiometryResult({}, {}, ""))) == ["settings"]


def hollow(value):
    """The same results with every number gone, but counts and strengths."""
    if dataclasses.is_dataclass(value):
        kept = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return type(value)(**{k: each if k == "strength" else hollow(each) for k, each in kept.items()})
    if isinstance(value, np.ndarray):
        return np.full_like(value, np.nan)
    if isinstance(value, dict):
        return {key: hollow(each) for key, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(hollow, value))
    if isinstance(value, list | tuple):
        return type(value)(map(hollow, value))
    return NAN if isinstance(value, float) else value


RESULTS = ("scores", "tests", "pixels", "uncertainty", "biometry", "anomaly", "robustness")


@pytest.mark.slow
def test_every_number_may_be_undefined(page):
    words = text(page(FULL.facts, **{name: hollow(getattr(FULL, name)) for name in RESULTS}))
    assert "None" not in words
    assert "nan" not in words.lower().split()
    assert "Robustness" in words


def poison(value):
    """The same results with every word hostile; keys that are looked up stay."""
    if dataclasses.is_dataclass(value):
        return dataclasses.replace(value, **{f.name: poison(getattr(value, f.name)) for f in dataclasses.fields(value)})
    if isinstance(value, dict):
        return {key: poison(each) for key, each in value.items()}
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(map(poison, value))
    return HOSTILE if isinstance(value, str) else value


@pytest.mark.slow
def test_every_text_of_the_results_is_escaped(page):
    found = {name: poison(getattr(FULL, name)) for name in RESULTS if name != "scores"}
    curves = {HOSTILE: FULL.pixels.curves["brain"]}
    found["pixels"] = dataclasses.replace(found["pixels"], curves=curves)
    found["anomaly"] = dataclasses.replace(
        found["anomaly"], separation=dataclasses.replace(found["anomaly"].separation, kinds={HOSTILE: 0.9})
    )
    rows = found["robustness"].perturbations["corruption 0"]
    found["robustness"] = dataclasses.replace(found["robustness"], perturbations={HOSTILE: rows})
    test = averages(dice=0.9, hd95_px=1.0)
    html = page(scores=result(test, spacing_note=HOSTILE, with_tta=test, tta=HOSTILE), **found)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 12
