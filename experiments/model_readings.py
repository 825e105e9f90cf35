"""What a description may mean: parameters and arithmetic of gated U-Nets, counted by hand for many readings of it.

A description such as "Attention U-Net, base 64" leaves open how deep it is, how it up-samples, how often it convolves.
Here each answer is an option, and its cost a sum over layers, so that thousands of combinations take a second. The
tests hold the sums to the networks of `fetal_jax.models` where these have the option too.
"""

import dataclasses
import itertools
from collections.abc import Iterator

UPS = ("transposed 2×2", "transposed 3×3", "resize, 3×3", "resize")
BOTTOMS = ("doubled", "kept", "none")  # channels below the last level of 8 × base: 16 × base, 8 × base, no such level
BASES = (16, 24, 32, 40, 44, 48, 56, 64)


@dataclasses.dataclass(frozen=True)
class Reading:
    """A gated U-Net. `residual`: each double convolution has a 1×1 shortcut, as in the Attention-ResUNet."""

    base: int = 64
    bottom: str = "doubled"
    up: str = "transposed 3×3"
    convolutions: int = 1  # after the concatenation
    separable: bool = False  # 3×3 convolutions as depthwise and 1×1
    residual: bool = False

    def __str__(self):
        widths = "-".join(str(width) for width in self.widths)
        words = [widths, f"up by {self.up}", f"{self.convolutions} convolution{'s'[: self.convolutions - 1]} after it"]
        return ", ".join(words + ["separable"] * self.separable)

    @property
    def widths(self) -> tuple[int, ...]:
        levels = tuple(self.base * 2**level for level in range(4))
        return levels + {"doubled": (16 * self.base,), "kept": (8 * self.base,), "none": ()}[self.bottom]

    def cost(self, channels: int, classes: int, size: int = 256) -> tuple[int, float]:
        """Trained parameters, and GFLOP of one image (two a multiplication with its addition, borders included)."""
        layers = list(self._layers(channels, classes))
        work = sum(per_pixel * (size >> level) ** 2 for _, per_pixel, level in layers)
        return sum(parameters for parameters, _, _ in layers), 2 * work / 1e9

    def _layers(self, channels: int, classes: int) -> Iterator[tuple[int, int, int]]:
        """Of each layer its parameters, multiplications a pixel, and the level at which its output is."""
        widths = self.widths
        for level, (i, o) in enumerate(zip((channels, *widths), widths, strict=False)):
            yield from self._block(i, o, level, 2)
        for level in reversed(range(len(widths) - 1)):
            skip, below = widths[level], widths[level + 1]
            above = below if self.up == "resize" else skip
            yield from self._up(below, above, level)
            for i, o in ((skip, skip // 2), (above, skip // 2), (skip // 2, 1)):  # the gate
                yield unit(i, o, 1, level)
            yield from self._block(skip + above, skip, level, self.convolutions)
        yield unit(widths[0], classes, 1, 0, norm=False)

    def _block(self, i: int, o: int, level: int, convolutions: int) -> Iterator[tuple[int, int, int]]:
        for index in range(convolutions):
            yield unit(o if index else i, o, 3, level, bias=not self.residual, separable=self.separable)
        if self.residual and i != o:
            yield unit(i, o, 1, level, bias=False)

    def _up(self, i: int, o: int, level: int) -> Iterator[tuple[int, int, int]]:
        if self.up.startswith("transposed"):  # each output pixel sees a quarter of the kernel
            size = int(self.up[-1])
            yield i * o * size**2 + o + (2 * o if size == 3 else 0), i * o * size**2 // 4, level
        elif self.up == "resize, 3×3":
            yield unit(i, o, 3, level, separable=self.separable)


def unit(i: int, o: int, size: int, level: int, *, bias=True, norm=True, separable=False) -> tuple[int, int, int]:
    """A convolution with its normalisation."""
    weights = size**2 * i + i * o if separable and size > 1 else size**2 * i * o
    return weights + o * bias + 2 * o * norm, weights, level


@dataclasses.dataclass(frozen=True)
class Description:
    """What was published of a network that sees one channel, and the reading that takes it at its word."""

    reading: Reading
    millions: float
    classes: int
    text: str  # may hold {count}, of readings, and {work}, 10⁹ multiplications of the reading


THESIS = """## Attention U-Net, 15.1 million parameters?

The thesis on the trans-thalamic plane says 64, 128, 256 and 512 channels, 1024 at the bottom, and around 15.1 million
parameters "when using a base channel size of 64". At its word that is twice as many. First the description and what it
becomes with 512 channels at the bottom, without that level, and with separable convolutions; then the two nearest of
all readings at base 64; then the four nearest at any base. At base 64 the nearest is 12 % off; 44 channels would
fit. Among {count} readings some are always near, so that is not evidence for any of them.
"""
RESUNET = """## Attention-ResUNet, 14.7 million parameters and 45 GFLOPs?

The paper says gates at four levels of 64, 128, 256 and 512 channels on a residual U-Net; the authors' code has 1024 at
the bottom, and more than twice the 14.7 million. The 45 GFLOPs come without a size of image, and without saying whether
a multiplication with its addition counts as one or two: here it is two, and as one the first row has {work:.0f} · 10⁹.
Both numbers fit at 40 channels within 6 %, and nowhere at base 64. The same selection of readings, of {count}:
"""
DESCRIPTIONS = (
    Description(Reading(), 15.1, 4, THESIS),
    Description(Reading(up="transposed 2×2", convolutions=2, residual=True), 14.7, 1, RESUNET),
)


def all_readings(*, residual: bool) -> list[Reading]:
    """All combinations."""
    grid = itertools.product(BASES, BOTTOMS, UPS, (2,) if residual else (1, 2), (False, True))
    return [Reading(*options, residual) for options in grid]


def closest(millions: float, *, residual: bool, channels: int, classes: int) -> list[Reading]:
    """All readings, those first whose number of parameters is nearest to a published one."""

    def distance(reading: Reading) -> float:
        return abs(reading.cost(channels, classes)[0] - 1e6 * millions)

    return sorted(all_readings(residual=residual), key=distance)


def chapter(description: Description, size: int) -> list[str]:
    """The description at its word, with less at the bottom or separable; the nearest readings at base 64 and at any."""
    at_word, classes = description.reading, description.classes
    nearest = closest(description.millions, residual=at_word.residual, channels=1, classes=classes)
    changed = [dataclasses.replace(at_word, bottom=b, separable=s) for s in (False, True) for b in BOTTOMS]
    chosen = [*changed, *[reading for reading in nearest if reading.base == at_word.base][:2], *nearest[:4]]
    rows = []
    for reading in dict.fromkeys(chosen):
        parameters, gflop = reading.cost(1, classes, size)
        deviation = parameters / 1e6 / description.millions - 1
        rows.append([str(reading), f"{parameters / 1e6:.2f} M", f"{deviation:+.1%}", f"{gflop:.1f}"])
    text = description.text.format(count=len(nearest), work=at_word.cost(1, classes, size)[1] / 2)
    return [text, *table(f"| reading | trained parameters | against {description.millions:g} M | GFLOP |", rows)]


def table(header: str, rows: list[list[str]]) -> list[str]:
    """Lines of Markdown."""
    columns = header.count("|") - 1
    return [header, "|" + "---|" * columns, *(f"| {' | '.join(row)} |" for row in rows)]
