"""Tables that are true: images, outlines and scores are drawn, averaged in one way, and rounded as papers do."""

import dataclasses

import numpy as np
from scipy import stats

from fetal_jax.statistics.published import Gain, Number, Row, read_number

ANGLES = np.linspace(0, 2 * np.pi, 16, endpoint=False)
METHODS = ("U-Net", "Attention U-Net", "ours")
FRAME = (540, 800)


@dataclasses.dataclass(frozen=True)
class Scores:
    """Of every image by one method."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    asd: np.ndarray
    hd: np.ndarray

    def dice(self) -> np.ndarray:
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn)

    def metrics(self, pooled: bool) -> dict[str, float]:
        pixels = FRAME[0] * FRAME[1]
        tp, fp, fn = ((x.sum(keepdims=True) if pooled else x) for x in (self.tp, self.fp, self.fn))
        each = {
            "accuracy": 1 - (fp + fn) / (pixels * (len(self.tp) if pooled else 1)),
            "precision": tp / np.maximum(tp + fp, 1e-9),
            "recall": tp / (tp + fn),
            "jaccard": tp / (tp + fp + fn),
            "dice": 2 * tp / (2 * tp + fp + fn),
        }
        return {name: float(value.mean()) for name, value in each.items()}


def smooth(rng, shape):
    """Random closed curves by angle, of SD 1."""
    waves = rng.standard_normal((*shape, 2, 4, 1)) * (1 / np.arange(1, 5))[:, None]
    turned = np.arange(1, 5)[:, None] * ANGLES
    curve = (waves[..., 0, :, :] * np.cos(turned) + waves[..., 1, :, :] * np.sin(turned)).sum(-2)
    return curve / curve.std(-1, keepdims=True)


def draw_scores(rng, n):
    """One structure in n images, outlined by every method: outlines that are off, missed ones and stray ones."""
    radius = rng.uniform(4, 100) * np.exp(rng.uniform(0, 0.3) * rng.standard_normal(n)).clip(0.4, 1.7)
    outline = radius[:, None] * np.clip(1 + 0.15 * smooth(rng, (n,)), 0.5, 1.5)
    difficulty = np.exp(rng.uniform(0.3, 0.8) * rng.standard_normal(n))
    for _ in METHODS:
        error = rng.choice([0.01, 0.05, 0.2]) * rng.uniform(0.5, 2) * difficulty
        error = error * np.exp(rng.uniform(0, 0.5) * rng.standard_normal(n))
        bias = rng.uniform(-1, 1)
        off = (radius * error)[:, None] * (bias + smooth(rng, (n,)))
        found = np.clip(outline + off, 0, 255)  # outlines that stay in the frame
        inner, area = np.minimum(found, outline), outline**2
        tp, whole, reached = ((x**2).mean(1) * np.pi for x in (inner, outline, found))
        distance = np.abs(found - outline)
        stray = rng.random(n) < rng.choice([0, 0, 0.05])
        tp = np.where(stray, 0, tp)
        asd = np.where(stray, rng.uniform(50, 400), distance.mean(1))
        assert (area > 0).all()
        yield Scores(tp, reached - tp, whole - tp, asd, np.where(stray, asd + 100, distance.max(1)))


def printed(rng, value, digits, percent) -> Number:
    value, scale = (100 * value, 0.01) if percent else (value, 1.0)
    return read_number(f"{value:.{max(digits - 2 * percent, 0)}f}", scale)


def draw_table(seed: int) -> tuple[list[Row], list[Gain]]:
    """The same methods pooled, per image and unsaid, a claimed gain of each kind, and a row with areas under curves."""
    rng = np.random.default_rng(seed)
    n, digits, percent = int(rng.integers(4, 32)), int(rng.integers(2, 5)), bool(rng.random() < 0.5)
    scores = dict(zip(METHODS, draw_scores(rng, n), strict=True))
    area = float(np.mean([s.tp + s.fn for s in scores.values()]))
    rows, gains = [], []
    for averaging in ("pooled", "per_image", "unknown"):
        pooled = averaging == "pooled" or (averaging == "unknown" and bool(rng.random() < 0.5))
        exact = {method: of.metrics(pooled) for method, of in scores.items()}
        for method, of in scores.items():
            values = {name: printed(rng, value, digits, percent) for name, value in exact[method].items()}
            distances = {"asd_px": of.asd.mean(), "hd_px": of.hd.mean()}
            values |= {name: printed(rng, value, 1, False) for name, value in distances.items()}
            spreads = {} if pooled else {"dice": printed(rng, of.dice().std(ddof=1), digits, percent)}
            p, test = p_of(rng, n)
            about = {"n": n, "p": p, "test": test, "area_px": area, "size_px": FRAME}
            rows.append(Row("a paper", averaging, method, "head", values, spreads, averaging=averaging, **about))
        gain = exact["ours"]["dice"] - exact["U-Net"]["dice"]
        text = printed(rng, gain, digits, percent)
        gains.append(Gain("a paper", averaging, "ours", "U-Net", "dice", text, "head"))
    return [*rows, curves(rng, digits)], gains


def p_of(rng, n: int) -> tuple[Number, str]:
    """The least p that there is, as of images that all agree, exactly or as a limit; a t-test has none."""
    test = str(rng.choice(["Wilcoxon", "Wilcoxon, one-sided", "sign", "paired t"]))
    p = 1e-6 if test == "paired t" else (1 if "one-sided" in test else 2) * 0.5**n
    limits = [limit for limit in ("<0.001", "<0.01", "<0.05", "<0.1") if p < float(limit[1:])]
    if limits and rng.random() < 0.5:
        return Number(0.0, float(limits[0][1:]), limits[0]), test
    return read_number(f"{p:.{rng.integers(2, 5)}f}"), test


def curves(rng, digits) -> Row:
    """Scores of pixels that are normal in the structure and outside it; areas by trapezia, Dice at one threshold."""
    images, pooled = int(rng.integers(1, 6)), bool(rng.random() < 0.5)
    share = rng.uniform(0.01, 0.55) * rng.uniform(0.5, 1, 1 if pooled else images)[:, None]
    apart = rng.uniform(0.5, 5) + rng.uniform(0, 1, share.shape)
    z = np.linspace(10, -6, int(rng.choice([40, 400])))
    wide = rng.uniform(0.7, 1.5)
    tpr, fpr = stats.norm.sf((z - apart) / wide), stats.norm.sf(z) + 0 * apart
    precision = tpr * share / np.maximum(tpr * share + fpr * (1 - share), 1e-300)
    at = int(rng.integers(len(z)))
    dice = 2 * tpr * share / (tpr * share + share + fpr * (1 - share))
    means = {
        "auc_roc": np.trapezoid(tpr, fpr).mean(),
        "auc_pr": np.trapezoid(precision, tpr).mean(),
        "dice": dice[:, at].mean(),
    }
    values = {name: printed(rng, float(value), digits, False) for name, value in means.items()}
    return Row(
        "a paper",
        "curves",
        "on other images",
        "head",
        values,
        averaging="pooled" if pooled else "per_image",
        prevalence_max=float(share.max()),
    )
