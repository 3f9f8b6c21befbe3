"""Batches of captions with their pictures, or with what an encoder has seen in them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from rnnapps.data import pairs
from rnnapps.data.caption_corpus import CaptionCorpus
from rnnapps.data.pair_corpus import PairCorpus
from rnnapps.data.picture_tensors import decoded, flipped
from rnnapps.data.share import ALL_ROWS, Share
from rnnapps.data.vocabulary import describe
from rnnapps.errors import RunError

# From numbers of pictures `(batch,)` and the number of the batch to inputs of a network by name.
Look = Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]
_DTYPE = np.dtype("<f2")
_READER = 1 << 40  # between the numbers of the batches of two readers, whose coins differ


def batches(
    corpus: PairCorpus,
    split: str,
    look: Look,
    batch_size: int,
    seed: int | None = None,
    position: int = 0,
    epochs: int | None = 1,
    bucket: int = 1,
    share: Share = ALL_ROWS,
) -> tf.data.Dataset:
    """Batches of captions of like length, each with its picture; as `pairs.batches`, whose `source` is a number.

    Args:
        corpus: Numbers of pictures and captions, as `CaptionCorpus.pairs` gives them.
        split, batch_size, seed, position, epochs, bucket, share: As in `pairs.batches`.
        look: What the network sees of a picture.

    Returns:
        Dataset of `({..., "target": int32 (B, T)}, targets int32 (B, T), weights float32 (B, T))`.
    """
    found = pairs.batches(
        corpus, split, batch_size, bucket=bucket, seed=seed, position=position, epochs=epochs, share=share
    )
    first = position + share.number * _READER

    def with_pictures(index: tf.Tensor, batch: Any) -> Any:
        inputs, targets, weights = batch
        return {**look(inputs["source"][:, 0], index), "target": inputs["target"]}, targets, weights

    return found.enumerate(start=first).map(with_pictures).prefetch(2)


def pictures(corpus: CaptionCorpus, part: str, size: int, flip_seed: int | None = None) -> Look:
    """Looks at the pictures themselves: `picture (batch, size, size, 3)`.

    Args:
        corpus: Where they are.
        part: "train", "validation" or "test".
        size: Rows and columns.
        flip_seed: Of a coin for each row, by which it is mirrored; None mirrors none.
    """

    def files(numbers: np.ndarray) -> np.ndarray:
        return np.array([corpus.picture(part, number) for number in numbers], object)

    def look(numbers: tf.Tensor, index: tf.Tensor) -> dict[str, tf.Tensor]:
        found = tf.ensure_shape(tf.numpy_function(files, [numbers], tf.string), (None,))
        seen = decoded(found, size)
        return {"picture": seen if flip_seed is None else flipped(seen, _coins(numbers, flip_seed, index))}

    return look


class Features:
    """What an encoder sees in all pictures of a part, in half precision on disk.

    Args:
        path: Of the file, `(pictures, variants, places, channels)` float16.
        shape: Of what is in it.
    """

    def __init__(self, path: Path, shape: Sequence[int]):
        self.shape = tuple(shape)
        if path.stat().st_size != int(np.prod(shape)) * _DTYPE.itemsize:
            raise RunError(f"{path} holds {path.stat().st_size} bytes: wanted {self.shape} of float16; delete it")
        self.array = np.memmap(path, _DTYPE, "r", shape=self.shape) if np.prod(shape) else np.zeros(shape, _DTYPE)

    @classmethod
    def of(
        cls,
        folder: Path,
        corpus: CaptionCorpus,
        part: str,
        encode: Callable[[tf.Tensor], tf.Tensor],
        size: int,
        identity: str,
        flip: bool = False,
        told: Callable[[int, int], None] = lambda done, of: None,
    ) -> Features:
        """Those on disk, if they are of these pictures by this encoder; else computes them.

        Args:
            folder: Where such files are kept, for any pictures and encoders.
            corpus, part: The pictures.
            encode: From pictures `(batch, size, size, 3)` to features `(batch, places, channels)`.
            size: Rows and columns of the pictures.
            identity: Of the encoder: its name and weights.
            flip: Whether the mirrored pictures are there as well, as a second variant.
            told: Called with the number of pictures that are done, and of all.

        Raises:
            RunError: The folder cannot be written.
        """
        key = hashlib.sha256(f"{corpus.digest} {part} {identity} {size} {flip}".encode()).hexdigest()[:16]
        count = len(corpus.entries(part))
        _, places, channels = encode(tf.zeros((1, size, size, 3))).shape
        path, shape = folder / f"{part}-{key}.f16", (count, 1 + flip, places, channels)
        if not path.exists():
            try:
                _write(path, _encoded(corpus, part, encode, size, flip, told))
            except OSError as error:
                raise RunError(f"features of pictures cannot be written to {folder} ({describe(error)})") from error
        return cls(path, shape)

    def look(self, seed: int | None = None) -> Look:
        """Looks at these: `source (batch, places, channels)`, with a seed in one of the variants by chance."""

        def rows(numbers: np.ndarray, variants: np.ndarray) -> np.ndarray:
            return self.array[numbers, variants].astype(np.float32)

        def look(numbers: tf.Tensor, index: tf.Tensor) -> dict[str, tf.Tensor]:
            mirrored = self.shape[1] > 1 and seed is not None
            variants = tf.cast(_coins(numbers, seed, index), tf.int32) if mirrored else tf.zeros_like(numbers)
            found = tf.numpy_function(rows, [numbers, variants], tf.float32)
            return {"source": tf.ensure_shape(found, (None, *self.shape[2:]))}

        return look

    def means(self) -> np.ndarray:
        """The mean over the places of each picture, not mirrored, float32 `(pictures, channels)`."""
        return np.stack([one[0].astype(np.float32).mean(0) for one in self.array])


def means_of(corpus: CaptionCorpus, part: str, encode: Callable[[tf.Tensor], tf.Tensor], size: int) -> np.ndarray:
    """What `Features.means` gives, with nothing written; arguments as of `Features.of`."""
    blocks = _encoded(corpus, part, encode, size, flip=False, told=lambda done, of: None)
    return np.concatenate([block[:, 0].mean(1) for block in blocks])


def _coins(numbers: tf.Tensor, seed: int | None, index: tf.Tensor) -> tf.Tensor:
    """A bool for each row of batch number `index`."""
    return tf.random.stateless_uniform(tf.shape(numbers), tf.stack([tf.cast(seed, tf.int64), index])) < 0.5


def _encoded(
    corpus: CaptionCorpus,
    part: str,
    encode: Callable[[tf.Tensor], tf.Tensor],
    size: int,
    flip: bool,
    told: Callable[[int, int], None],
    batch_size: int = 32,
) -> Iterator[np.ndarray]:
    count = len(corpus.entries(part))

    @tf.function(autograph=False, input_signature=[tf.TensorSpec((None,), tf.string)])
    def run(files: tf.Tensor) -> tf.Tensor:
        seen = decoded(files, size)
        variants = [seen, tf.reverse(seen, [2])] if flip else [seen]
        return tf.stack([encode(one) for one in variants], axis=1)

    for first in range(0, count, batch_size):
        some = [corpus.picture(part, number) for number in range(first, min(first + batch_size, count))]
        yield run(tf.constant(some)).numpy()
        told(first + len(some), count)


def _write(path: Path, blocks: Iterator[np.ndarray]) -> None:
    """Writes the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            for block in blocks:
                block.astype(_DTYPE).tofile(file)
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)
