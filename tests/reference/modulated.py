"""Cells of an LSTM whose products are not those of a matrix with x and h: gated before, or convolutions."""

from __future__ import annotations

import numpy as np

from reference.gated import lstm_step, sigmoid


def mogrifier_lstm_step(x, states, weights):
    """The Mogrifier LSTM (Melis et al., 2020), with as many rounds as there are matrices; gates as in `lstm_step`.

    x^i = 2 sigmoid(Q^i h^{i-1}) x^{i-2} for odd i, h^i = 2 sigmoid(R^i x^{i-1}) h^{i-2} for even i
    h', c' = LSTM(x of the last odd i, c, h of the last even i)

    Q^i = Q^i_left Q^i_right where there are two. Matrices stand transposed, on the right.
    """
    h, c = states
    sequence_x, sequence_h = {-1: x}, {0: h}
    last_x, last_h, i = x, h, 1
    while matrix := [key for key in weights if key.split("_")[2:3] == [str(i)]]:
        factors = [weights[matrix[0]]]
        if len(matrix) == 2:
            stem = matrix[0].rpartition("_")[0]
            factors = [weights[f"{stem}_right"], weights[f"{stem}_left"]]
        product = np.linalg.multi_dot([sequence_h[i - 1] if i % 2 else sequence_x[i - 1], *factors])
        if i % 2:
            last_x = sequence_x[i] = 2 * sigmoid(product) * sequence_x[i - 2]
        else:
            last_h = sequence_h[i] = 2 * sigmoid(product) * sequence_h[i - 2]
        i += 1
    h, c = lstm_step(last_x, last_h, c, weights["kernel"], weights["recurrent_kernel"], weights["bias"])
    return h, [h, c]


def convolution(images, window, padding="valid", strides=1, dilation_rate=1):
    """`images (n, height, width, channels)` by `window (rows, columns, channels, width)`, one place after the other.

    "same" puts zeros around the images such that a stride of 1 keeps their size, the odd one after.
    """
    size, window_size = np.array(images.shape[1:3]), np.array(window.shape[:2])
    stride, dilation = np.broadcast_to(strides, 2), np.broadcast_to(dilation_rate, 2)
    reach = dilation * (window_size - 1) + 1
    if padding == "same":
        places = -(-size // stride)
        zeros = np.maximum((places - 1) * stride + reach - size, 0)
        images = np.pad(images, [(0, 0), *((count // 2, count - count // 2) for count in zeros), (0, 0)])
    else:
        places = (size - reach) // stride + 1
    result = np.zeros((len(images), *places, window.shape[3]))
    for place in np.ndindex(*places):
        for step in np.ndindex(*window_size):
            row, column = place * stride + step * dilation
            result[:, *place] += images[:, row, column] @ window[step]
    return result


def conv_lstm2d_step(x, states, weights, **options):
    """The LSTM over images (Shi et al., 2015) without peepholes; gates stand in order i, f, g, o, * is a convolution.

    c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c'), of x * W + h * U + b

    `options` are those of the convolution of x; that of h keeps the size.
    """
    h, c = states
    summed = convolution(x, weights["kernel"], **options) + weights["bias"]
    i, f, g, o = np.split(summed + convolution(h, weights["recurrent_kernel"], "same"), 4, axis=3)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return h, [h, c]
