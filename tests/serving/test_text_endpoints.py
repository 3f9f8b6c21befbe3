"""The endpoints in this process: against the sampler, against NumPy, and at the edges."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapps import decoding
from rnnapps.sampler import Sampler, Sampling
from rnnapps.serving import text_endpoints


def ask(endpoints, prompts, num_chars, temperature=1.0, seeds=None):
    batch = len(prompts)
    seeds = list(range(batch)) if seeds is None else seeds
    counts = num_chars if isinstance(num_chars, list) else [num_chars] * batch
    heat = tf.fill((batch,), temperature)
    write = endpoints.functions["serving_default"]
    answer = write(tf.constant(prompts), tf.constant(counts), heat, tf.constant(seeds))
    return [text.decode() for text in answer["text"].numpy()]


PROMPTS = ["abc é", "", "中 bad ?" * 9]


def test_text_is_that_of_the_sampler(endpoints, model, vocabulary):
    zeros = functools.partial(decoding.zero_states, model)
    sampler = Sampler(decoding.model_step(model), zeros, vocabulary, 16, jit_compile=False)
    for temperature in (1.0, 0.0):
        expected = [
            sampler.generate(prompt, 20, Sampling(temperature=temperature, seed=seed))[0]
            for seed, prompt in enumerate(PROMPTS)
        ]
        assert ask(endpoints, PROMPTS, 20, temperature) == expected
        assert all(len(text) == 20 for text in expected)


def test_text_is_the_same_alone_and_in_a_batch(endpoints):
    counts = [33, 5, 60]
    together = ask(endpoints, PROMPTS, counts)
    alone = [ask(endpoints, [p], n, seeds=[i])[0] for i, (p, n) in enumerate(zip(PROMPTS, counts, strict=True))]
    assert together == alone
    assert [len(text) for text in together] == counts
    assert ask(endpoints, PROMPTS, counts) == together  # nothing is remembered between requests
    assert ask(endpoints, PROMPTS, counts, seeds=[7, 8, 9]) != together


def test_greedy_is_argmax_by_hand(endpoints, model, vocabulary):
    text = ""
    for _ in range(25):
        ids = np.append(0, vocabulary.encode("ab" + text))[None]
        logits = whole_sequence(model, ids)["logits"][0, -1].numpy()
        text += vocabulary.decode([1 + int(np.argmax(logits[1:]))])
    assert ask(endpoints, ["ab"], 25, temperature=0.0) == [text]


def test_nothing_asked_for_is_nothing_and_too_much_is_cut(endpoints, monkeypatch, model):
    assert ask(endpoints, ["", "abc"], [0, -5]) == ["", ""]
    assert ask(endpoints, ["", "abc", "é"], [0, -(2**31), 3])[:2] == ["", ""]
    assert len(ask(endpoints, ["", "abc", "é"], [0, -(2**31), 3])[2]) == 3
    monkeypatch.setattr(text_endpoints, "MAX_CHARS", 20)
    limited = text_endpoints.TextEndpoints(model, endpoints.codec)
    assert [len(text) for text in ask(limited, ["a", "b"], [2**31 - 1, 19])] == [20, 19]


def whole_sequence(model, ids):
    """Outputs of the model for `(batch, time)` ids from a cold start, without a loop of ours."""
    inputs = {"tokens": tf.constant(ids, tf.int32), **decoding.zero_states(model, len(ids))}
    return _traced(model)(inputs)


@functools.cache
def _traced(model):
    spec = {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in keras.tree.flatten(model.inputs)}
    return tf.function(lambda inputs: model(inputs, training=False), [spec])


def costs_by_hand(model, vocabulary, text):
    ids = vocabulary.encode(text)
    logits = whole_sequence(model, np.append(0, ids[:-1])[None])["logits"][0].numpy().astype(np.float64)
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(ids)), ids]


@pytest.mark.parametrize("window", [7, *(pytest.param(window, marks=pytest.mark.full) for window in (1, 256))])
def test_score_is_the_log_softmax_of_every_token(endpoints, model, vocabulary, monkeypatch, window):
    monkeypatch.setattr(text_endpoints, "WINDOW", window)
    score = text_endpoints.TextEndpoints(model, endpoints.codec).functions["score"]
    texts = ["abc é. bad", "", "x", "中\n" * 30, "f" * 21]
    answer = score(tf.constant(texts))
    assert answer["num_chars"].numpy().tolist() == [10, 0, 1, 60, 21]
    expected = [costs_by_hand(model, vocabulary, text).mean() if text else 0.0 for text in texts]
    np.testing.assert_allclose(answer["nats_per_char"], expected, rtol=2e-6)
    alone = [float(score(tf.constant([text]))["nats_per_char"][0]) for text in texts]
    np.testing.assert_allclose(answer["nats_per_char"], alone, rtol=2e-7)


def test_score_of_a_long_text_adds_up(endpoints, model, vocabulary, monkeypatch):
    """With so many windows, a sum in float32 would be further off."""
    monkeypatch.setattr(text_endpoints, "WINDOW", 16)
    score = text_endpoints.TextEndpoints(model, endpoints.codec).functions["score"]
    text = "".join(np.random.default_rng(0).choice(list("abcdefgh"), 4_000))
    answer = score(tf.constant([text, ""]))
    np.testing.assert_allclose(answer["nats_per_char"][0], costs_by_hand(model, vocabulary, text).mean(), rtol=1e-7)
    assert answer["num_chars"].numpy().tolist() == [4_000, 0]
    only_empty = score(tf.constant(["", ""]))
    assert only_empty["nats_per_char"].numpy().tolist() == [0, 0] == only_empty["num_chars"].numpy().tolist()


def test_chain_of_steps_is_the_whole_sequence(endpoints, model):
    tokens = np.random.default_rng(1).integers(0, 13, (3, 12)).astype(np.int32)
    whole = whole_sequence(model, tokens)
    states = decoding.zero_states(model, 3)
    for i in range(12):
        answer = endpoints.functions["step"](tokens[:, i], states)
        np.testing.assert_allclose(answer["logits"], whole["logits"][:, i], rtol=1e-5, atol=1e-5)
        states = {name: answer[name] for name in states}
    for name, state in states.items():
        np.testing.assert_allclose(state, whole[name], atol=1e-6)


@pytest.fixture
def compiled(model, endpoints, monkeypatch):
    monkeypatch.setattr(text_endpoints, "CAPACITIES", (16, 64))
    return text_endpoints.TextEndpoints(model, endpoints.codec, xla=True)


def test_compiled_by_xla_the_texts_are_the_same(endpoints, compiled):
    counts = [33, 5, 60]
    for temperature in (1.0, 0.0):
        # Of the last row the prompt and the text are longer than any of the capacities.
        assert ask(compiled, PROMPTS, counts, temperature) == ask(endpoints, PROMPTS, counts, temperature)


@pytest.mark.full
def test_compiled_by_xla_nothing_is_nothing(compiled):
    assert ask(compiled, ["ab"], [0]) == [""]


def test_a_server_compiles_before_the_first_client_asks(compiled):
    for key in compiled.functions:
        assert {len(next(iter(inputs.values()))) for name, inputs in compiled.warmup() if name == key} == {1, 2, 4, 8}
