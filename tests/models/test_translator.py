"""The translator: its parts fit together, what is padded counts for nothing, and a file keeps it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapps.models.translator import translator
from rnnapps.models.writer_parts import CELLS

pytestmark = pytest.mark.usefixtures("one_step_a_turn")
SIZE, ROWS, PLACES, TIME = 11, 3, 6, 5


def given(seed=0):
    rng = np.random.default_rng(seed)
    source = rng.integers(3, SIZE, (ROWS, PLACES)).astype("int32")
    source[1, 4:] = 0
    target = rng.integers(3, SIZE, (ROWS, TIME)).astype("int32")
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


@pytest.mark.full
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target_vocabulary": 7, "tied": False},
        {"cell": "lstm", "layers": 3, "score": "general", "bridge": "mean", "coverage": False},
        {"score": "scaled", "input_feeding": False, "bridge": "zero"},
        {"score": "dot", "layers": 2},
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
    np.testing.assert_allclose(model(later)["logits"][:, :3], found["logits"][:, :3], atol=1e-6)
    assert not np.allclose(model(later)["logits"][:, 3:], found["logits"][:, 3:])


@pytest.mark.full
@pytest.mark.parametrize("cell", list(CELLS))
def test_every_cell_reads_and_writes(cell):
    model, inputs = translator(SIZE, cell=cell, units=8, embedding=6, layers=2), given()
    before = model(inputs)["logits"]
    assert before.shape == (ROWS, TIME, SIZE)
    inputs["source"] = np.flip(inputs["source"], 1).copy()
    assert not np.allclose(model(inputs)["logits"], before, atol=1e-5)


def test_source_counts_at_every_place():
    model, inputs = translator(SIZE, units=8, embedding=6), given()
    before = model(inputs)["logits"]
    for place in range(4):
        other = {**inputs, "source": inputs["source"].copy()}
        other["source"][1, place] = 3 + (other["source"][1, place] - 2) % (SIZE - 3)
        after = model(other)["logits"]
        assert not np.allclose(after[1], before[1], atol=1e-6)
        np.testing.assert_array_equal(after[0], before[0])


def test_one_seed_gives_one_model_and_another_gives_another():
    def logits(seed):
        return np.array(translator(SIZE, units=8, embedding=6, seed=seed)(given())["logits"])

    np.testing.assert_array_equal(logits(3), logits(3))
    assert not np.allclose(logits(3), logits(4))


def test_dropout_is_for_training_alone():
    model = translator(SIZE, units=8, embedding=6, dropout=0.5, recurrent_dropout=0.3, seed=3)
    plain = translator(SIZE, units=8, embedding=6, seed=3)
    plain.set_weights([w.numpy() for w in model.weights if "seed" not in w.path])
    np.testing.assert_allclose(model(given())["logits"], plain(given())["logits"], atol=1e-6)
    assert not np.allclose(model(given(), training=True)["logits"], plain(given())["logits"])


def test_a_file_keeps_it(tmp_path):
    model = translator(SIZE, 9, cell="layer_norm_lstm", units=8, embedding=6, layers=2, coverage=True, dropout=0.1)
    model.save(tmp_path / "model.keras")
    loaded, inputs = keras.models.load_model(tmp_path / "model.keras"), given()
    inputs["target"] %= 9
    np.testing.assert_array_equal(model(inputs)["logits"], loaded(inputs)["logits"])


def test_what_is_not_known_is_said():
    with pytest.raises(ValueError, match="cell is 'rnn': wanted one of gru"):
        translator(SIZE, cell="rnn")
    with pytest.raises(ValueError, match="recurrent_dropout 0.1 with cell 'sru'"):
        translator(SIZE, cell="sru", recurrent_dropout=0.1)
    with pytest.raises(ValueError, match=r"translator got \['heads'\]"):
        translator(SIZE, heads=8)
