"""The translator: its parts fit together, what is padded counts for nothing, and a file keeps it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapps.models.translator import translator
from rnnapps.models.writer_parts import CELLS

pytestmark = pytest.mark.usefixtures("one_step_a_turn")
SIZE, ROWS, PLACES, TIME = 11, 3, 6, 5


def given(places=PLACES, time=TIME):
    rng = np.random.default_rng(0)
    source = rng.integers(3, SIZE, (ROWS, places)).astype("int32")
    source[1, 4:] = 0
    target = rng.integers(3, SIZE, (ROWS, time)).astype("int32")
    target[:, 0] = 0
    return {"source": source, "target": target}


@pytest.mark.full
@pytest.mark.parametrize("cell", ["gru", "lstm", "min_gru"])
def test_learns_a_batch_by_heart(cell):
    model = translator(SIZE, cell=cell, units=16, embedding=8, seed=1)
    inputs = given()
    targets = np.roll(inputs["target"], -1, axis=1)
    model.compile(
        keras.optimizers.Adam(0.03),
        loss={"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "alignment": None},
        jit_compile=False,
    )
    losses = model.fit(inputs, {"logits": targets}, epochs=60, batch_size=ROWS, verbose=0).history["loss"]
    assert losses[-1] < 0.1 * losses[0]


def test_gradients_lead_down():
    """A small step against the gradient lowers the loss by as much as the gradient says."""
    model, inputs = translator(SIZE, units=8, embedding=6), given(4, 3)
    cost = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    targets = np.roll(inputs["target"], -1, axis=1)
    with tf.GradientTape() as tape:
        before = cost(targets, model(inputs)["logits"])
    gradients = list(map(tf.convert_to_tensor, tape.gradient(before, model.trainable_variables)))
    length = tf.linalg.global_norm(gradients)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.abs(gradient).max() > 0, variable.path
        variable.assign_sub(1e-2 * gradient / length)
    found = float(before - cost(targets, model(inputs)["logits"]))
    assert found == pytest.approx(1e-2 * float(length), rel=0.1)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.full),
        {"target_vocabulary": 7, "tied": False},
        {"cell": "lstm", "layers": 2, "score": "general", "bridge": "mean", "coverage": False},
        {"score": "scaled", "input_feeding": False, "bridge": "zero"},
        pytest.param({"score": "dot", "layers": 2}, marks=pytest.mark.full),
        {"coverage": True, "dropout": 0.2, "locked": True, "recurrent_dropout": 0.2},
    ],
    ids=str,
)
def test_shapes_padding_and_the_past(options):
    model = translator(SIZE, units=8, embedding=6, **options)
    inputs = given()
    if "target_vocabulary" in options:
        inputs["target"] %= 7
    found = model(inputs)
    assert found["logits"].shape == (ROWS, TIME, options.get("target_vocabulary", SIZE))
    np.testing.assert_allclose(tf.reduce_sum(found["alignment"], -1), 1, atol=1e-5)
    # More padding changes nothing, and no token changes what is written before it.
    padded = {"source": np.pad(inputs["source"], [(0, 0), (0, 3)]), "target": inputs["target"]}
    np.testing.assert_allclose(model(padded)["logits"], found["logits"], atol=1e-5)
    later = {**inputs, "target": inputs["target"].copy()}
    later["target"][:, 3] = 4
    changed = model(later)["logits"]
    np.testing.assert_allclose(changed[:, :3], found["logits"][:, :3], atol=1e-6)
    assert not np.allclose(changed[:, 3:], found["logits"][:, 3:])


def test_cells_go_by_their_names():
    for name, cell in CELLS.items():
        assert cell.__name__.lower() == name.replace("_", "") + "cell"


# One with a state, one with two, one that has all steps at once.
READ = ("gru", "peephole_lstm", "sru")


@pytest.mark.parametrize("cell", [pytest.param(cell, marks=() if cell in READ else pytest.mark.full) for cell in CELLS])
def test_every_cell_reads_and_writes(cell):
    model, inputs = translator(SIZE, cell=cell, units=4, embedding=3), given(3, 2)
    before = model(inputs)["logits"]
    assert before.shape == (ROWS, 2, SIZE)
    inputs["source"] = np.flip(inputs["source"], 1).copy()
    assert not np.allclose(model(inputs)["logits"], before, atol=1e-5)


def test_source_counts_at_every_place():
    model = translator(SIZE, units=8, embedding=6)
    # A row with each place changed, and the last as it was.
    row = {name: np.repeat(values[1:2], 5, axis=0) for name, values in given().items()}
    places = np.arange(4)
    row["source"][places, places] = 3 + (row["source"][places, places] - 2) % (SIZE - 3)
    *changed, before = np.array(model(row)["logits"])
    assert not any(np.allclose(one, before, atol=1e-6) for one in changed)
    np.testing.assert_allclose(model(given())["logits"][1], before, atol=1e-5)  # whatever stands in the other rows


def test_one_seed_gives_one_model_and_another_gives_another():
    one, same, other = (translator(SIZE, units=8, embedding=6, seed=seed).get_weights() for seed in (3, 3, 4))
    for weight, again, differs in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(weight, again)
        drawn = len(np.unique(weight)) > 2  # not zeros or ones
        assert not drawn or not np.allclose(weight, differs)


def test_dropout_is_for_training_alone():
    inputs = given(4, 3)
    model = translator(SIZE, units=8, embedding=6, dropout=0.5, recurrent_dropout=0.3, seed=3)
    plain = translator(SIZE, units=8, embedding=6, seed=3)
    plain.set_weights([w.numpy() for w in model.weights if "seed" not in w.path])
    wanted = plain(inputs)["logits"]
    np.testing.assert_allclose(model(inputs)["logits"], wanted, atol=1e-6)
    assert not np.allclose(model(inputs, training=True)["logits"], wanted)


def test_a_file_keeps_it(tmp_path):
    model = translator(SIZE, 9, cell="layer_norm_lstm", units=8, embedding=6, layers=2, coverage=True, dropout=0.1)
    model.save(tmp_path / "model.keras")
    loaded, inputs = keras.models.load_model(tmp_path / "model.keras"), given(4, 3)
    inputs["target"] %= 9
    np.testing.assert_array_equal(model(inputs)["logits"], loaded(inputs)["logits"])


def test_what_is_not_known_is_said():
    with pytest.raises(ValueError, match="cell is 'rnn': wanted one of gru"):
        translator(SIZE, cell="rnn")
    with pytest.raises(ValueError, match="recurrent_dropout 0.1 with cell 'sru'"):
        translator(SIZE, cell="sru", recurrent_dropout=0.1)
    with pytest.raises(ValueError, match=r"translator got \['heads'\]"):
        translator(SIZE, heads=8)
