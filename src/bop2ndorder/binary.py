"""Layers with binary weights, and what sorts, clips and checks these weights.

A layer comes in two kinds. By default its weights *are* -1 or +1, and a flip optimizer
(:mod:`bop2ndorder.optim`) turns them one by one; the forward pass is that of the plain torch layer.
With ``latent=True`` the weights are real-valued and only their sign enters the forward pass: the
baseline of both papers, trained by an optimizer for real weights and clipped after each step.
"""

import torch
import torch.nn.functional as F
from torch import nn

from . import float16
from .signs import approx_sign, sign, ste_sign

__all__ = [
    "BinaryConv1d",
    "BinaryConv2d",
    "BinaryLinear",
    "approx_sign",
    "binary_layers",
    "binary_parameters",
    "clip_latent",
    "is_binary",
    "sign",
    "ste_sign",
    "use_float16",
]


class _Binary(nn.Module):
    """What the binary layers share: how weights start, are loaded, and enter the forward pass."""

    latent: bool
    binary_input = False
    float16 = False  # whether the forward pass is summed in float16; `use_float16` sets it

    def reset_parameters(self) -> None:
        if self.latent:
            nn.init.xavier_uniform_(self.weight)
        else:
            with torch.no_grad():
                self.weight.copy_(torch.randint(0, 2, self.weight.shape) * 2 - 1)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @property
    def binary_weight(self) -> torch.Tensor:
        """The weights that the forward pass uses, exactly -1 or +1."""
        return ste_sign(self.weight) if self.latent else self.weight

    def sums_in_float16(self, x: torch.Tensor) -> bool:
        """Whether this call does what :func:`use_float16` chose: not where autocast chooses."""
        return self.float16 and not torch.is_autocast_enabled(x.device.type)

    def _load_from_state_dict(self, state_dict, prefix, *others):
        weight, errors = state_dict.get(f"{prefix}weight"), others[-1]
        if weight is None or self.latent or weight.is_meta or is_binary(weight):
            super()._load_from_state_dict(state_dict, prefix, *others)
        else:
            errors.append(
                f"the weights for {prefix}weight are not all -1 or +1: were they averaged, or "
                "given to an optimizer of real weights? To train latent weights on build the model "
                "with latent=True; to go on from real ones load them before binarize_"
            )

    def extra_repr(self) -> str:
        own = {"latent": self.latent, "binary_input": self.binary_input}
        return super().extra_repr() + "".join(f", {name}=True" for name in own if own[name])


class _BinaryConv(_Binary):
    """What the binary convolutions share; beside it stands torch's, of their dimensions."""

    pad_value = 0

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        *,
        bias=False,
        padding_mode="zeros",
        pad_value=0,
        latent=False,
        binary_input=False,
        device=None,
        dtype=None,
    ):
        if pad_value not in (0, 1, -1):
            raise ValueError(
                f"{type(self).__name__}: pad_value must be 0, 1 or -1, got {pad_value!r}"
            )
        if pad_value and padding_mode != "zeros":
            raise ValueError(
                f"{type(self).__name__}: pad_value={pad_value} goes with padding_mode='zeros', in "
                f"place of the zeros; padding_mode={padding_mode!r} takes its border from the input"
            )
        self.latent = latent  # first: the next line draws the weights
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups,
            bias=bias, padding_mode=padding_mode, device=device, dtype=dtype,
        )  # fmt: skip
        self.pad_value = pad_value
        self.binary_input = binary_input

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # torch's name: some call by it
        x = input
        padding, zeros = self.padding, self.padding_mode == "zeros"
        in_float16 = self.sums_in_float16(x) and x.dim() == self.weight.dim()  # a batch
        if self.pad_value or not zeros or (in_float16 and isinstance(padding, str)):
            border = ("constant", self.pad_value) if zeros else (self.padding_mode,)
            x = F.pad(x, self._reversed_padding_repeated_twice, *border)
            padding = (0,) * len(self.stride)
        how = self.stride, padding, self.dilation, self.groups
        if in_float16:
            return float16.conv(x, self.binary_weight, *how)
        conv = F.conv1d if len(self.stride) == 1 else F.conv2d
        return conv(x, self.binary_weight, self.bias, *how)

    def extra_repr(self) -> str:
        pads = f", pad_value={self.pad_value}" if self.pad_value else ""
        return super().extra_repr() + pads


class BinaryConv2d(_BinaryConv, nn.Conv2d):
    """2-D convolution with weights -1 or +1.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode,
            device, dtype: as in :class:`torch.nn.Conv2d`.
        bias: add a real-valued bias to each channel, which starts at 0 (default: False).
        pad_value: 0, 1 or -1, what the border is padded with where ``padding_mode`` is "zeros"
            (default: 0). With 1 or -1 a padded map of signs is one of signs: a bit for each value.
        latent: keep real-valued weights and use their :func:`ste_sign` (default: False).
        binary_input: whoever builds the layer promises inputs of -1 and +1, or zeros that pad them,
            so that :func:`use_float16` may choose it (default: False).

    Weights (out, in / groups, height, width) start as random signs, or Glorot uniform where latent,
    drawn from torch's generator. The released code starts all from Glorot uniform values, whose
    signs its optimizer takes at the first step.

    Raises:
        ValueError: for another ``pad_value``, one beside another ``padding_mode``, or what
            :class:`torch.nn.Conv2d` refuses.
    """


class BinaryConv1d(_BinaryConv, nn.Conv1d):
    """1-D convolution with weights -1 or +1; the arguments are as in :class:`BinaryConv2d`."""


class BinaryLinear(_Binary, nn.Linear):
    """Dense layer with weights -1 or +1; the arguments are as in :class:`BinaryConv2d`.

    Args:
        in_features, out_features: as in :class:`torch.nn.Linear`; the weights are (out, in).
        bias, latent, binary_input: as in :class:`BinaryConv2d`.
        device, dtype: as in :class:`torch.nn.Linear`.
    """

    def __init__(
        self,
        in_features,
        out_features,
        *,
        bias=False,
        latent=False,
        binary_input=False,
        device=None,
        dtype=None,
    ):
        self.latent = latent  # first: the next line draws the weights
        super().__init__(in_features, out_features, bias=bias, device=device, dtype=dtype)
        self.binary_input = binary_input

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if self.sums_in_float16(input):
            return float16.linear(input, self.binary_weight)
        return F.linear(input, self.binary_weight, self.bias)


def binary_layers(model: nn.Module) -> dict[str, BinaryConv1d | BinaryConv2d | BinaryLinear]:
    """The binary layers of a model by name, in the order of definition, latent or not."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, _Binary)}


def binary_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Split a model's parameters for the two optimizers that train it.

    Args:
        model: a module with binary layers that hold -1 and +1 themselves (not latent).

    Returns:
        ``(binary, real)``: the weights of the binary layers for a flip optimizer, and all other
        parameters, if any, for Adam; each once, in the order of definition.

    Raises:
        ValueError: where there is no binary layer, one is latent, one of its weights is not
            exactly -1 or +1, is on the meta device, or is computed from other parameters, as by
            :mod:`torch.nn.utils.prune`.
    """
    layers = binary_layers(model)
    for name, layer in layers.items():
        if layer.latent:
            raise ValueError(
                f"layer {name!r} has latent weights, which no flip optimizer can train; give all "
                "parameters to an optimizer for real weights, or build the model with latent=False"
            )
        check_own_weight(name, layer)
        if not is_binary(layer.weight):
            raise ValueError(
                f"the weights of binary layer {name!r} must be exactly -1 or +1: were they "
                "averaged, or given to an optimizer of real weights? Set them with "
                "layer.weight.copy_(sign(values)) under torch.no_grad()"
            )
    if not layers:
        raise ValueError(f"the model has no binary layer: {type(model).__name__}")
    binary = {id(layer.weight): layer.weight for layer in layers.values()}  # some may share one
    real = [parameter for parameter in model.parameters() if id(parameter) not in binary]
    return [*binary.values()], real


def is_binary(weight: torch.Tensor) -> bool:
    """Whether every entry is exactly -1 or +1.

    Raises:
        ValueError: for a weight on the meta device.
    """
    if weight.is_meta:
        raise ValueError(
            "on the meta device weights have no values, neither -1 nor +1: move the network with "
            "to_empty(device='cpu'), and load weights or call reset_parameters() of its layers"
        )
    return bool((weight.detach().abs() == 1).all())


def check_own_weight(name: str, layer: nn.Module) -> None:
    """Refuse a binary layer that computes its weight: what is trained then are other parameters.

    Raises:
        ValueError: with the layer's name.
    """
    if "weight" not in layer._parameters:
        raise ValueError(
            f"binary layer {name!r} computes its weight from other parameters, as parametrizations "
            "and pruning do; make it a parameter again first"
        )


@torch.no_grad()
def clip_latent(model: nn.Module) -> None:
    """Clamp latent weights to [-1, 1] in place; to be called after each step of their optimizer.

    Beyond 1 the straight-through estimator lets no gradient through: a weight that left the
    interval would never come back. Layers that are not latent are left alone.

    Raises:
        ValueError: where a latent weight is computed from other parameters.
    """
    for name, layer in binary_layers(model).items():
        if layer.latent:
            check_own_weight(name, layer)
            layer.weight.clamp_(-1, 1)


def use_float16(model: nn.Module) -> list[str]:
    """Sum forward passes in float16 wherever that changes no bit of them; the rest stays as it is.

    Args:
        model: with binary layers, of which those are taken that have ``binary_input``, no bias and
            so few terms that float16 holds every sum of them (:mod:`bop2ndorder.float16`, which
            also says what a GPU has to be told). Under autocast, which chooses dtypes itself, and
            for convolutions of a single map without a batch they do as they did before.

    Returns:
        the names of those layers.
    """
    found = []
    for name, layer in binary_layers(model).items():
        sums = layer.binary_input and layer.bias is None
        layer.float16 = sums and float16.is_exact(layer.weight.shape)
        if layer.float16:
            found.append(name)
    return found
