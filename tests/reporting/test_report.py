import base64
import dataclasses
import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from benchmarks.report import made_up
from fetal_jax.core.types import DatasetFacts
from fetal_jax.evaluation.protocol import LabellingResult, PseudoLabelFacts, StageResult, TrainingHistory
from fetal_jax.evaluation.scores import Absence, Intervals, Scores
from fetal_jax.reporting.report import GalleryImage, PseudoLabelsResult, Report, write_report
from fetal_jax.reporting.sections import gallery as gallery_section
from input_pipeline.splits import Request, Splits

VOID = {"meta", "img", "br", "link", "input", "hr", "path", "use", "rect"}
HOSTILE = "<script>alert('x')</script> & \"more\""


class Page(HTMLParser):
    """The tags, attributes and text of a page; fails on tags that do not nest."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.words, self._open = [], [], [], []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.words += data.split()

    @property
    def text(self):
        return " ".join(self.words)


def rows(html, heading):
    """The cells of the table rows with that heading."""
    found = re.findall(rf"<tr[^>]*>\s*<th[^>]*>{heading}</th>(.*?)</tr>", html, re.S)
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in found]


def beside(html, metric="dice"):
    """The cells of a metric in the table of several results: a list an average."""
    table = re.search(r'<table class="scores beside">(.*?)</table>', html, re.S)[1]
    found = re.findall(rf'<tr class="{metric}">(.*?)</tr>', table, re.S)
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in found]


def averages(dice, classes=("cerebellum",), **extra):
    def table(value):
        return dict.fromkeys((*classes, "mean"), value)

    metrics = {m: table(0.5) for m in ("jaccard", "precision", "recall", "accuracy")}
    tables = {
        name: metrics | {"dice": table(dice + shift)}
        for name, shift in (("per_image", 0), ("per_subject", 0.01), ("pooled", 0.02))
    }
    undefined = {metric: dict.fromkeys(classes) for metric in (*metrics, "dice")}
    defined = {metric: dict.fromkeys(classes, 37) for metric in undefined}
    about = {"median": undefined, "defined": defined, "n_images": 40, "n_subjects": 31}
    return Scores(**tables, **about | {"absent": {name: Absence(3, 4, 5) for name in classes}} | extra)


def result(classes=("cerebellum",), **changes):
    """The scores of a run of three stages."""
    made = made_up(10).scores
    stages = {"decoder": averages(0.7), "fine_tune": averages(0.8), "retrain": averages(0.85)}
    nothing = {"intervals": Intervals({}, {}, {}), "postprocessed": None, "with_tta": averages(0.84)}
    return dataclasses.replace(made, **{"foreground": classes, "stages": stages, **nothing, **changes})


def with_test(scores, **changes):
    """The run's result with other scores of its last stage."""
    return result(stages={**result().stages, "retrain": scores}, **changes)


def example(title="best", shape=(54, 80), labels=True, name="010_HC"):
    reference = np.zeros(shape, np.uint8)
    reference[10:40, 10:40] = 1
    prediction = np.roll(reference, 4, axis=1)
    image = np.full(shape, 60, np.uint8)
    return GalleryImage(title, name, "010", 0.87654, image, reference if labels else None, prediction)


def pool_image(number, kept):
    reason = "kept" if kept else "fewer than 10 foreground pixels above 0.95"
    numbers = (800 + number, 0.98) if kept else (3, 0.0)
    return PseudoLabelFacts(f"pool_{number}", f"p{number}", kept, reason, *numbers)


def labelling(n_kept=3, stage="retrain"):
    images = tuple(pool_image(i, kept=4 - i <= n_kept) for i in range(4))
    return LabellingResult(stage, "threshold", {"threshold": 0.95, "minimum_pixels": 10}, 4, n_kept, images)


def metrics_lines():
    lines = []
    for step in range(1, 31):
        stage = ("decoder", "fine_tune", "retrain")[(step - 1) // 10]
        train = {"loss": 1 / step, "supervised": 0.9 / step, "consistency": 0.1 / step}
        lines.append({"kind": "train", "step": step, "stage": stage, "epoch": step, **train})
        if step % 5 == 0:
            lines.append({"kind": "validation", "step": step, "stage": stage, "epoch": step, "dice": step / 40})
    return [{"kind": "stage", "step": 0, "stage": "decoder", "event": "begin"}, *lines]


def protocol(label=None):
    """Three stages, and what was labelled before the last."""
    stages = (
        StageResult("decoder", 20, 0.001, ("encoder",), "dice_bce", False, 59.6),
        StageResult("fine_tune", 50, 0.001, (), "dice_bce", False, 4012.0),
        StageResult("retrain", 20, 0.001, (), "dice_bce", True, 7.4, label or labelling()),
    )
    return stages


@pytest.fixture(scope="module")
def report():
    parts = {
        "labelled": ("a", "b", "c"),
        "unlabelled": ("d",) * 4,
        "validation": (),
        "test": ("e",) * 40,
        "unused": (),
    }
    n_subjects = {"labelled": 2, "unlabelled": 3, "validation": 0, "test": 31, "unused": 0}
    return Report(
        title="SS-CASE-UNet on a phantom",
        facts=DatasetFacts(
            name="fetal_phantom",
            title="the fetal phantom",
            classes=("background", "cerebellum"),
            colours=((0, 0, 0), (0, 200, 0)),
            subject_rule="the digits before the underscore",
            licence="Apache-2.0",
            citation="Nobody et al., https://example.org/phantom",
        ),
        config={"seed": 7, "stages": {"decoder": {"epochs": 20}}},
        dataset="fetal_phantom/trans_cerebellum",
        model="case_unet",
        n_parameters=6740036,
        splits=Splits("fetal_phantom", 7, parts, n_subjects),
        warnings=("2 images are duplicates",),
        protocol=protocol(),
        history=TrainingHistory.from_lines(metrics_lines()),
        scores=result(),
        gallery=(example("best"), example("median", (80, 54)), example("worst", (300, 400))),
        pseudo_labels=PseudoLabelsResult(
            (labelling(),), (example("kept", labels=False), example("dropped", labels=False))
        ),
        date="2026-01-31",
    )


def written(path, report):
    write_report(path, report)
    html = path.read_text(encoding="utf-8")
    return html, Page(html)


@pytest.fixture(scope="module")
def unchanged(report, tmp_path_factory):
    return written(tmp_path_factory.mktemp("unchanged") / "report.html", report)


@pytest.fixture
def write(tmp_path, report, unchanged):
    return lambda given: unchanged if given is report else written(tmp_path / "report.html", given)


@pytest.mark.slow
def test_the_page_tells_what_it_is(report, write):
    _, page = write(report)
    for words in (
        "SS-CASE-UNet on a phantom",
        "fetal_phantom/trans_cerebellum",
        "case_unet, 6,740,036 parameters",
        f"{report.splits.hash} , seed 7",
        "2026-01-31",
        "test images of 31 subjects",
        "the digits before the underscore",
        "https://example.org/phantom",
        "2 images are duplicates",
    ):
        assert words in page.text


@pytest.mark.slow
def test_what_the_split_was_asked_for_is_told(report, write):
    request = Request(0, 70, -1, 15, 0, "percent", stratify=("csp", "lv"), folds=5, fold=2)
    text, _ = write(dataclasses.replace(report, splits=dataclasses.replace(report.splits, request=request)))
    assert "70 labelled, all other unlabelled, 15 validation, 0 test (percent); stratified by csp, lv; " in text
    assert "tested on fold 2 of 5</dd>" in text
    assert "Split by subject" not in write(report)[0]


@pytest.mark.slow
def test_the_page_stands_alone(report, write):
    html, page = write(report)
    links = [value for _, name, value in page.attributes if name in ("src", "href", "xlink:href", "srcset", "action")]
    assert links
    assert all(link.startswith(("data:image/", "#")) for link in links)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


@pytest.mark.slow
def test_every_text_from_outside_is_escaped(report, write):
    classes = (HOSTILE,)
    dropped = dataclasses.replace(pool_image(1, False), reason=HOSTILE)
    label = dataclasses.replace(
        labelling(), stage=HOSTILE, labeller=HOSTILE, settings={HOSTILE: HOSTILE}, images=(dropped,)
    )
    lines = [{**line, "stage": HOSTILE + "$x$"} for line in metrics_lines()]
    hostile = dataclasses.replace(
        report,
        title=HOSTILE,
        config={HOSTILE: HOSTILE, **report.config},
        dataset=HOSTILE,
        model=HOSTILE,
        warnings=(HOSTILE,),
        protocol=(StageResult(HOSTILE, 1, 1.0, (HOSTILE,), HOSTILE, True, 1.0, label),),
        history=TrainingHistory.from_lines(lines),
        scores=result(classes, stages={HOSTILE: averages(0.8, classes)}, before_labelling=None, spacing_note=HOSTILE),
        facts=dataclasses.replace(report.facts, classes=("background", HOSTILE), title=HOSTILE, citation=HOSTILE),
        gallery=(dataclasses.replace(example(), title=HOSTILE, name=HOSTILE, subject=HOSTILE),),
        pseudo_labels=PseudoLabelsResult((label,)),
    )
    html, page = write(hostile)
    assert "script" not in page.tags
    assert "<script" not in html
    assert page.text.count("<script>alert('x')</script>") >= 10


def test_the_three_averages_stand_side_by_side_before_and_after_labelling(report, write):
    html, page = write(report)
    assert beside(html) == [
        ["0.8000", "0.8500", "+5.00", "0.8400"],  # fine_tune, the last stage before labelling; not the decoder's 0.7
        ["0.8100", "0.8600", "+5.00", "0.8500"],
        ["0.8200", "0.8700", "+5.00", "0.8600"],
    ]
    assert rows(html, "Dice")[0] == [
        "0.8500",
        "0.8600",
        "0.8700",
        "–<small>of 37</small>",
    ]  # the last network, without medians
    assert "Supervised only after fine_tune" in page.text
    assert "Semi-supervised, all stages after retrain" in page.text
    assert "differ by definition" in page.text


@pytest.mark.slow
def test_a_loss_is_shown_as_one(report, write):
    html, _ = write(dataclasses.replace(report, scores=with_test(averages(0.7875))))
    assert [cells[2] for cells in beside(html)] == ["−1.25", "−1.25", "−1.25"]


@pytest.mark.slow
def test_what_is_undefined_is_a_dash(report, write):
    test = averages(0.85)
    test.per_image["dice"]["mean"] = None
    html, page = write(dataclasses.replace(report, scores=with_test(test)))
    assert [cells[1:3] for cells in beside(html)] == [["–", "–"], ["0.8600", "+5.00"], ["0.8700", "+5.00"]]
    assert "– test Dice, per image" in page.text


@pytest.mark.slow
def test_several_classes_have_a_row_each(report, write):
    classes = ("brain", "cavum")
    test = averages(0.85, classes)
    test.per_image["dice"]["cavum"] = 0.2101
    facts = dataclasses.replace(report.facts, classes=("background", *classes))
    plain = result(classes, stages={"retrain": test}, before_labelling=None)
    html, _ = write(dataclasses.replace(report, facts=facts, scores=dataclasses.replace(plain, with_tta=None)))
    table = re.search(r'<table class="scores">(.*?)</table>', html, re.S)[1]
    dice = re.findall(r'<tr class="dice">(.*?)</tr>', table, re.S)
    assert [re.search(r"<th>(.*?)</th>", row)[1] for row in dice] == ["mean", "brain", "cavum"]
    assert "0.2101" in dice[2]
    assert ["3", "4", "5"] in rows(html, "cavum")  # absent structures


@pytest.mark.slow
def test_a_stage_that_learnt_from_the_pool_is_not_called_supervised(report, write):
    _, page = write(dataclasses.replace(report, scores=result(pool_before_labelling=True)))
    assert "Before labelling after fine_tune" in page.text
    assert "Supervised only" not in page.text


def test_the_protocol_is_drawn_in_order_with_its_settings(report, write):
    html, _ = write(report)
    boxes = re.findall(r'<div class="box"><b>(.*?)</b>(.*?)</div>', html)
    assert [name for name, _ in boxes] == ["DECODER", "FINE_TUNE", "LABEL", "RETRAIN", "DONE"]
    facts = [re.findall(r"<span>(.*?)</span>", text) for _, text in boxes]
    assert facts[0] == [
        "20 epochs",
        "learning rate 0.001",
        "frozen: encoder",
        "objective: dice_bce",
        "images: labelled",
        "took 1 min 00 s",
    ]
    assert {"50 epochs", "all layers train", "took 1 h 06 min"} <= set(facts[1])
    assert facts[2] == ["kept 3 of 4", "labeller: threshold", "threshold 0.95", "minimum pixels 10"]
    assert {"images: labelled and unlabelled", "took 7 s"} <= set(facts[3])


@pytest.mark.slow
def test_every_round_of_labelling_has_its_box(report, write):
    second = labelling(4, "retrain_2")
    stages = (*protocol(), StageResult("retrain_2", 20, 0.001, (), "dice_bce", True, None, second))
    pseudo = PseudoLabelsResult((labelling(), second))
    html, page = write(dataclasses.replace(report, protocol=stages, pseudo_labels=pseudo))
    boxes = re.findall(r'<div class="box"><b>(.*?)</b>(.*?)</div>', html)
    assert [name for name, _ in boxes][3:] == ["RETRAIN", "LABEL", "RETRAIN_2", "DONE"]
    assert "20 epochs" in boxes[5][1]
    assert "took" not in boxes[5][1]  # it has not ended
    assert "Before retrain_2: kept 4 of 4 images" in page.text


def test_dropped_images_are_counted_by_reason(report, write):
    html, page = write(report)
    assert "Before retrain: kept 3 of 4 images" in page.text
    assert rows(html, "fewer than 10 foreground pixels above 0.95")[0] == ["1"]
    assert "width: 75.0%" in html


@pytest.mark.slow
def test_a_labelling_that_kept_nothing_is_told_loudly(report, write):
    nothing = labelling(0)
    scores = result(kept_pseudo_labels=False)
    pseudo = PseudoLabelsResult((nothing,))
    html, page = write(dataclasses.replace(report, protocol=protocol(nothing), scores=scores, pseudo_labels=pseudo))
    assert "No pseudo-label was kept: stage retrain went on supervised" in page.text
    assert '<h3 class="loud">Before retrain: kept 0 of 4 images</h3>' in html
    assert '<li class="label empty">' in html
    assert "images: labelled and unlabelled" not in page.text  # whatever the config wanted
    assert "All stages, no pseudo-label kept" in page.text
    assert "Semi-supervised, all stages" not in page.text


def test_a_picture_has_its_outlines_in_the_colours_of_the_legend(report, write):
    html, page = write(report)
    sources = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert len(sources) == 5
    data = base64.b64decode(sources[2].split(",")[1])  # the best
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    assert picture.shape == (284, 420, 3)  # 54 x 80 with its longer side made 420

    def count(colour):
        return int((np.abs(picture - colour).max(-1) < 40).sum())

    colours = [
        tuple(map(int, rgb)) for rgb in re.findall(r"--(?:reference|prediction): rgb\((\d+), (\d+), (\d+)\)", html)
    ]
    assert len(colours) == 2
    assert all(count(colour) > 300 for colour in colours)


def test_the_worst_images_come_first(report, write):
    html, _ = write(report)
    assert re.findall(r"<figcaption><b>(worst|median|best)</b>", html) == ["worst", "median", "best"]


@pytest.mark.slow
def test_a_gallery_is_bounded_and_counts_what_it_leaves_out(report, write, monkeypatch):
    monkeypatch.setattr(gallery_section, "MOST_IMAGES", 2)
    html, page = write(dataclasses.replace(report, gallery=(example("worst"),) * 5))
    assert len(re.findall(r"<b>worst</b>", html)) == 2
    assert "3 more are not shown." in page.text


def test_the_contents_lead_to_every_section(report, write):
    html, _ = write(report)
    nav = re.search(r"<nav.*?</nav>", html, re.S)[0]
    assert re.findall(r'href="#(.*?)"', nav) == re.findall(r'<section id="(.*?)">', html)
    assert re.findall(r'href="#(.*?)"', nav)[:4] == ["data", "protocol", "scores", "gallery"]


def test_a_picture_tells_whose_it_is_and_how_good(report, write):
    _, page = write(report)
    assert "best Dice 0.8765 010_HC · subject 010" in page.text


@pytest.mark.slow
@pytest.mark.parametrize("dice", [None, float("nan")])
def test_an_example_without_a_dice_is_shown(report, write, dice):
    _, page = write(dataclasses.replace(report, gallery=(dataclasses.replace(example("only"), dice=dice),)))
    assert "only" in page.text
    assert "nan" not in page.text.lower().split()


def test_parts_that_are_missing_are_left_out(report, write):
    bare = Report("Bare", report.facts, {})
    html, page = write(bare)
    assert re.findall(r"<h2>(.*?)</h2>", html) == ["Settings"]
    assert "Bare" in page.text
    assert re.search(r"Date \d{4}-\d\d-\d\d", page.text)


@pytest.mark.slow
def test_a_run_without_labelling_or_validation_has_one_result(report, write):
    lines = [line for line in metrics_lines() if line["kind"] == "train" and line["stage"] != "retrain"]
    scores = result(stages={"retrain": averages(0.85)}, with_tta=None, before_labelling=None, kept_pseudo_labels=None)
    plain = dataclasses.replace(
        report,
        warnings=(),
        protocol=protocol()[:2],
        pseudo_labels=None,
        history=TrainingHistory.from_lines(lines),
        scores=scores,
    )
    html, page = write(plain)
    assert rows(html, "Dice")[0] == ["0.8500", "0.8600", "0.8700", "–<small>of 37</small>"]
    assert "Training loss" in page.text
    for absent in (
        "Validation Dice",
        "Pseudo-labels",
        "Supervised only",
        "LABEL",
        "Read this first",
        "beside each other",
    ):
        assert absent not in page.text


def test_the_config_is_whole_and_folded(report, write):
    html, _ = write(report)
    assert "<details>" in html  # not open
    text = re.search(r"<pre>(.*?)</pre>", html, re.S)[1]
    assert json.loads(text.replace("&#34;", '"')) == report.config


@pytest.mark.slow
def test_the_same_report_is_the_same_file(report, write):
    assert write(dataclasses.replace(report))[0] == write(report)[0]


@pytest.mark.slow
def test_a_report_that_fails_leaves_the_old_one(report, write, tmp_path):
    before, _ = write(dataclasses.replace(report))
    wrong = dataclasses.replace(example(), labels=np.zeros((540, 80), np.uint8))
    with pytest.raises(ValueError, match="give both in one size"):
        write_report(tmp_path / "report.html", dataclasses.replace(report, gallery=(wrong,)))
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.slow
def test_a_long_run_with_many_pictures_stays_light(report, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (540, 800), np.uint8)  # the worst case for JPEG
    zeros = np.zeros((540, 800), np.uint8)
    heavy = tuple(GalleryImage("worst", f"{i:03d}", "s", 0.5, noise, zeros, zeros) for i in range(18))
    lines = [
        {"kind": "train", "step": step, "stage": "decoder", "epoch": 0, "loss": 1 / step, "supervised": 1.0}
        for step in range(1, 50_000)
    ]
    path = tmp_path / "report.html"
    write_report(path, dataclasses.replace(report, gallery=heavy, history=TrainingHistory.from_lines(lines)))
    assert path.stat().st_size < 5_000_000
