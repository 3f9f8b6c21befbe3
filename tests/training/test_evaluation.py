"""The cost of a text against a loop by hand over its tokens, and the baselines against counting by hand."""

import math
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from reference import lstm_step

from rnnapps.data.corpus import Corpus
from rnnapps.data.sources import Document
from rnnapps.decoding import model_step, zero_states
from rnnapps.models.text_generator import text_generator
from rnnapps.sampler import Sampler
from rnnapps.serving.text_endpoints import TextEndpoints
from rnnapps.serving.tokenization import TextCodec
from rnnapps.training.evaluation import Evaluator, baselines

UNITS = 5
TEXTS = ["the cat sat on the mat. " * 40, "why? a flat hat! " * 30, "zzz at the end, caf\u00e9. " * 12]


def make_corpus(folder, texts, **fractions):
    documents = [Document(str(i), lambda text=text: iter([text.encode()])) for i, text in enumerate(texts)]
    return Corpus.prepare(documents, folder, **fractions)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The test part begins inside the second document, so it has two cold starts."""
    made = make_corpus(tmp_path_factory.mktemp("corpus"), TEXTS, validation_fraction=0.1, test_fraction=0.35)
    assert len(made.spans("test")) == 2 and made.unseen["test"] > 0
    return made


@pytest.fixture(scope="module")
def model(corpus):
    network = text_generator(corpus.vocabulary.size, "lstm", UNITS, seed=2)
    rng = np.random.default_rng(7)
    for variable in network.trainable_variables:
        variable.assign(rng.normal(0, 1, variable.shape))
    return network


@pytest.fixture(scope="module")
def evaluator(model):
    return Evaluator(model, jit_compile=False)


def costs(model, tokens):
    """`-log p` of each token, one at a time from a cold start, in float64."""
    cell, output = model.get_layer("layer_0").cell, model.get_layer("logits")
    weights = [w.numpy().astype("float64") for w in (cell.kernel, cell.recurrent_kernel, cell.bias)]
    matrix, bias = (w.numpy().astype("float64") for w in (output.kernel, output.bias))
    h, c, before, found = np.zeros(UNITS), np.zeros(UNITS), 0, []
    for token in tokens:
        h, c = lstm_step(np.eye(len(weights[0]))[before], h, c, *weights)
        logits = h @ matrix + bias
        p = np.exp(logits - logits.max())
        found.append(-math.log(p[token] / p.sum()))
        before = token
    return found


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_one_row_counts_every_token_from_one_cold_start_a_document(corpus, model, evaluator, split):
    by_hand = [cost for start, stop in corpus.spans(split) for cost in costs(model, corpus.read(start, stop))]
    assert len(by_hand) == corpus.tokens_in(split)
    assert evaluator.nats_per_token(corpus, split, rows=1) == pytest.approx(np.mean(by_hand), rel=1e-5)
    assert evaluator.nats_per_token(corpus, split) == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_rows_are_streams_of_their_own(corpus, model, evaluator):
    """Three streams of whole windows of 100; each begins cold, as a document does."""
    (start, stop), *others = corpus.spans("train")
    assert (stop - start) // 100 >= 6 and start == 0
    starts = [first for s, e in corpus.spans("train") for first in range(s, e, 100)]
    each, by_hand = len(starts) // 3, []
    ends = dict(corpus.spans("train"))
    for row in range(3):
        mine = starts[row * each : (row + 1) * each]
        pieces = []  # consecutive windows of one document are read on
        for first in mine:
            end = min(first + 100, next(e for s, e in ends.items() if s <= first < e))
            if pieces and pieces[-1][1] == first and first not in ends:
                pieces[-1][1] = end
            else:
                pieces.append([first, end])
        for first, end in pieces:
            by_hand += costs(model, corpus.read(first, end))
    assert evaluator.nats_per_token(corpus, "train", rows=3) == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_a_limit_reads_the_beginning(corpus, model, evaluator):
    (start, stop), *_ = corpus.spans("train")
    by_hand = costs(model, corpus.read(start, 200))
    assert evaluator.nats_per_token(corpus, "train", rows=1, max_tokens=150) == pytest.approx(
        np.mean(by_hand), rel=1e-5
    )
    whole = evaluator.nats_per_token(corpus, "train", rows=1)
    assert evaluator.nats_per_token(corpus, "train", rows=1, max_tokens=10**9) == whole


@pytest.mark.full  # each of them is held against a loop by hand in the quick tier
@pytest.mark.usefixtures("one_step_a_turn")
def test_evaluation_scoring_and_tracing_give_one_figure(tmp_path):
    """The figure of a held-out part, the `score` endpoint on its text and the sampler's trace."""
    one = make_corpus(tmp_path / "one", ["".join(TEXTS) + TEXTS[0] * 2], validation_fraction=0, test_fraction=0.4)
    network = text_generator(one.vocabulary.size, "simple_rnn", UNITS, 1, seed=1, weight_scale=1.0)
    (span,) = one.spans("test")
    text = one.vocabulary.decode(one.read(*span))
    assert len(text) > 512  # several windows of either
    figure = Evaluator(network, jit_compile=True).nats_per_token(one, "test")
    answer = TextEndpoints(network, TextCodec(one.vocabulary)).functions["score"](tf.constant([text.encode()]))
    assert answer["num_chars"].numpy().tolist() == [one.tokens_in("test")]
    assert figure == pytest.approx(float(answer["nats_per_char"][0]), rel=1e-6)
    sampler = Sampler(model_step(network), lambda n: zero_states(network, n), one.vocabulary, jit_compile=False)
    trace = sampler.trace(text)
    assert len(trace.nats) == one.tokens_in("test")
    assert figure == pytest.approx(float(trace.nats.mean(dtype=float)), rel=1e-5)


def test_baselines_are_counts(corpus):
    size = corpus.vocabulary.size

    def pairs(split):
        for start, stop in corpus.spans(split):
            ids = corpus.read(start, stop).tolist()
            yield from zip([0, *ids[:-1]], ids, strict=True)

    seen = list(pairs("train"))
    both, after, before = Counter(seen), Counter(b for _, b in seen), Counter(a for a, _ in seen)
    unigram = [-math.log((after[b] + 1) / (len(seen) + size)) for _, b in pairs("test")]
    bigram = [-math.log((both[a, b] + 1) / (before[a] + size)) for a, b in pairs("test")]
    found = baselines(corpus, "test")
    assert list(found) == ["uniform", "unigram", "bigram"]
    assert found["uniform"] == pytest.approx(math.log(size))
    assert found["unigram"] == pytest.approx(np.mean(unigram))
    assert found["bigram"] == pytest.approx(np.mean(bigram))


def test_baselines_do_not_depend_on_how_the_text_is_read(corpus, monkeypatch):
    from rnnapps.training import evaluation

    whole, pairs = baselines(corpus, "test"), evaluation._pairs
    monkeypatch.setattr(evaluation, "_pairs", lambda corpus, split: pairs(corpus, split, block=7))
    assert baselines(corpus, "test") == pytest.approx(whole)


def test_no_table_of_pairs_for_a_large_vocabulary(tmp_path):
    text = "".join(chr(0x4E00 + i) for i in range(2100))
    big = make_corpus(tmp_path / "big", [text + text[:300]], validation_fraction=0, test_fraction=0.1)
    assert list(baselines(big, "test")) == ["uniform", "unigram"]
