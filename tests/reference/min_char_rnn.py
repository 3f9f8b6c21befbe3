"""The training of min-char-rnn."""

from __future__ import annotations

import numpy as np

from reference.gated import simple_rnn_step


class MinCharRNN:
    """A plain recurrent network that reads one character at a time, trained as the 112-line min-char-rnn is.

    With one-hot x_t and p_t the predicted distribution of the next character,

        h_t = tanh(x_t W + h_{t-1} U + b)
        p_t = softmax(h_t V + c)
        loss = -sum_t log p_t[target_t]

    Back-propagation through time stops at the window's start. Each element of a gradient is cut to [-5, 5], then
    Adagrad takes its step: m += g^2, w -= 0.1 g / sqrt(m + 1e-8).

    Args:
        weights: `[W, U, b, V, c]`; copied, and all computation is in their dtype.
    """

    RATE, EPSILON, LIMIT = 0.1, 1e-8, 5.0

    def __init__(self, weights):
        self.weights = [np.array(w) for w in weights]
        self.squares = [np.zeros_like(w) for w in self.weights]

    def loss_and_gradients(self, inputs, targets, h):
        """Loss of a window of ids, gradients in the order of the weights, and the state after it `(units,)`."""
        kernel, recurrent, bias, out, out_bias = self.weights
        steps, hidden = np.arange(len(inputs)), [h]
        for token in inputs:
            one_hot = np.eye(len(kernel), dtype=kernel.dtype)[token]
            hidden.append(simple_rnn_step(one_hot, hidden[-1], kernel, recurrent, bias))
        before, after = np.array(hidden[:-1]), np.array(hidden[1:])  # (T, units)
        logits = after @ out + out_bias
        exp = np.exp(logits - logits.max(axis=1, keepdims=True))
        p = exp / exp.sum(axis=1, keepdims=True)  # (T, V)
        loss = -np.log(p[steps, targets]).sum()

        d_logits = p.copy()
        d_logits[steps, targets] -= 1  # d loss / d logits = p - one_hot(target)
        d_pre = np.zeros_like(after)  # d loss / d (x W + h U + b)
        later = np.zeros_like(h)
        for t in reversed(steps):
            d_pre[t] = (d_logits[t] @ out.T + later) * (1 - after[t] ** 2)
            later = d_pre[t] @ recurrent.T
        d_kernel = np.zeros_like(kernel)
        np.add.at(d_kernel, np.asarray(inputs), d_pre)
        gradients = [d_kernel, before.T @ d_pre, d_pre.sum(axis=0), after.T @ d_logits, d_logits.sum(axis=0)]
        return float(loss), gradients, hidden[-1]

    def update(self, gradients) -> bool:
        """Takes one step; returns whether clipping changed a gradient."""
        for weight, square, gradient in zip(self.weights, self.squares, gradients, strict=True):
            cut = np.clip(gradient, -self.LIMIT, self.LIMIT)
            square += cut**2
            weight -= self.RATE * cut / np.sqrt(square + self.EPSILON)
        return any(np.abs(gradient).max() > self.LIMIT for gradient in gradients)
