"""The host side of sampling: chunks, stop strings, samples, traces."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from rnnapps.data.vocabulary import Vocabulary
from rnnapps.errors import UsageError
from rnnapps.sampler import Sampler, Sampling

LETTERS = "abcde \né"
UNITS = 8


def make_step(symbols: int):
    rng = np.random.default_rng(3)
    shapes = (symbols + 1, UNITS), (UNITS, UNITS), (UNITS, symbols + 1)
    w, u, v = (tf.constant(rng.normal(size=shape), tf.float32) for shape in shapes)

    def step(tokens, states):
        h = tf.tanh(tf.gather(w, tokens) + states["h"] @ u)
        return h @ v, {"h": h}

    return step


def zeros(batch):
    return {"h": tf.zeros((batch, UNITS))}


@functools.cache  # it is traced once for all tests
def make_sampler(chunk=16, jit_compile=False, kind="char", piece=128):
    symbols = LETTERS if kind == "char" else [bytes([i]) for i in range(256)]
    return Sampler(make_step(len(symbols)), zeros, Vocabulary(kind, symbols), chunk, piece, jit_compile)


PROMPT = "bad cafe\n" * 5


def test_text_does_not_depend_on_xla():
    sampling = Sampling(num_samples=3, seed=-5, top_k=5)
    plain, compiled = (make_sampler(16, jit).generate(PROMPT, 100, sampling) for jit in (False, True))
    assert compiled == plain and len(set(plain)) == 3


def test_text_does_not_depend_on_chunk_or_piece():
    sampling = Sampling(num_samples=3, seed=-5, top_k=5)
    samplers = [make_sampler(chunk) for chunk in (1, 16)]
    texts = {tuple(sampler.generate(PROMPT, 100, sampling)) for sampler in samplers}
    streamed = list(make_sampler(chunk=200, piece=7).stream(PROMPT, 100, sampling))
    assert max(len(text) for pieces in streamed for text in pieces) == 7
    texts.add(tuple("".join(pieces) for pieces in zip(*streamed, strict=True)))
    assert len(texts) == 1
    samples = texts.pop()
    assert all(len(text) == 100 and set(text) <= set(LETTERS) for text in samples)
    assert len(set(samples)) == 3
    following = Sampling(num_samples=3, seed=-4, top_k=5)
    assert samplers[0].generate(PROMPT, 100, following)[:2] == list(samples[1:])  # sample i has seed + i


def test_one_compiled_function_for_every_length():
    sampler = make_sampler(jit_compile=True, piece=5)
    for prompt, length in (("", 1), ("a", 16), (PROMPT, 100), ("ab" * 8, 15), ("é", 17)):
        assert len(sampler.generate(prompt, length)[0]) == length
        assert len("".join(piece for (piece,) in sampler.stream(prompt, length))) == length
    assert sampler._generate.experimental_get_tracing_count() == 1


def test_prompt_and_empty_prompt_matter_and_nothing_to_write_is_nothing():
    sampler = make_sampler()
    greedy = Sampling(temperature=0.0)
    assert sampler.generate("", 20, greedy) != sampler.generate("a", 20, greedy)
    first = sampler.generate("", 30, Sampling(temperature=0.0))[0]
    assert sampler.generate(first[:10], 20, greedy) == [first[10:]]
    assert sampler.generate(PROMPT, 0) == [""] and sampler.generate(PROMPT, -3) == [""]


@pytest.mark.parametrize("chunk", [pytest.param(1, marks=pytest.mark.full), 5, 64])
def test_stop_cuts_the_text_wherever_the_pieces_end(chunk):
    plain = make_sampler().generate("a", 300)[0]
    for stop in (("c",), (plain[97:103],), (plain[50:70], plain[60:62]), (plain[40:52], plain[44:46]), (plain[-3:],)):
        # What is shown is what was written before the stop string that was complete first.
        end, cut = min((plain.find(s) + len(s), plain.find(s)) for s in stop)
        assert end <= 300
        pieces = [piece for (piece,) in make_sampler(chunk).stream("a", 300, Sampling(stop=stop))]
        assert "".join(pieces) == plain[:cut]
        assert len(pieces) <= 300 // chunk + 1


def test_a_stop_string_that_never_completes_loses_nothing():
    plain = make_sampler().generate("a", 50)[0]
    for stop in (plain[-4:] + "a", "é" + plain[:5] + "é", "zz"):
        assert make_sampler(7).generate("a", 50, Sampling(stop=(stop,))) == [plain]


def test_each_sample_stops_by_itself():
    plain = make_sampler().generate("", 200, Sampling(num_samples=4))
    stopped = make_sampler(8).generate("", 200, Sampling(num_samples=4, stop=("ab",)))
    assert stopped == [text.split("ab")[0] for text in plain]
    assert len({len(text) for text in stopped}) > 1


def test_stops_early():
    sampler, pieces = make_sampler(4), []
    stop = make_sampler().generate("a", 12)[0][8]
    for piece in sampler.stream("a", 10**9, Sampling(stop=(stop,))):  # ends at all only because of the stop string
        pieces += piece
    assert len("".join(pieces)) <= 8


def test_bytes_stream_as_valid_text():
    sampler = make_sampler(chunk=3, kind="byte")
    whole = make_sampler(chunk=64, kind="byte").generate("é".encode()[:1], 60, Sampling(temperature=2.0))[0]
    pieces = [piece for (piece,) in sampler.stream("é".encode()[:1], 60, Sampling(temperature=2.0))]
    assert "".join(pieces) == whole and "�" in whole


def test_trace_is_the_state_after_each_token_and_its_cost():
    sampler, text = make_sampler(piece=8), "bad ?café"  # "?" and "f" are unseen
    trace = sampler.trace(text)
    step, h, token = sampler.step, zeros(1), 0
    np.testing.assert_array_equal(trace.tokens, sampler.vocabulary.encode(text))
    assert (trace.tokens == 0).sum() == 2
    for i, following in enumerate(trace.tokens):
        logits, h = step(tf.constant([token]), h)
        cost = -tf.nn.log_softmax(logits)[0, following]
        np.testing.assert_allclose(trace.nats[i], cost, rtol=1e-5, atol=1e-6)
        after = step(tf.constant([following]), h)[1]["h"][0]
        np.testing.assert_allclose(trace.states["h"][i], after, atol=1e-6)
        token = following


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 40])
def test_trace_of_every_length(length):
    sampler = make_sampler(piece=8, jit_compile=True)
    text = ("abcde é\n" * 9)[:length]
    trace = sampler.trace(text, ["h"])
    assert trace.states["h"].shape == (length, UNITS) and trace.nats.shape == (length,)
    if length > 1:
        shorter = sampler.trace(text[:-1])
        np.testing.assert_array_equal(trace.nats[:-1], shorter.nats)
        np.testing.assert_array_equal(trace.states["h"][:-1], shorter.states["h"])
    assert sampler._follow.experimental_get_tracing_count() == 1
    with pytest.raises(UsageError, match="'nope'"):
        sampler.trace(text, ["nope"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("min_p", -0.1),
        ("min_p", 2.0),
        ("repetition_penalty", 0.0),
        ("stop", ("a", "")),
        ("num_samples", 0),
    ],
)
def test_a_value_out_of_range_is_a_usage_error(name, value):
    with pytest.raises(UsageError, match=name):
        Sampling(**{name: value})
