"""CASE_UNet in PyTorch, layer by layer ours, on timm's EfficientNet-B0: the same arithmetic on both sides."""

import timm
import torch
from torch import nn

SKIP_STAGES = (1, 2, 3, 4)  # whose first block's expansion is a skip feature
SKIPS, WIDTHS = (96, 144, 240, 480), (128, 64, 32, 16, 8)
REDUCTION, LEAST_HIDDEN = 32, 4


def squeeze_excite(channels: int) -> nn.Module:
    hidden = max(LEAST_HIDDEN, channels // REDUCTION)
    reduce, expand = nn.Conv2d(channels, hidden, 1, bias=False), nn.Conv2d(hidden, channels, 1, bias=False)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), reduce, nn.ReLU(), expand, nn.Sigmoid())


class CoordinateAttention(nn.Module):
    """Weights along rows times weights along columns."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = channels // REDUCTION
        self.shared = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden, 1e-3), nn.ReLU())
        self.gate_h, self.gate_w = nn.Conv2d(hidden, channels, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, x):
        rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)
        f_rows, f_columns = self.shared(torch.cat([rows, columns], 2)).split(x.shape[2:], 2)
        return x * self.gate_h(f_rows).sigmoid() * self.gate_w(f_columns).transpose(2, 3).sigmoid()


class CaseUnet(nn.Module):
    """Logits of one class."""

    def __init__(self, channels: int):
        super().__init__()
        self.encoder = timm.create_model(
            "tf_efficientnet_b0", pretrained=False, in_chans=channels, num_classes=0, drop_path_rate=0.2
        )
        self.coordinate = CoordinateAttention(1280)
        self.skip_gates = nn.ModuleList(squeeze_excite(c) for c in SKIPS)
        below, beside = (1280, *WIDTHS), (*SKIPS[::-1], 0)
        self.convolutions = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i + s, o, 3, padding=1), nn.ReLU(), nn.Conv2d(o, o, 3, padding=1), nn.ReLU())
            for i, s, o in zip(below, beside, WIDTHS, strict=False)
        )
        self.gates = nn.ModuleList(squeeze_excite(c) for c in WIDTHS)
        self.logits = nn.Conv2d(WIDTHS[-1], 1, 1)

    def forward(self, x):
        skips, x = self._features(x)
        skips = [skip * gate(skip) for skip, gate in zip(skips, self.skip_gates, strict=True)]
        x = self.coordinate(x)
        for skip, convolutions, gate in zip([*skips[::-1], None], self.convolutions, self.gates, strict=True):
            x = nn.functional.interpolate(x, scale_factor=2.0)
            x = convolutions(x if skip is None else torch.cat([x, skip], 1))
            x = x * gate(x)
        return self.logits(x)

    def _features(self, x):
        encoder, skips = self.encoder, []
        x = encoder.bn1(encoder.conv_stem(x))
        for index, (first, *others) in enumerate(encoder.blocks):
            if index in SKIP_STAGES:  # none of these blocks has a shortcut
                expanded = first.bn1(first.conv_pw(x))
                skips.append(expanded)
                x = first.bn3(first.conv_pwl(first.se(first.bn2(first.conv_dw(expanded)))))
            else:
                x = first(x)
            for block in others:
                x = block(x)
        return skips, encoder.bn2(encoder.conv_head(x))
