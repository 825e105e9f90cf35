"""The layers of our networks once more in NumPy, tap by tap, to write down a network's equations a second time.

`v` is what a module holds, parameters and running statistics in one tree. Images are channels last, in two or three
dimensions; all is float64, in evaluation.
"""

import numpy as np


def merged(*trees):
    """One tree of the collections of a network, in float64."""
    out = {}
    for tree in trees:
        for key, value in tree.items():
            out[key] = merged(out.get(key, {}), value) if hasattr(value, "items") else np.asarray(value, np.float64)
    return out


def relu(x):
    return np.maximum(x, 0)


def conv(x, v, dilation=1):
    """Zero-padded convolution with an odd kernel: the sum over its taps of shifted images times a matrix."""
    sides = v["kernel"].shape[:-2]
    reach = [dilation * (side // 2) for side in sides]
    padded = np.pad(x, [(0, 0), *((r, r) for r in reach), (0, 0)])
    out = np.zeros((*x.shape[:-1], v["kernel"].shape[-1]))
    for tap in np.ndindex(*sides):
        window = tuple(slice(dilation * t, dilation * t + n) for t, n in zip(tap, x.shape[1:-1], strict=True))
        out += np.einsum("...i,io->...o", padded[:, *window], v["kernel"][tap])
    return out + v.get("bias", 0)


def batch_norm(x, v):
    return (x - v["mean"]) / np.sqrt(v["var"] + 1e-5) * v["scale"] + v["bias"]


def unit(x, v, dilation=1, activation=relu):
    return activation(batch_norm(conv(x, v["conv"], dilation), v["bn"]))


def double_conv(x, v):
    return unit(unit(x, v["unit1"]), v["unit2"])


def transposed(x, v):
    """Transposed convolution with sides of 2: pixel i adds x[i] · kernel[k] to pixel 2i + k, and nothing else does."""
    b, *space, _ = x.shape
    out = np.zeros((b, *(2 * n for n in space), v["kernel"].shape[-1]))
    for tap in np.ndindex(*v["kernel"].shape[:-2]):
        out[:, *(slice(t, None, 2) for t in tap)] = x @ v["kernel"][tap]
    return out + v["bias"]


def max_pool(x):
    corners = np.ndindex(*(2,) * (x.ndim - 2))
    return np.max([x[:, *(slice(t, None, 2) for t in corner)] for corner in corners], axis=0)


def enlarged(x, times):
    """Each pixel repeated 2^times along each axis."""
    for axis in range(1, x.ndim - 1):
        x = x.repeat(2**times, axis)
    return x


def channel_attention(x, v):
    """x times sigmoid(w · k), w the mean of each channel, with zeros before the first and after the last."""
    kernel = v["conv"]["kernel"].ravel()
    half = len(kernel) // 2
    means = np.pad(x.reshape(len(x), -1, x.shape[-1]).mean(1), ((0, 0), (half, half)))
    sums = [sum(kernel[k] * means[:, c + k] for k in range(len(kernel))) for c in range(x.shape[-1])]
    weights = 1 / (1 + np.exp(-np.stack(sums, axis=1)))
    return np.stack([image * weight for image, weight in zip(x, weights, strict=True)])


def encoder(x, v, block):
    """Stages of `block(x, v, level)`, and the maximum of 2×2 pixels between two."""
    features = []
    for level in range(len(v)):
        x = block(max_pool(x) if level else x, v[f"stage{level + 1}"], level)
        features.append(x)
    return features


def decoder(features, v, block):
    *skips, x = features
    for level, skip in enumerate(skips[::-1], start=1):
        x = transposed(x, v[f"up{level}"]["conv"])
        x = block(np.concatenate([skip, x], axis=-1), v[f"merge{level}"])
    return conv(x, v["logits"])
