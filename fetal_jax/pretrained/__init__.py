"""Weights of encoders that others have trained: read from their files once, kept in one of our own, put into networks.

`import_weights` reads Keras' HDF5 and safetensors and writes one .npz without pickles; `load` reads that, or finds
ImageNet weights by the encoder's name, for grey or colour images; `apply_pretrained` puts them into a network. See
docs/weights.md.
"""

from fetal_jax.pretrained.container import read_header
from fetal_jax.pretrained.importer import import_weights
from fetal_jax.pretrained.transfer import PretrainedEncoder, apply_pretrained, load

__all__ = ["PretrainedEncoder", "apply_pretrained", "import_weights", "load", "read_header"]
