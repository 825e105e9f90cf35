"""Sanity checks: an explanation of a network must change when the network does.

Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018, section 3: weights become random, block by block from
the logits down, and each time the map is compared with that of the trained network. A method whose map stays what it
was, as that of an edge detector does, explains the image and not the network.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import flax.traverse_util
import jax
import numpy as np
import scipy.stats
from jaxtyping import Float
from skimage.metrics import structural_similarity

from fetal_jax.core.rng import named_key
from fetal_jax.core.types import Array, UserError, Variables

WINDOW = 7  # pixels along a side, over which structural similarity is taken
DESTROYED = 0.5  # a rank correlation below this leaves less than a quarter of the ranks' variance explained


@dataclasses.dataclass(frozen=True)
class Similarity:
    """How like two maps are. `rank_correlation` is NaN where one of them is constant: nothing is left to compare."""

    rank_correlation: float  # Spearman's, over pixels
    ssim: float  # structural similarity of the maps, each as shares of its maximum


def blocks(model: nn.Module, image: Float[Array, "h w c"]) -> list[str]:
    """The blocks of a network that have parameters, from the logits down to the image: "decoder/logits" and so on."""
    order: list[str] = []

    def initialise() -> None:
        params = model.init(jax.random.key(0), image[None], train=False)["params"]
        order.extend(f"{part}/{name}" for part in params for name in params[part])  # as they were called

    jax.eval_shape(initialise)
    return order[::-1]


def randomised(variables: Variables, key: jax.Array, layers: Sequence[str] | None = None) -> Variables:
    """The variables with each array of these blocks, by default of all, replaced by a random permutation of itself.

    So weights know nothing of what was learnt, and keep their sizes, as do the statistics of a block's normalisation.
    `layers` are those of `blocks`. Raises UserError for one that is not there.
    """
    flat = flax.traverse_util.flatten_dict(variables.as_dict(), sep="/")

    def wanted(path: str) -> bool:
        return layers is None or any(path.partition("/")[2].startswith(f"{layer}/") for layer in layers)

    for layer in layers or ():
        if not any(path.startswith(f"params/{layer}/") for path in flat):
            raise UserError(f"layer {layer!r} has no parameters: choose from those of `blocks`")
    shuffled = {path: _shuffled(value, key, path) if wanted(path) else value for path, value in flat.items()}
    tree = flax.traverse_util.unflatten_dict(shuffled, sep="/")
    return Variables(tree["params"], ({"batch_stats": {}} | tree)["batch_stats"])


def _shuffled(values: Array, key: jax.Array, path: str) -> np.ndarray:
    seed = int(jax.random.bits(named_key(key, path)))
    return np.random.default_rng(seed).permutation(np.ravel(values)).reshape(np.shape(values))


def similarity(one: Float[Array, "h w"], other: Float[Array, "h w"]) -> Similarity:
    """How like two maps of at least 7×7 pixels are; their scale does not matter."""
    one, other = (np.asarray(values, np.float64) for values in (one, other))
    constant = np.ptp(one) == 0 or np.ptp(other) == 0
    rank = np.nan if constant else float(scipy.stats.spearmanr(one.ravel(), other.ravel()).statistic)
    scaled = [values / (np.abs(values).max() or 1) for values in (one, other)]
    return Similarity(rank, float(structural_similarity(*scaled, win_size=WINDOW, data_range=1)))


def sanity(
    explain: Callable[[Variables], Float[Array, "h w"]],
    variables: Variables,
    key: jax.Array,
    order: Sequence[str],
    steps: int | None = None,
) -> dict[str, Similarity]:
    """The map of the trained network against those of networks random down to each block, by the block's name.

    `explain` gives the map of one image and region for any variables; keep the region fixed, as a random network
    predicts another one. `order` is that of `blocks`. Of its cascade `steps` are looked at, evenly, by default all; the
    last is always that of the network random all through.
    """
    trained = explain(variables)
    depths = np.linspace(len(order), 1, steps or len(order)).round().astype(int)
    names = {order[depth - 1]: order[:depth] for depth in sorted(depths.tolist())}
    return {name: similarity(trained, explain(randomised(variables, key, some))) for name, some in names.items()}


def passed(checks: Mapping[str, Similarity]) -> bool:
    """Whether random weights destroyed the map: with all of them random, it is constant or ranks pixels otherwise.

    Adebayo et al. give no limit; this one is chosen. A map that only turns into its negative has not been destroyed.
    """
    last = [*checks.values()][-1].rank_correlation
    return bool(np.isnan(last) or abs(last) < DESTROYED)
