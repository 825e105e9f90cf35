"""The confidence network of Sun et al., MLMI 2020, section 3.1: where can a segmentation be believed?

From the paper: a U-Net (contracting and expansive path) that is trained on the error map of an automatic segmentation,
not by an adversary as its model (Nie et al., ASDNet, MICCAI 2018), with a multi-task softmax loss; voxel-wise
confidence in three dimensions.

Left open, and chosen here: what goes in (the image and the class probabilities of the segmentation, concatenated by the
caller), and what the tasks are: one a class, whether that class is segmented rightly at the voxel. The two-way softmax
of a task depends on the difference of its two logits alone, softmax(a, b)₁ = sigmoid(a − b); so a task is one logit
here, and its loss binary cross-entropy. 32 channels at full resolution and three halvings, as patches have 32³ voxels.
No parameter count is published.
"""

from fetal_jax.models.plain_unet import plain_unet
from fetal_jax.models.registry import register
from fetal_jax.models.segmentation_model import SegmentationModel


@register
def confidence_net(
    *,
    num_classes: int,
    precision: str = "float32",
    width: int = 32,
    depth: int = 3,
    dropout: float = 0.0,
    bn_momentum: float = 0.9,
) -> SegmentationModel:
    """The network whose logit c is that of "class c is segmented rightly here". Two or three dimensions."""
    return plain_unet(
        num_classes=num_classes,
        precision=precision,
        width=width,
        depth=depth,
        dropout=dropout,
        bn_momentum=bn_momentum,
    )
