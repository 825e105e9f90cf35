"""The consistency checker as a user meets it: the faults of four published works, formats of tables, and bad files."""

import pathlib

import pytest

from fetal_jax.core.types import UserError
from fetal_jax.statistics.table_check import check_table, read_table

PUBLISHED = pathlib.Path(__file__).parents[1] / "data" / "published_tables.csv"


@pytest.fixture(scope="module")
def published():
    return check_table(PUBLISHED)


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "results.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    "words",
    [
        # SS_CASE_UNet: the same gain in two sizes, neither of which the table has; two ways to average in one table.
        ("impossible: SS_CASE_UNet, Table 2", "said to be 1.19 above FCRBU-Net", "1.9100"),
        ("impossible: SS_CASE_UNet, Table 2", "said to be 2.23 above FCRBU-Net", "relative gain in percent"),
        ("implausible: SS_CASE_UNet, Table 2", "not averaged alike"),
        ("implausible: SS_CASE_UNet, Table 4", "U-Net, CA-UNet, SE-UNet, CASE-UNet", "not averaged alike"),
        ("impossible: SS_CASE_UNet, Table 2", "jaccard is 81.76 here and 81.78 in Table 4"),
        ("impossible: SS_CASE_UNet, Table 2, SS_CASE_UNet", "Dice 87.65 is above 87.5665"),
        ("impossible: SS_CASE_UNet, Table 2, U-Net", "Jaccard 65.08 is below 65.1323"),
        # The trans-thalamic thesis: one model, pooled 0.79 and per image 0.21; two versions of it.
        (
            "implausible: trans-thalamic thesis, Table 4.1",
            "CSP",
            "recall is 0.930 pooled and 0.181 per image",
            "59 times",
        ),
        ("impossible: trans-thalamic thesis, Table 4.1", "LV", "dice is 0.762 here and 0.712 in Table 4.3"),
        ("impossible: trans-thalamic thesis, Table 4.1", "brain", "dice is 0.964 here and 0.963 in Table 4.3"),
        ("impossible: trans-thalamic thesis, Table 4.1", "CSP", "Dice 0.792 is below 0.84435"),
        ("impossible: trans-thalamic thesis, Table 4.1", "jaccard 0.780 is not the mean of", "0.79525"),
        ("impossible: trans-thalamic thesis, Table 4.6", "Dice 0.865 is above 0.75537"),
        # The infant cerebellum: five subjects.
        ("impossible: infant cerebellum, Table 1", "CSF at 18 months", "p <0.05", "n = 5", "0.0625", "0.043"),
        # Attention-ResUNet.
        ("implausible: Attention-ResUNet", "ASD 13.2 px does not go with Dice 99.30"),
        ("impossible: Attention-ResUNet", "AUC-ROC 0.896 is below 0.96500"),
        ("impossible: Attention-ResUNet", "AUC-PR 0.998 is above 0.95726"),
    ],
)
def test_the_faults_of_the_published_tables_are_told(published, words):
    assert [line for line in published if line.startswith(words[0]) and all(word in line for word in words[1:])]


def test_what_the_published_tables_say_rightly_is_not_told(published):
    told = "\n".join(published)
    for gain in ("0.42", "5.22", "15.33", "8.09", "6.31", "0.49"):
        assert f"said to be {gain} above" not in told
    for right in ("0.794 is", "0.210 is", "SD 0", "SD of", "Hausdorff", "FetSAM", "SEMI-PLC,", "paired t"):
        assert right not in told


def test_every_significance_of_the_infant_table_is_told_and_nothing_else_of_it(published):
    lines = [line for line in published if "infant cerebellum" in line]
    assert len(lines) == 8
    assert all("[p of n]" in line for line in lines)


def test_the_last_lines_say_what_was_looked_at(published):
    assert published[-2].startswith("looked at: dice of precision and recall (30), jaccard of dice (40)")
    assert published[-2].endswith("gains (8)")
    assert published[-1] == "38 impossible and 7 implausible in 73 rows"


def test_the_command_of_a_sound_table_finds_nothing(write):
    path = write("method,averaging,precision,recall,jaccard,dice\nU-Net,pooled,0.60,0.80,0.522,0.686\n")
    lines = check_table(path)
    assert lines[-1] == "0 impossible and 0 implausible in 1 rows"
    assert len(lines) == 2


def test_percent_is_told_from_fractions_by_column_of_a_table(write):
    path = write("table,method,dice,auc_roc\nT1,A,99.3,0.896\nT1,B,0.9%,0.9\nT2,A,0.9,0.9\nT3,A,0.9%,\n")
    rows, _ = read_table(path)
    middles = [{name: round(x.middle, 4) for name, x in row.values.items()} for row in rows]
    assert middles == [
        {"dice": 0.993, "auc_roc": 0.896},
        {"dice": 0.009, "auc_roc": 0.9},
        {"dice": 0.9, "auc_roc": 0.9},
        {"dice": 0.009},
    ]


def test_the_names_of_columns_may_be_in_any_case(write):
    rows, _ = read_table(write("Method,DICE ,Auc_Roc\nA,0.9,0.8\n"))
    assert rows[0].method == "A"
    assert rows[0].values.keys() == {"dice", "auc_roc"}


@pytest.mark.parametrize("cell", ["99.30±0.14", "99.30 ± 0.14", "99.30 +/- 0.14"])
def test_a_cell_may_hold_a_standard_deviation(write, cell):
    rows, _ = read_table(write(f"method,dice\nA,{cell}\n"))
    assert rows[0].values["dice"].low == pytest.approx(0.99295)
    assert rows[0].spreads["dice"].high == pytest.approx(0.00145)


def test_a_standard_deviation_may_have_its_own_column(write):
    rows, _ = read_table(write("method,dice,dice_sd\nA,0.9,0.05\nB,0.8,-\n"))
    assert [row.spreads.keys() for row in rows] == [{"dice"}, set()]
    assert rows[0].spreads["dice"].low == pytest.approx(0.045)


def test_missing_cells_say_nothing_and_a_byte_order_mark_does_no_harm(write):
    rows, gains = read_table(write("\ufeffmethod,dice,jaccard,p\nA,–,n/a,\n"))
    assert (rows[0].values, rows[0].p, gains) == ({}, None, [])


def test_p_may_be_a_limit_or_a_number(write):
    rows, _ = read_table(write("method,p\nA,<0.05\nB,< 0.001\nC,0.03\n"))
    assert [row.p.high for row in rows] == pytest.approx([0.05, 0.001, 0.035])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method,dise\nA,0.9\n", "has a column 'dise': the columns are source, table"),
        ("method;dice\nA;0,9\n", "is separated by semicolons: save it with commas"),
        ("method,Dice,dice\nA,0.9,0.9\n", "has the column 'dice' twice"),
        ("method,dice\nA,0.90\nB,0\nC,85\n", "mixed percent and fraction in column dice: rows 2, 4: write all"),
        ("method,dice\nA,0.9%\nB,0.85\n", "mixed percent and fraction in column dice: rows 2, 3"),
        ("method,dice\nA,good\n", "line 2: dice is 'good': write a plain number"),
        ("method,dice\nA,1.2.3\n", "line 2: dice is '1.2.3'"),
        ("method,dice\nA,0.9 ± much\n", "line 2: dice is 'much'"),
        ("method,dice\nA,120\n", "line 2: dice is 120: it must lie from 0 to 1, or to 100 in percent"),
        ("method,dice\nA,-0.9\n", "line 2: dice is -0.9: it must lie"),
        ("method,averaging\nA,mean\n", "averaging is 'mean': choose from pooled, per_image, per_subject, unknown"),
        ("method,n\nA,0\n", "n is '0': write how many"),
        ("method,p\nA,<small\n", "p is 'small'"),
        ("method,area_px\nA,none\n", "area_px is 'none': write a number of pixels"),
        ("method,prevalence_max\nA,1.5\n", "prevalence_max is 1.5: write the largest share"),
        ("method,dice\nA,0.9,0.8\n", "line 2 has more or fewer cells than the header"),
        ("method,dice\nA\n", "line 2 has more or fewer cells than the header"),
        ("method,dice\n", "has no row of scores"),
        ("", "has no row of scores"),
        ('method,dice\n"A,0.9\n', "is not a CSV file in UTF-8"),
        (
            "method,dice,claim_of,claim_against,claim_metric,claim_gain\nA,0.9,,,,\n,,A,B,dice,0.1\n",
            "claims a gain of or against 'B', which its table does not hold",
        ),
        (
            "method,dice,claim_of,claim_against,claim_metric,claim_gain\nA,0.9,,,,\n,,A,A,f1,0.1\n",
            "claim_metric is 'f1': choose from accuracy",
        ),
        (
            "method,dice,claim_of,claim_against,claim_metric,claim_gain\nA,0.9,,,,\n,,A,A,dice,much\n",
            "line 3: 'much' is not a plain decimal number",
        ),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_in_one_line(write, text, message):
    path = write(text)
    with pytest.raises(UserError) as caught:
        check_table(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "results.csv"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(UserError, match="is not a CSV file in UTF-8"):
        check_table(path)


def test_a_missing_file_is_the_system_s_to_tell(tmp_path):
    with pytest.raises(FileNotFoundError):
        check_table(tmp_path / "nowhere.csv")
