"""From logits to the next symbol: filters of the distribution, and the draw.

All functions are pure, take float32 logits `(batch, symbols)` and one parameter per row `(batch,)`, and have static
shapes, so XLA compiles them. A filter sets the logits of removed symbols to minus infinity and leaves the others as
they are; the draw renormalises. When several are used, the order is

    repetition_penalty, scale (temperature), top_k, top_p, min_p, draw

so that `top_p` and `min_p` see the probabilities that the draw will use.
"""

from __future__ import annotations

import tensorflow as tf


def repetition_penalty(logits: tf.Tensor, seen: tf.Tensor, penalty: tf.Tensor) -> tf.Tensor:
    """Makes symbols that the text already holds less probable.

    A positive logit of a seen symbol is divided by the penalty, a negative one is multiplied by it.

    Args:
        logits: `(batch, symbols)` float32.
        seen: `(batch, symbols)` bool: whether the text so far holds the symbol.
        penalty: `(batch,)` float32 > 0. 1 leaves the logits as they are; the paper uses 1.2.

    Returns:
        `(batch, symbols)` float32.

    Reference: Keskar et al., 2019, https://arxiv.org/abs/1909.05858
    """
    penalty = penalty[:, None]
    return tf.where(seen, tf.where(logits > 0, logits / penalty, logits * penalty), logits)


def scale(logits: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
    """Divides logits by the temperature, after their maximum was moved to 0.

    The shift changes no probability; with it, a temperature near 0 sends the other logits to minus infinity instead of
    the largest to infinity. A temperature of 0 or less stands for the greedy choice and divides by 1.

    Args:
        logits: `(batch, symbols)` float32.
        temperature: `(batch,)` float32.

    Returns:
        `(batch, symbols)` float32, the largest of each row is 0.
    """
    divisor = tf.where(temperature > 0, temperature, tf.ones_like(temperature))
    return (logits - tf.reduce_max(logits, axis=-1, keepdims=True)) / divisor[:, None]


def top_k(logits: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
    """Keeps the `k` most probable symbols, and all that tie with the last of them.

    Args:
        logits: `(batch, symbols)` float32.
        k: `(batch,)` int32. 0 or less, or at least the number of symbols, keeps all.

    Returns:
        `(batch, symbols)` float32.

    Reference: Fan et al., 2018, https://arxiv.org/abs/1805.04833
    """
    symbols = logits.shape[-1]
    last = tf.where((k <= 0) | (k > symbols), symbols, k) - 1
    descending = tf.sort(logits, direction="DESCENDING")
    threshold = tf.gather(descending, last, batch_dims=1)
    return _keep(logits, logits >= threshold[:, None])


def top_p(logits: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
    """Keeps the nucleus: the smallest set of most probable symbols whose probabilities add up to at least `p`.

    Symbols as probable as the last of the set are kept too. The most probable one is always kept.

    Args:
        logits: `(batch, symbols)` float32, already scaled by the temperature.
        p: `(batch,)` float32. 1 or more keeps all; 0 or less keeps the most probable symbol.

    Returns:
        `(batch, symbols)` float32.

    Reference: Holtzman et al., 2020, https://arxiv.org/abs/1904.09751
    """
    p = p[:, None]
    probabilities = tf.nn.softmax(logits)
    descending = tf.sort(probabilities, direction="DESCENDING")
    before = tf.cumsum(descending, axis=-1, exclusive=True)
    # A symbol belongs to the nucleus while those before it do not reach p. The last member has the least probability.
    members = tf.where(before < p, descending, tf.ones_like(descending))
    threshold = tf.minimum(tf.reduce_min(members, axis=-1, keepdims=True), descending[:, :1])
    return _keep(logits, (probabilities >= threshold) | (p >= 1))


def min_p(logits: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
    """Keeps the symbols at least `p` times as probable as the most probable one, which is always kept.

    Args:
        logits: `(batch, symbols)` float32, already scaled by the temperature.
        p: `(batch,)` float32. 0 keeps all; 1 or more keeps the most probable symbols.

    Returns:
        `(batch, symbols)` float32.

    Reference: Nguyen et al., 2024, https://arxiv.org/abs/2407.01082
    """
    largest = tf.reduce_max(logits, axis=-1, keepdims=True)
    margin = tf.math.log(tf.clip_by_value(p, 0.0, 1.0))
    return _keep(logits, logits - largest >= margin[:, None])


def draw(logits: tf.Tensor, temperature: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
    """Draws a symbol from `softmax(logits / temperature)` by the Gumbel-max rule.

        argmax(logits + temperature * g),   g = -log(-log(u))

    needs no normalisation, and becomes the greedy choice (the first of the largest logits) at temperature 0.

    Args:
        logits: `(batch, symbols)` float32; minus infinity where a symbol may not be drawn.
        temperature: `(batch,)` float32. Less than 0 counts as 0.
        uniforms: `(batch, symbols)` float32 strictly between 0 and 1. With those of `ops.random.uniform`, whose steps
            are 2**-23, a symbol less than 4e-9 times as probable as the best one is never drawn.

    Returns:
        `(batch,)` int32: indices of symbols.

    Reference: Maddison et al., 2014, https://arxiv.org/abs/1411.0030
    """
    gumbel = -tf.math.log(-tf.math.log(uniforms))
    noise = tf.maximum(temperature, 0.0)[:, None] * gumbel
    # As argmax, the first of equals included; XLA's code for an argmax over computed values is 3 to 5 times slower.
    return tf.math.top_k(logits + noise, k=1).indices[:, 0]


def _keep(logits: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    return tf.where(kept, logits, tf.constant(float("-inf"), logits.dtype))
