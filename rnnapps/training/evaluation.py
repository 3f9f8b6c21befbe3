"""The cost of a part of a corpus under a language model."""

import keras
import numpy as np
import tensorflow as tf

from rnnapps.data import text
from rnnapps.data.corpus import Corpus

_STEPS = 100
_ONE_ROW = 250_000  # tokens up to which a part is read in one go, as one stream
_PER_ROW = 25_000  # tokens a stream, in a longer part: enough for its cold start not to count
_MAX_ROWS = 128


class Evaluator:
    """Measures `-log p` of the tokens of a part, in order, with the state carried from window to window.

    Args:
        network: Functional model as in `rnnapps.models.text_generator`.
        jit_compile: Whether XLA compiles a window: faster for long parts, about two seconds slower to start.
    """

    def __init__(self, network: keras.Model, jit_compile: bool = True):
        self._network = network
        self._window = tf.function(self._run_window, jit_compile=jit_compile, autograph=False)

    def nats_per_token(
        self, corpus: Corpus, split: str, rows: int | None = None, max_tokens: int | None = None
    ) -> float:
        """Mean cost of a part in nats a token.

        With one row every token counts, from one cold start for each document. With more rows the part is cut into
        as many streams, each with a cold start of its own; up to a window per row at the end is left out.

        Args:
            corpus: Where the tokens are.
            split: `"train"`, `"validation"` or `"test"`.
            rows: Streams side by side. Default: one for up to 250,000 tokens, then one for each 25,000.
            max_tokens: Stop after about so many tokens. Default: read all.
        """
        tokens = corpus.tokens_in(split)
        if rows is None:
            rows = 1 if tokens <= _ONE_ROW else min(_MAX_ROWS, tokens // _PER_ROW)
        states = {
            name: tf.zeros((rows, tensor.shape[-1])) for name, tensor in self._network.input.items() if name != "tokens"
        }
        batches = text.windows(corpus, split, rows, _STEPS, epochs=1)
        if max_tokens is not None:
            batches = batches.take(-(-max_tokens // (rows * _STEPS)))
        nats, count = 0.0, 0.0
        for inputs, targets, weights in batches:
            cost, states = self._window(states, inputs, targets, weights)
            # In Python's doubles: float32 would lose nats from about 10^7 tokens on.
            nats += float(cost)
            count += float(np.sum(weights))
        return nats / count

    def _run_window(self, states, inputs, targets, weights):
        keep = tf.cast(~inputs["reset"], tf.float32)[:, None]
        rows = {name: state * keep for name, state in states.items()}
        outputs = self._network({"tokens": inputs["tokens"], **rows}, training=False)
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs["logits"])
        return tf.reduce_sum(nats * weights), {name: outputs[name] for name in states}


def baselines(corpus: Corpus, split: str) -> dict[str, float]:
    """What needs no network, in nats a token of a part, with counts from the training part.

    `uniform` is log V; `unigram` and `bigram` are add-one smoothed token frequencies, alone and after the token
    before. A bigram table of more than 2,000 tokens is left out.
    """
    size = corpus.vocabulary.size
    pairs = size <= 2_000
    unigram, bigram = np.ones(size), np.ones((size, size)) if pairs else None
    for before, after in _pairs(corpus, "train"):
        unigram += np.bincount(after, minlength=size)
        if bigram is not None:
            bigram += np.bincount(before.astype(np.int64) * size + after, minlength=size * size).reshape(size, size)
    costs = {"uniform": np.full(1, np.log(size)), "unigram": -np.log(unigram / unigram.sum())}
    if bigram is not None:
        costs["bigram"] = -np.log(bigram / bigram.sum(1, keepdims=True))
    totals, count = dict.fromkeys(costs, 0.0), 0
    for before, after in _pairs(corpus, split):
        count += len(after)
        totals["uniform"] += len(after) * float(costs["uniform"][0])
        totals["unigram"] += float(costs["unigram"][after].sum())
        if bigram is not None:
            totals["bigram"] += float(costs["bigram"][before, after].sum())
    return {name: total / count for name, total in totals.items()}


def _pairs(corpus: Corpus, split: str, block: int = 1 << 18):
    """Yields (token before, token) arrays of a part; 0 is before the first token of a document."""
    for start, stop in corpus.spans(split):
        for first in range(start, stop, block):
            last = min(first + block, stop)
            ids = corpus.read(max(first - 1, start), last)
            yield (np.append(0, ids[:-1]), ids) if first == start else (ids[:-1], ids[1:])
