"""Cells whose gates see the input alone."""

from __future__ import annotations

import numpy as np

from reference.gated import sigmoid


def min_gru_step(x, states, weights):
    """The minimal GRU (Feng et al., 2024), its plain form; gates stand in order z, n.

    z = sigmoid(x W_z + b_z)
    h' = (1 - z) h + z (x W_n + b_n)
    """
    z, n = np.split(x @ weights["kernel"] + weights["bias"], 2, axis=1)
    h = (1 - sigmoid(z)) * states[0] + sigmoid(z) * n
    return h, [h]


def min_lstm_step(x, states, weights):
    """The minimal LSTM with gates that share one whole (Feng et al., 2024), its plain form; gates in order f, i, n.

    f, i = sigmoid(x W_f + b_f), sigmoid(x W_i + b_i)
    h' = f / (f + i) h + i / (f + i) (x W_n + b_n)
    """
    f, i, n = np.split(x @ weights["kernel"] + weights["bias"], 3, axis=1)
    f, i = sigmoid(f), sigmoid(i)
    h = f / (f + i) * states[0] + i / (f + i) * n
    return h, [h]


def sru_step(x, states, weights):
    """The simple recurrent unit of the first version (Lei et al., 2017); parts of W in order f, r, n and the input's.

    f, r = sigmoid(x W_f + b_f), sigmoid(x W_r + b_r)
    c' = f c + (1 - f) (x W_n)
    h' = r tanh(c') + (1 - r) x
    """
    units = states[0].shape[1]
    w_f, w_r, w_n, *w_x = np.split(weights["kernel"], weights["kernel"].shape[1] // units, axis=1)
    b_f, b_r = np.split(weights["bias"], 2)
    f, r = sigmoid(x @ w_f + b_f), sigmoid(x @ w_r + b_r)
    c = f * states[0] + (1 - f) * (x @ w_n)
    return r * np.tanh(c) + (1 - r) * (x @ w_x[0] if w_x else x), [c]


def qrnn_step(x, states, weights):
    """The quasi-recurrent network with fo-pooling (Bradbury et al., 2016); gates in order z, f, o.

    With p the parts of the previous input times W_1, where there is such a weight:
    z, f, o = tanh, sigmoid, sigmoid of the parts of p + x W_2 + b
    c' = f c + (1 - f) z
    h' = o c'
    """
    c, *p = states
    gates = x @ weights["kernel"] + weights["bias"]
    z, f, o = np.split(gates + np.concatenate(p, axis=1) if p else gates, 3, axis=1)
    c = sigmoid(f) * c + (1 - sigmoid(f)) * np.tanh(z)
    return sigmoid(o) * c, [c, *(np.split(x @ weights["previous_kernel"], 3, axis=1) if p else [])]


def rg_lru_step(x, states, weights):
    """The real-gated linear recurrent unit (De et al., 2024); parts of W in order r, i and the input's.

    r, i = sigmoid(x W_r + b_r), sigmoid(x W_i + b_i)
    a = sigmoid(decay)^(8 r)
    h' = a h + sqrt(1 - a^2) i x
    """
    units = states[0].shape[1]
    w_r, w_i, *w_x = np.split(weights["kernel"], weights["kernel"].shape[1] // units, axis=1)
    b_r, b_i = np.split(weights["bias"], 2)
    a = sigmoid(weights["decay"]) ** (8 * sigmoid(x @ w_r + b_r))
    h = a * states[0] + np.sqrt(1 - a**2) * sigmoid(x @ w_i + b_i) * (x @ w_x[0] if w_x else x)
    return h, [h]


def mlstm_step(x, states, weights):
    """The matrix LSTM (Beck et al., 2024), row by row and head by head, without the stabiliser; q, k, v, o, i, f.

    C' = sigmoid(f) C + exp(i) v k^T / sqrt(d)
    n' = sigmoid(f) n + exp(i) k / sqrt(d)
    h' = sigmoid(o) C' q / max(|n'.q|, 1)

    The states hold C and n divided by exp(m), where m' = max(log sigmoid(f) + m, i).
    """
    _, all_c, all_n, all_m = states
    units, heads = all_n.shape[1], all_m.shape[1]
    d = units // heads
    new_h, new_c, new_n, new_m = (np.zeros_like(state) for state in states)
    for row, z in enumerate(x @ weights["kernel"] + weights["bias"]):
        for head in range(heads):
            one, matrix = slice(head * d, head * d + d), slice(head * d * d, (head + 1) * d * d)
            q, k, v, o = (z[part * units : (part + 1) * units][one] for part in range(4))
            i, f = z[4 * units + head], z[4 * units + heads + head]
            scale = np.exp(all_m[row, head])
            c = sigmoid(f) * scale * all_c[row, matrix].reshape(d, d) + np.exp(i) * np.outer(v, k) / np.sqrt(d)
            n = sigmoid(f) * scale * all_n[row, one] + np.exp(i) * k / np.sqrt(d)
            m = max(np.log(sigmoid(f)) + all_m[row, head], i)
            new_h[row, one] = sigmoid(o) * (c @ q) / max(abs(n @ q), 1)
            new_c[row, matrix], new_n[row, one], new_m[row, head] = c.ravel() / np.exp(m), n / np.exp(m), m
    return new_h, [new_h, new_c, new_n, new_m]
