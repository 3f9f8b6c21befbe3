"""Beam search against plain lists and against all sentences, on a model whose logits depend on all that was read.

`Toy` looks its logits up with a hash of the tokens read, so that a state that was reordered wrongly gives another text.
The reference never stops before the longest sentence and keeps everything that ended: early stopping must change
nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from reference.beam_search import LONGEST, SEEDS, Toy, by_hand, log_softmax, score

from rnnapps.decoding import END, UNSEEN, Search, beam_search
from rnnapps.decoding.candidates import largest
from rnnapps.errors import UsageError

FULL = pytest.mark.full
eager_and_traced = pytest.mark.usefixtures("eager_and_traced")

SMALL, PEAKED = Toy(5), Toy(6, scale=0.4, favourites={3: 2.5, 4: 2.0})
HOLES, MORE_HOLES, ENDLESS = Toy(7, holes=0.4), Toy(7, holes=0.7), Toy(6, favourites={END: -30.0})
WIDE = Toy(700, scale=3.0, favourites={END: 8.0})


@functools.cache
def runner(toy, options, jit_compile, names):
    def run(states, *values):
        return beam_search(toy.step, states, options, **dict(zip(names, values, strict=True)))

    return tf.function(run, jit_compile=jit_compile)


def found(toy, options, seeds=SEEDS, jit_compile=False, **more):
    """For each sentence its hypotheses: tokens up to END, log p and score; free places are left out."""
    # One trace for all batches of a kind.
    values = [tf.constant(value) for value in more.values()]
    result = runner(toy, options, jit_compile, tuple(more))(toy.states(seeds), *values)
    assert result.tokens.shape == (len(seeds), options.num_best, options.max_length)
    return [as_lists(*row) for row in zip(*(part.numpy() for part in result), strict=True)]


def as_lists(tokens, lengths, log_probs, scores):
    hypotheses = []
    for row, length, log_prob, value in zip(tokens.tolist(), lengths, log_probs, scores, strict=True):
        if log_prob == -np.inf:
            assert length == 0 and value == -np.inf and not any(row)
            continue
        written = length + (END in row)
        assert 0 not in row[:written] and not any(row[written:])
        assert END not in row[:length]
        hypotheses.append((row[:written], log_prob, value))
    return hypotheses


def check(results, expected):
    """The same tokens in the same order, log p and scores up to rounding."""
    for row, (hypotheses, wanted) in enumerate(zip(results, expected, strict=True)):
        assert [h[0] for h in hypotheses] == [list(h[0]) for h in wanted], row
        np.testing.assert_allclose([h[1] for h in hypotheses], [h[1] for h in wanted], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose([h[2] for h in hypotheses], [h[2] for h in wanted], rtol=1e-4, atol=1e-4)


@pytest.fixture(params=["eager", *(pytest.param(kind, marks=FULL) for kind in ("traced", "xla"))])
def jit_compile(request):
    """As `eager_and_traced`, and compiled too."""
    tf.config.run_functions_eagerly(request.param == "eager")
    yield request.param == "xla"
    tf.config.run_functions_eagerly(False)


def test_a_beam_of_one_is_greedy(jit_compile):
    ended = []
    for toy in (SMALL, PEAKED):
        results = found(toy, Search(beam=1, max_length=LONGEST), jit_compile=jit_compile)
        for seed, ((tokens, log_prob, _),) in zip(SEEDS, results, strict=True):
            text, total = [], 0.0
            while len(text) < LONGEST and END not in text:
                log_p = log_softmax(toy.logits(seed, text)[0])
                text.append(int(np.argmax(log_p[1:])) + 1)
                total += log_p[text[-1]]
            assert tokens == text
            np.testing.assert_allclose(log_prob, total, rtol=1e-4)
            ended.append(END in text)
    assert any(ended) and not all(ended)


@eager_and_traced
@pytest.mark.parametrize("num_best", [40, *(pytest.param(count, marks=FULL) for count in (1, 5))])
@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (0.6, 0.0), (1.0, 0.0), (0.6, 0.5)])
def test_a_wide_beam_finds_what_all_sentences_hold(alpha, beta, num_best):
    options = Search(120, 4, length_penalty=alpha, coverage_penalty=beta, num_best=num_best)
    expected = []
    for seed in SEEDS:
        sentences = [
            (*symbols, END) for length in range(4) for symbols in itertools.product((UNSEEN, 3, 4), repeat=length)
        ]
        assert len(sentences) == 40
        scored = [(sentence, *score(SMALL, seed, sentence, options)) for sentence in sentences]
        expected.append(sorted(scored, key=lambda one: -one[2])[:num_best])
    check(found(SMALL, options), expected)


WAYS = [
    {"beam": 2, "num_best": 2},
    {"beam": 3, "num_best": 3, "length_penalty": 0.0},
    {"beam": 3, "num_best": 1, "length_penalty": 2.0, "coverage_penalty": 0.3},
    {"beam": 3, "num_best": 2, "min_length": 3, "block_unseen": True},
    {"beam": 4, "num_best": 4, "no_repeat_ngram": 2},
    {"beam": 4, "num_best": 4, "groups": 2, "diversity": 1.5},
    {"beam": 3, "num_best": 3, "groups": 3, "diversity": 0.7, "min_length": 1},
]


TOYS = {"small": SMALL, "peaked": PEAKED, "holes": HOLES}
QUICK = [*(("small", way) for way in WAYS), *(("holes", way) for way in WAYS[::3]), ("peaked", WAYS[5])]


@eager_and_traced
@pytest.mark.parametrize(
    ("toy", "way"),
    [
        pytest.param(name, way, marks=() if (name, way) in QUICK else FULL)
        for name, way in itertools.product(TOYS, WAYS)
    ],
    ids=str,
)
def test_a_narrow_beam_equals_plain_lists(way, toy):
    options, toy = Search(max_length=LONGEST, **way), TOYS[toy]
    expected = [by_hand(toy, seed, options) for seed in SEEDS]
    check(found(toy, options), expected)
    assert any(len(row) > 1 for row in expected) or options.num_best == 1


@eager_and_traced
def test_holes_leave_places_free_and_cut_sentences_come_last():
    options = Search(beam=6, num_best=6, max_length=3)
    expected = [by_hand(MORE_HOLES, seed, options) for seed in SEEDS]
    assert min(len(row) for row in expected) < 6
    cut = [[END not in hypothesis[0] for hypothesis in row] for row in expected]
    assert any(any(row) and not all(row) for row in cut) and all(row == sorted(row) for row in cut)
    check(found(MORE_HOLES, options), expected)


OTHER_WAYS = [WAYS[2], WAYS[4], WAYS[5]]


@pytest.mark.full
@pytest.mark.parametrize("way", OTHER_WAYS, ids=str)
def test_compiled_by_xla(way):
    """As is, in the quick tier, `test_ties_go_to_the_lower_beam_and_the_lower_token`."""
    options = Search(max_length=LONGEST, **way)
    check(found(PEAKED, options, jit_compile=True), [by_hand(PEAKED, seed, options) for seed in SEEDS])


@eager_and_traced
@pytest.mark.parametrize("way", [WAYS[2], *(pytest.param(way, marks=FULL) for way in OTHER_WAYS[1:])], ids=str)
def test_a_row_alone_is_that_among_others(way):
    options = Search(max_length=LONGEST, **way)
    together = found(PEAKED, options)
    for seed, row in zip(SEEDS, together, strict=True):
        check(found(PEAKED, options, [seed]), [row])
    # Neighbours and free rows are not seen.
    check(found(PEAKED, options, [*SEEDS[::-1], 0, 0])[: len(SEEDS)], together[::-1])


LARGE_WAYS = [
    {"beam": 3, "no_repeat_ngram": 1, "length_penalty": 0.5},
    {"beam": 6, "groups": 6, "diversity": 50.0, "min_length": 2},  # the last group takes what five others left
]


@pytest.mark.parametrize("way", LARGE_WAYS, ids=str)
def test_a_large_vocabulary_takes_two_stages(way, jit_compile):
    options = Search(num_best=3, max_length=5, **way)
    expected = [by_hand(WIDE, seed, options) for seed in SEEDS]
    check(found(WIDE, options, jit_compile=jit_compile), expected)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(("size", "count"), [(1024, 7), (1001, 12), (30, 30)])
def test_largest_takes_the_first_of_equals(size, count, jit_compile):
    values = np.round(np.random.default_rng(2).normal(size=(50, size))).astype(np.float32) + 0.0  # XLA has -0.0 < 0.0
    values[3, : size - 2] = -np.inf
    values[4] = 1.0
    result, places = tf.function(largest, jit_compile=jit_compile)(values, count)
    wanted = np.argsort(-values, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(result, np.take_along_axis(values, wanted, 1))
    finite = result.numpy() > -np.inf
    np.testing.assert_array_equal(places.numpy()[finite], wanted[finite])
    assert finite[3].sum() == 2


@pytest.mark.parametrize("jit_compile", [pytest.param(False, marks=FULL), True])
def test_ties_go_to_the_lower_beam_and_the_lower_token(jit_compile):
    def step(tokens, states):
        return tf.zeros((tf.shape(tokens)[0], 6)), states

    options = Search(beam=3, num_best=3, max_length=3, length_penalty=0.0)
    run = tf.function(lambda x: beam_search(step, {"x": x}, options), jit_compile=jit_compile)
    tokens = run(tf.zeros((2, 1))).tokens.numpy()
    # Shorter is more probable here. END ends first; of the others 2, 3 and 4 go on, and beam 0 (token 2) is the best.
    np.testing.assert_array_equal(tokens[0], [[END, 0, 0], [2, END, 0], [2, 2, END]])
    np.testing.assert_array_equal(tokens[1], tokens[0])


def repeats(tokens, n):
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return len(grams) - len(set(grams))


@eager_and_traced
@pytest.mark.parametrize("n", [1, 2, pytest.param(3, marks=FULL)])
def test_no_ngram_is_written_twice(n):
    options = Search(beam=3, num_best=3, max_length=LONGEST, length_penalty=2.0)
    assert any(repeats(h[0], n) for row in found(PEAKED, options) for h in row)
    options = dataclasses.replace(options, no_repeat_ngram=n)
    results = found(PEAKED, options)
    assert not any(repeats(h[0], n) for row in results for h in row)
    check(results, [by_hand(PEAKED, seed, options) for seed in SEEDS])


@eager_and_traced
def test_lengths_keep_their_bounds():
    options = Search(beam=3, num_best=3, min_length=4, max_length=LONGEST, block_unseen=True)
    results = found(SMALL, options)
    assert all(4 <= len(h[0]) - 1 < LONGEST and UNSEEN not in h[0] for row in results for h in row)
    assert any(UNSEEN in h[0] for row in found(SMALL, dataclasses.replace(options, block_unseen=False)) for h in row)
    limits = np.array([0, 1, 5, LONGEST + 9], np.int32)
    options = Search(beam=3, num_best=3, max_length=LONGEST)
    for toy in (ENDLESS, SMALL):
        results = found(toy, options, max_lengths=limits)
        check(results, [by_hand(toy, seed, options, limit=n) for seed, n in zip(SEEDS, limits, strict=True)])
        assert results[0] == [([], 0.0, 0.0)]
    assert [len(row[0][0]) for row in found(ENDLESS, options, max_lengths=limits)] == [0, 1, 5, LONGEST]


@eager_and_traced
@pytest.mark.parametrize("way", [pytest.param(WAYS[1], marks=FULL), WAYS[4], WAYS[5]], ids=str)
def test_forced_tokens_are_taken_and_count(way):
    forced = np.array([[4, 4, 4], [UNSEEN, 0, 0], [3, END, 4], [9, 9, 9]], np.int32)
    given = np.array([3, 1, 3, 0], np.int32)
    options = Search(max_length=LONGEST, **way)
    results = found(SMALL, options, forced=forced, num_forced=given)
    expected = [by_hand(SMALL, s, options, forced=f[:n]) for s, f, n in zip(SEEDS, forced, given, strict=True)]
    check(results, expected)
    assert all(h[0][:3] == [4, 4, 4] for h in results[0]) and [h[0] for h in results[2]] == [[3, END]] * len(results[2])
    check(results[3:], found(SMALL, options, SEEDS[3:]))
    check(found(SMALL, options, SEEDS[:1], forced=forced[:1]), results[:1])


@eager_and_traced
def test_a_forced_token_of_probability_0_leaves_an_order():
    never = Toy(5, favourites={3: -np.inf})
    options = Search(beam=2, num_best=2, max_length=6)
    columns = np.full((4, 9), 3, np.int32)  # wider than a sentence may be
    results = found(never, options, forced=columns, num_forced=np.array([1, 1, 2, 6], np.int32))
    assert all(row[0][0][0] == 3 and np.isfinite(row[0][2]) for row in results)
    assert results[3][0][0] == [3] * 6
    (tokens, log_prob, _), *_ = results[0]
    rest = sum(log_softmax(never.logits(SEEDS[0], tokens[:i])[0])[tokens[i]] for i in range(1, len(tokens)))
    np.testing.assert_allclose(log_prob, -1e4 + rest, atol=0.01)


@eager_and_traced
def test_groups_write_different_sentences():
    plain = found(PEAKED, Search(beam=2, num_best=2, max_length=LONGEST))
    grouped = found(PEAKED, Search(beam=4, num_best=4, groups=2, diversity=1e-6, max_length=LONGEST))
    for two, four in zip(plain, grouped, strict=True):  # a strength of next to nothing: each group finds the same
        check([four], [[two[0], two[0], two[1], two[1]]])
    strong = found(PEAKED, Search(beam=4, num_best=4, groups=4, diversity=50.0, max_length=LONGEST))
    first = [{h[0][0] for h in row} for row in strong]
    assert all(len(tokens) == 4 or END in tokens for tokens in first)
    assert sum(map(len, first)) > sum(len({h[0][0] for h in row}) for row in grouped)


# A network with attention, whose memory is no state: the step closes over it with one row per sentence.
RNG = np.random.default_rng(11)
W, U, V = (RNG.normal(scale=s, size=n).astype(np.float32) for s, n in ((1, (9, 4)), (0.7, (4, 4)), (1.2, (8, 9))))
MEMORY = RNG.normal(scale=2.0, size=(3, 5, 4)).astype(np.float32)
LENGTHS = np.array([5, 3, 4], np.int32)
ATTENTIVE = Search(beam=3, num_best=3, max_length=8, coverage_penalty=0.4)


def attention_step(memory, mask, beam):
    def step(tokens, states):
        hidden = tf.tanh(tf.gather(W, tokens) + states["hidden"] @ U)
        query = tf.reshape(hidden, (-1, beam, 4))
        scores = tf.einsum("bqu,bmu->bqm", query, memory) + tf.where(mask, 0.0, -1e9)[:, None]
        alignment = tf.reshape(tf.nn.softmax(scores), (-1, tf.shape(memory)[1]))
        context = tf.einsum("bqm,bmu->bqu", tf.reshape(alignment, tf.shape(scores)), memory)
        logits = tf.concat([hidden, tf.reshape(context, (-1, 4))], axis=1) @ V
        return logits, {"hidden": hidden, "alignment": alignment}

    return step


def translate(memory, lengths, max_lengths):
    mask = tf.range(tf.shape(memory)[1]) < lengths[:, None]
    batch = tf.shape(memory)[0]
    states = {"hidden": tf.zeros((batch, 4)), "alignment": tf.zeros(tf.shape(memory)[:2])}
    step = attention_step(memory, mask, ATTENTIVE.beam)
    return beam_search(step, states, ATTENTIVE, max_lengths=max_lengths, memory_mask=mask)._asdict()


ROWS = tf.TensorSpec((None,), tf.int32)
dynamic = tf.function(translate, input_signature=[tf.TensorSpec((None, None, 4)), ROWS, ROWS])
LIMITS = np.array([8, 6, 8], np.int32)


def same(one, other):
    for name in ("tokens", "lengths"):
        np.testing.assert_array_equal(one[name], other[name])
    for name in ("log_probs", "scores"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-5)


def test_memory_held_once_equals_memory_held_by_each_beam():
    results = dynamic(MEMORY, LENGTHS, LIMITS)
    mask = np.arange(5) < LENGTHS[:, None]

    def step(tokens, states):
        logits, after = attention_step(states["memory"], states["mask"], 1)(tokens, states)
        return logits, {**after, "memory": states["memory"], "mask": states["mask"]}

    states = {"hidden": tf.zeros((3, 4)), "alignment": tf.zeros((3, 5)), "memory": MEMORY, "mask": mask}
    same(results, beam_search(step, states, ATTENTIVE, max_lengths=LIMITS, memory_mask=mask)._asdict())
    # The coverage counts at all, and its mask too.
    plain = Search(beam=3, num_best=3, max_length=8)
    without = beam_search(step, states, plain, max_lengths=LIMITS)
    assert (np.abs(without.scores.numpy() - results["scores"].numpy()).max(axis=1) > 0.01).all()
    unmasked = beam_search(step, states, ATTENTIVE, max_lengths=LIMITS)
    assert (unmasked.scores.numpy()[1:] < results["scores"].numpy()[1:] - 1).all()


@pytest.mark.full
def test_xla_changes_nothing():
    compiled = tf.function(translate, jit_compile=True)
    same(dynamic(MEMORY, LENGTHS, LIMITS), compiled(MEMORY, LENGTHS, LIMITS))


def test_rows_and_padding_change_nothing():
    results = dynamic(MEMORY, LENGTHS, LIMITS)
    same(results, dynamic(np.pad(MEMORY, ((0, 0), (0, 4), (0, 0)), constant_values=3.0), LENGTHS, LIMITS))
    for row in range(3):
        alone = slice(row, row + 1)
        same(
            {name: value[alone] for name, value in results.items()},
            dynamic(MEMORY[alone, : LENGTHS[row]], LENGTHS[alone], LIMITS[alone]),
        )


def test_no_rows_at_all():
    results = dynamic(MEMORY[:0], LENGTHS[:0], LIMITS[:0])
    assert {name: tuple(value.shape) for name, value in results.items()} == {
        "tokens": (0, 3, 8),
        "lengths": (0, 3),
        "log_probs": (0, 3),
        "scores": (0, 3),
    }


def test_a_saved_model_finds_the_same(tmp_path):
    module = tf.Module()
    module.translate = dynamic
    tf.saved_model.save(module, tmp_path)
    same(tf.saved_model.load(tmp_path).translate(MEMORY, LENGTHS, LIMITS), dynamic(MEMORY, LENGTHS, LIMITS))
    graph = dynamic.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    operations = {node.op for node in nodes}
    assert "TopKV2" in operations and not any("PyFunc" in name for name in operations)


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ({"beam": 0}, "beam 0: wanted 1 or more"),
        ({"max_length": 0}, "max_length 0: wanted 1 or more"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram -1: wanted 0 or more"),
        ({"length_penalty": -0.5}, "length_penalty -0.5: wanted a finite number, 0 or more"),
        ({"coverage_penalty": float("nan")}, "coverage_penalty nan: wanted a finite number, 0 or more"),
        ({"min_length": 9, "max_length": 9}, "min_length 9: wanted 0 to 8, below max_length"),
        ({"num_best": 6}, "num_best 6: wanted 1 to 5, the beam"),
        ({"groups": 2, "diversity": 1.0}, "groups 2: wanted a divisor of 5, the beam"),
        ({"groups": 5}, "diversity 0.0 with groups 5: wanted above 0 with groups"),
        ({"diversity": 0.5}, "diversity 0.5 with groups 1: wanted 0 without groups"),
    ],
)
def test_bad_options(way, message):
    with pytest.raises(UsageError) as error:
        Search(**way)
    assert str(error.value) == message


def test_coverage_needs_an_alignment():
    with pytest.raises(UsageError, match="coverage_penalty 0.4 with states x: wanted a state 'alignment'"):
        beam_search(lambda tokens, states: (tokens, states), {"x": tf.zeros((1, 1))}, ATTENTIVE)
