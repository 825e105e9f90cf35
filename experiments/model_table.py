"""Writes docs/model_table.md: parameters, arithmetic and memory of every network, beside what was published of it.

    python experiments/model_table.py [--models NAME ...] [--size 256] [--out docs/model_table.md]

Nothing is computed with numbers, and only inference is compiled, for its plan of memory. Takes one to three minutes.
"""

import argparse
import dataclasses
import pathlib
import sys

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # a script finds its neighbours as a module does

import jax

from benchmarks.models import costs as model_costs
from benchmarks.side_by_side import ROOT
from experiments.model_readings import DESCRIPTIONS, chapter, table
from fetal_jax.core.atomic import replacing_file
from fetal_jax.models import MODELS, build_model

PATCH = (32, 32, 32)  # what networks of volumes see
INTRODUCTION = """# The sizes of the networks

Written by `python experiments/model_table.py` (jax {jax}): every network at its default settings, float32, one image of
{size} × {size} pixels.

- **Trained** parameters are what others than Keras count; the next column adds the running averages, as Keras does.
- **GFLOP** of inference: XLA's cost analysis of the program as it is lowered for a GPU, before compilation, so that our
  ways to write a convolution for a CPU do not count. A multiplication and an addition are two; activations count too;
  products with the black border do not. (Of the readings below: the sum over their convolutions by hand, with the
  border and without activations.)
- **Inference, MiB**: temporary memory as XLA plans it for {device}, without weights, image and logits.
- **Training, MiB**: what differentiation keeps of the forward pass for the way back, without the weights. XLA computes
  some of it again, and `remat=True` more.
- Channels and classes are those of the sources; where a source names none, 3 → 1.
"""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What goes in and out."""

    channels: int = 3
    classes: int = 1
    volume: bool = False


# As the sources use them; the others as the four networks of SS_CASE_UNet, which their counts belong to.
SETTINGS = {
    "adu_net": Setting(2, 4, volume=True),  # T1w and T2w; background, CSF, grey and white matter
    "confidence_net": Setting(6, 4, volume=True),  # these, and the probabilities of four classes
    "attention_unet": Setting(1, 4),  # background, brain, CSP, LV
    "attention_resunet": Setting(1, 1),
    "swin_unet": Setting(3, 9),
}


@dataclasses.dataclass(frozen=True)
class Published:
    """Millions of parameters as printed; `whole` where running averages count too, as Keras does."""

    millions: str
    source: str
    remark: str = ""
    whole: bool = False


CASE = "SS_CASE_UNet, Table 4"
RIVALS = "SS_CASE_UNet, Table 2"
CHOSEN = "layers not published; this reading was chosen with the count in view"
PUBLISHED = {
    "unet": Published("9.67", CASE, whole=True),
    "ca_unet": Published("9.83", CASE, whole=True),
    "se_unet": Published("6.57", CASE, "without running averages 6.55", whole=True),
    "case_unet": Published("6.74", CASE, whole=True),
    "ecau_net": Published("31", RIVALS, CHOSEN),
    "fcrb_unet": Published("33", RIVALS, CHOSEN),
    "dual_cnn": Published("3", RIVALS, CHOSEN),
    "attention_unet": Published("15.1", "trans-thalamic thesis", "does not follow from 64-128-256-512-1024; see below"),
    "attention_resunet": Published("14.7", "Attention-ResUNet", "nor do its 45 GFLOPs follow; see below"),
    "unet_plus_plus": Published("9.04", "UNet++, authors' code", "that is without batch normalisation"),
    "swin_unet": Published("27.17", "Swin-Unet, authors' code"),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """The costs of one network at one image; memory in MiB."""

    name: str
    setting: Setting
    trained: int
    whole: int
    gflop: float
    inference: float
    saved: float

    def cells(self) -> list[str]:
        published = PUBLISHED.get(self.name)
        said = f"{published.millions} M ({published.source})" if published else ""
        return [
            f"`{self.name}`",
            f"{self.setting.channels} → {self.setting.classes}",
            f"{self.trained:,}",
            f"{self.whole:,}",
            f"{self.gflop:.1f}",
            f"{self.inference:.0f}",
            f"{self.saved:.0f}",
            said,
            remark(self.whole if published.whole else self.trained, published) if published else "",
        ]


def remark(parameters: int, published: Published) -> str:
    """Agreement to the digits that were printed, or the deviation; then what there is to say."""
    digits = len(published.millions.partition(".")[2])
    agrees = f"{parameters / 1e6:.{digits}f}" == published.millions
    deviation = parameters / 1e6 / float(published.millions) - 1
    return "; ".join(part for part in ("agrees" if agrees else f"{deviation:+.1%}", published.remark) if part)


def measure(name: str, size: int) -> Row:
    setting = SETTINGS.get(name, Setting())
    model = build_model(name, num_classes=setting.classes)
    image = model_costs.image_of(1, PATCH if setting.volume else (size, size), setting.channels)
    variables = model_costs.variables_of(model, image)
    return Row(
        name,
        setting,
        model_costs.count(variables["params"]),
        model_costs.count(variables),
        model_costs.gflop(model_costs.inference(model), variables, image),
        model_costs.inference_mib(model, variables, image),
        model_costs.saved_mib(model, variables, image),
    )


def page(rows: list[Row], size: int) -> str:
    """The whole document."""
    header = (
        "| network | channels → classes | trained | with running averages | GFLOP | inference, MiB | training, MiB "
        "| published | ours against it |"
    )
    flat = [row.cells() for row in rows if not row.setting.volume]
    solid = [row.cells() for row in rows if row.setting.volume]
    device = jax.devices()[0].platform
    lines = [INTRODUCTION.format(size=size, jax=jax.__version__, device=device), *table(header, flat)]
    if solid:
        patch = " × ".join(map(str, PATCH))
        lines += ["", f"Networks of volumes, one patch of {patch} voxels:", "", *table(header, solid)]
    for description in DESCRIPTIONS:
        lines += ["", *chapter(description, size)]
    return "\n".join(lines) + "\n"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=sorted(MODELS), help="default: all")
    parser.add_argument("--size", type=int, default=256, help="side of the image in pixels")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "model_table.md")
    args = parser.parse_args(arguments)
    if not args.out.parent.is_dir():
        parser.error(f"--out {args.out}: its folder does not exist")
    return args


def main() -> None:
    args = parse()
    rows = []
    for name in args.models:
        rows.append(measure(name, args.size))
        print(" ".join(rows[-1].cells()), flush=True)
    text = page(rows, args.size)
    with replacing_file(args.out) as partial:
        partial.write_text(text, encoding="utf-8")
    print(f"\n{text}\n{args.out}")


if __name__ == "__main__":
    main()
