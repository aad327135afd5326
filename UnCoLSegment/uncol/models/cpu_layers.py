"""Norm and dropout that take a fraction of torch's time in a training step on a CPU (performance/training_step.py)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_DRAWN_AT_ONCE, _VALUES = 4, 2**16
"""Whole numbers of 16 bits in each that the generator gives, and how many of them there are."""


class ChannelNorm(nn.GroupNorm):
    """Instance norm over slices or volumes: the same numbers and weights as torch's, within rounding.

    On a CPU, torch's instance norm copies what lies channels-last, and the gradient of its group norm takes 18 times as
    long as the norm. In bfloat16 group norm is slower than those copies. On a GPU both are torch's.
    """

    def __init__(self, like: nn.InstanceNorm2d | nn.InstanceNorm3d) -> None:
        super().__init__(like.num_features, like.num_features, eps=like.eps)
        self.load_state_dict(like.state_dict())

    def forward(self, features: Tensor) -> Tensor:
        """Return features (B, C, ...) with mean 0 and deviation 1 in every channel of every sample, then scaled."""
        on_cpu, is_volume = features.device.type == "cpu", features.ndim == 5
        if features.dtype is torch.bfloat16 if on_cpu else is_volume:
            return functional.instance_norm(features, weight=self.weight, bias=self.bias, eps=self.eps)
        if on_cpu and torch.is_grad_enabled():
            normalized: Tensor = _Normalized.apply(features, self.weight, self.bias, self.eps)
            return normalized
        return super().forward(features)


class _Normalized(torch.autograd.Function):
    """torch's group norm, one channel a group, with a gradient in few passes over the features.

    With y = w (x - m) r + b, m the mean and r the inverse deviation of a channel of n pixels, and sums over them:
    db = sum(g), dw = r (sum(g x) - m sum(g)), dx = w r (g - db / n - (x - m) r dw / n).
    """

    @staticmethod
    def forward(context: Any, features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        """Return the normalized features (B, C, ...)."""
        last = torch.channels_last if features.ndim == 4 else torch.channels_last_3d
        is_last = features.is_contiguous(memory_format=last)
        features = features.contiguous(memory_format=last if is_last else torch.contiguous_format)
        batch, channels = features.shape[:2]
        pixels = features[0, 0].numel()
        result, mean, inverse = torch.native_group_norm(features, weight, bias, batch, channels, pixels, channels, eps)
        context.save_for_backward(features, weight, mean, inverse)
        return result

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients of features, weight and bias."""
        features, weight, mean, inverse = context.saved_tensors
        axes, shape = tuple(range(2, features.ndim)), (*features.shape[:2], *[1] * (features.ndim - 2))
        pixels = features[0, 0].numel()
        of_bias = gradient.sum(axes)
        of_weight = inverse * ((gradient * features).sum(axes) - mean * of_bias)
        factor = weight * inverse
        slope = -factor * inverse * of_weight / pixels
        offset = -factor * of_bias / pixels - slope * mean
        of_features = torch.addcmul(offset.view(shape), features, slope.view(shape))
        of_features.addcmul_(gradient, factor.view(shape))
        return of_features, of_weight.sum(0), of_bias.sum(0), None


class CpuDropout(nn.Dropout):
    """Dropout whose mask on a CPU is drawn four numbers at a time: other ones than torch's, the same distribution."""

    def forward(self, features: Tensor) -> Tensor:
        """Return features (B, C, ...) of which a part is 0 in training, and the rest larger by as much."""
        if not self.training or self.p == 0 or features.device.type != "cpu":
            return super().forward(features)
        count = features.numel()
        drawn = torch.empty(-(-count // _DRAWN_AT_ONCE), dtype=torch.int64).random_(-(2**63), None)
        kept = drawn.view(torch.int16)[:count] >= round(self.p * _VALUES) - _VALUES // 2
        in_memory = kept.as_strided(features.shape, torch.empty_like(features, device="meta").stride())
        return features * torch.where(in_memory, 1 / (1 - self.p), 0.0).to(features.dtype)


def with_cpu_layers(network: nn.Module) -> None:
    """Give a network these layers in the place of torch's; its weights keep their names and values."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.InstanceNorm2d | nn.InstanceNorm3d):
                setattr(module, name, ChannelNorm(child))
            elif type(child) is nn.Dropout:
                setattr(module, name, CpuDropout(child.p))
