"""Gradients that are too large."""

from collections.abc import Sequence
from typing import Literal

import tensorflow as tf

Clip = Literal["none", "value", "norm", "global_norm"]


def clip_gradients(gradients: Sequence[tf.Tensor | tf.IndexedSlices], clip: Clip, limit: float):
    """Clipped gradients, their global norm before, and whether clipping changed them."""
    gradients = [tf.convert_to_tensor(g) for g in gradients]
    norm = tf.linalg.global_norm(gradients)
    if clip == "none":
        return gradients, norm, tf.constant(0.0)
    if clip == "global_norm":
        fired = norm > limit
        gradients, _ = tf.clip_by_global_norm(gradients, limit, use_norm=norm)
    elif clip == "norm":
        fired = tf.reduce_any([tf.norm(g) > limit for g in gradients])
        gradients = [tf.clip_by_norm(g, limit) for g in gradients]
    else:
        fired = tf.reduce_any([tf.reduce_max(tf.abs(g)) > limit for g in gradients])
        gradients = [tf.clip_by_value(g, -limit, limit) for g in gradients]
    return gradients, norm, tf.cast(fired, tf.float32)
