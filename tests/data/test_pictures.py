"""Pictures: what is given out decodes, to the pixels that are meant; the rest gets one sentence."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from rnnapps.data.pictures import readable
from rnnapps.errors import UsageError

HEIGHT, WIDTH = 24, 40


def colors(alpha: bool = False) -> Image.Image:
    """Smooth, and different in each corner."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    channels = [x * 6, y * 10, 255 - x * 3 - y * 4]
    if alpha:
        channels.append(x * 255 // (WIDTH - 1))
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def animated(kind: str, **options: Any) -> bytes:
    """Of two pictures, the first as it is meant."""
    second = colors().transpose(Image.Transpose.ROTATE_180)
    return encoded(colors(), kind, save_all=True, append_images=[second], **options)


def turned(kind: str, orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(colors(), kind, exif=exif.tobytes())


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int, color: int, data: bytes, *others: bytes, interlaced: int = 0) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlaced))
    return b"".join((b"\x89PNG\r\n\x1a\n", header, *others, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")))


def over_white(picture: Image.Image) -> np.ndarray:
    pixels = np.asarray(picture.convert("RGBA")).astype(float)
    alpha = pixels[..., 3:] / 255
    return pixels[..., :3] * alpha + 255 * (1 - alpha)


def decode(content: bytes) -> np.ndarray:
    return tf.io.decode_image(content, channels=3, expand_animations=False).numpy()


def close(content: bytes, wanted: np.ndarray, tolerance: float = 3.0) -> None:
    got = decode(content)
    assert got.shape == wanted.shape and got.dtype == np.uint8
    assert np.abs(got.astype(float) - wanted).mean() < tolerance


RGB = np.asarray(colors())
GREY = np.repeat(np.asarray(colors().convert("L"))[..., None], 3, -1)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        pytest.param(encoded(colors(), "JPEG", quality=95), RGB, id="baseline"),
        pytest.param(encoded(colors(), "JPEG", quality=95, progressive=True), RGB, id="progressive"),
        pytest.param(encoded(colors(), "JPEG", quality=95, subsampling=0), RGB, id="444"),
        pytest.param(encoded(colors().convert("L"), "JPEG", quality=95), GREY, id="grey JPEG"),
        pytest.param(encoded(colors(), "JPEG", quality=95) + b"\0trailing", RGB, id="more behind the JPEG"),
        pytest.param(animated("MPO", quality=95), RGB, id="MPO"),
        pytest.param(turned("JPEG", 1), RGB, id="upright JPEG"),
        pytest.param(encoded(colors(), "PNG"), RGB, id="PNG"),
        pytest.param(encoded(colors().convert("L"), "PNG"), GREY, id="grey PNG"),
        pytest.param(encoded(colors().crop((0, 0, 1, 1)), "PNG"), RGB[:1, :1], id="one pixel PNG"),
        pytest.param(encoded(colors().crop((0, 0, 1, 1)), "JPEG"), RGB[:1, :1], id="one pixel JPEG"),
    ],
)
def test_what_tensorflow_reads_passes_as_it_is(content: bytes, wanted: np.ndarray) -> None:
    assert readable("picture", content) is content
    close(content, wanted)


def palette(**options: Any) -> bytes:
    return encoded(colors().quantize(256), "PNG", **options)


def grey_steps(bits: int) -> bytes:
    """A grey PNG of fewer bits: 8 pixels of two alternating values."""
    return png(8, 1, bits, 0, b"\0" + {1: b"\x55", 2: b"\x33\x33", 4: b"\x0f\x0f\x0f\x0f"}[bits])


LAST_TRANSPARENT = np.concatenate([RGB[:1, :4], np.full((1, 1, 3), 255)], 1)
SIXTEEN = np.asarray(colors().convert("L")).astype(np.uint16) * 257


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        pytest.param(encoded(Image.fromarray(SIXTEEN), "PNG"), GREY, id="16 bits"),
        pytest.param(encoded(Image.fromarray(SIXTEEN), "TIFF"), GREY, id="16 bits TIFF"),
        pytest.param(
            png(2, 1, 16, 2, b"\0" + bytes(range(0, 240, 20))),
            np.array([[[0, 40, 80], [120, 160, 200]]]), id="16 bits RGB",
        ),
        pytest.param(encoded(colors().convert("CMYK"), "JPEG", quality=95), RGB, id="CMYK"),
        pytest.param(animated("GIF"), RGB, id="animated GIF"),
        pytest.param(animated("PNG"), RGB, id="animated PNG"),
        pytest.param(animated("WEBP", quality=95), RGB,
                     id="animated WebP"),
        pytest.param(animated("TIFF"), RGB, id="pages"),
        pytest.param(palette(), np.asarray(colors().quantize(256).convert("RGB")), id="palette"),
        pytest.param(palette(transparency=bytes(range(256))),
                     over_white(Image.open(io.BytesIO(palette(transparency=bytes(range(256)))))),
                     id="palette with transparency"),
        pytest.param(encoded(colors(alpha=True), "PNG"), over_white(colors(alpha=True)), id="alpha"),
        pytest.param(encoded(colors(alpha=True).convert("LA"), "PNG"), over_white(colors(alpha=True).convert("LA")),
                     id="grey alpha"),
        pytest.param(encoded(colors(alpha=True), "WEBP", lossless=True), over_white(colors(alpha=True)),
                     id="WebP with alpha"),
        pytest.param(png(5, 1, 8, 2, b"\0" + RGB[0, :5].tobytes(), chunk(b"tRNS", RGB[0, 4].astype(">u2").tobytes())),
                     LAST_TRANSPARENT, id="a transparent colour"),
        pytest.param(encoded(colors(), "BMP"), RGB, id="BMP"),
        pytest.param(encoded(colors(), "WEBP", quality=95), RGB, id="WebP"),
        pytest.param(encoded(colors(), "TIFF", compression="tiff_lzw"), RGB, id="TIFF"),
        *(pytest.param(grey_steps(bits), np.repeat(np.array([[[0], [255]] * 4]), 3, -1), id=f"{bits} bits")
          for bits in (1, 2, 4)),
        pytest.param(encoded(Image.fromarray(np.array([[0.5, 1.5, np.nan, 2.5]], np.float32)), "TIFF"),
                     np.repeat(np.array([[[51], [153], [0], [255]]]), 3, -1), id="32 bits"),
        pytest.param(turned("JPEG"), np.rot90(RGB, -1), id="turned JPEG"),
        pytest.param(turned("PNG"), np.rot90(RGB, -1), id="turned PNG"),
        pytest.param(turned("WEBP"), np.rot90(RGB, -1), id="turned WebP"),
        pytest.param(turned("TIFF"), np.rot90(RGB, -1), id="turned TIFF"),
        pytest.param(turned("JPEG", 5), np.swapaxes(RGB, 0, 1), id="turned and mirrored"),
        pytest.param(encoded(colors(), "PNG")[:-12], RGB, id="PNG without an end"),
    ],
)  # fmt: skip
def test_what_it_does_not_becomes_a_png(content: bytes, wanted: np.ndarray) -> None:
    converted = readable("picture", content)
    assert converted.startswith(b"\x89PNG")
    assert converted != content
    # Some of these lose colours on their way.
    close(converted, wanted, tolerance=6.0)


def huge(kind: str) -> bytes:
    """A header of a hundred megapixels, and no more."""
    if kind == "PNG":
        return png(10_000, 10_000, 8, 2, b"")
    small = encoded(colors(), kind)
    if kind == "GIF":
        return small[:6] + struct.pack("<HH", 10_000, 10_000) + small[10:]
    frame = small.index(b"\xff\xc0") + 5
    return small[:frame] + struct.pack(">HH", 10_000, 10_000) + small[frame + 4 :]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(b"", r"picture\.jpg is empty, and a picture is wanted", id="empty"),
        pytest.param(b"A dog runs .\n", "is no picture that can be read: wanted JPEG, PNG, GIF", id="text"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture that can be read", id="EPS"),
        pytest.param(b"\xff\xd8\xff", "is damaged or cut short: it cannot be decoded", id="three bytes"),
        pytest.param(encoded(colors(), "JPEG")[:-60], r"is damaged or cut short: .*truncated", id="cut JPEG"),
        pytest.param(encoded(colors(), "JPEG")[:-2], r"is damaged or cut short: .*truncated", id="JPEG without an end"),
        pytest.param(encoded(colors(), "PNG")[:-60], r"is damaged or cut short", id="cut PNG"),
        pytest.param(encoded(colors(), "GIF")[:60], r"is damaged or cut short", id="cut GIF"),
        pytest.param(encoded(colors(), "WEBP")[:60], r"is damaged or cut short", id="cut WebP"),
        pytest.param(encoded(colors(), "BMP")[:600], r"is damaged or cut short", id="cut BMP"),
        pytest.param(encoded(colors(), "TIFF")[:600], r"is damaged or cut short", id="cut TIFF"),
        pytest.param(png(0, 5, 8, 2, b""), "is damaged or cut short", id="no pixels"),
        *(pytest.param(huge(kind), r"has 100,000,000 pixels \(10,000 x 10,000\): wanted at most 50,000,000",
                       id=f"huge {kind}") for kind in ("PNG", "GIF", "JPEG")),
        pytest.param(png(100_000, 100_000, 8, 2, b""), r"has 10,000,000,000 pixels", id="huger"),
    ],
)  # fmt: skip
def test_what_is_no_sound_picture_is_named(content: bytes, sentence: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match=sentence) as caught:
            readable("picture.jpg", content)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith("picture.jpg ") and "\n" not in str(caught.value)


def test_what_follows_the_pixels_is_not_unpacked() -> None:
    """Sixty megabytes behind one pixel; and a checksum that Pillow does not look at."""
    bomb = png(1, 1, 8, 2, b"\0abc" + bytes(60 << 20))
    unsound = bytearray(png(1, 1, 8, 2, b"\0abc"))
    unsound[-13] ^= 1  # of the pixels' chunk
    tracemalloc.start()
    try:
        for content in (bomb, bytes(unsound)):
            close(readable("picture", content), np.array([[list(b"abc")]]), 0.1)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def bases() -> list[Callable[[], bytes]]:
    plain: list[Callable[[], bytes]] = [
        lambda kind=kind, options=options: encoded(colors(), kind, **options)  # type: ignore[misc]
        for kind, options in (("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("WEBP", {}))
    ]
    return [*plain, lambda: turned("JPEG"), lambda: palette(transparency=bytes(range(256)))]


@pytest.mark.parametrize("number", range(7))
def test_damaged_pictures_decode_or_are_refused(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    content, rng, refused = bases()[number](), random.Random(number), 0
    for turn in range(150):
        damaged = bytearray(content)
        if turn % 3 == 0:
            del damaged[rng.randrange(len(content)) :]
        for _ in range(turn % 3):
            place = rng.randrange(len(content))
            damaged[place] = rng.randrange(256)
        try:
            given = readable("picture", bytes(damaged))
        except UsageError:
            refused += 1
        else:
            assert decode(given).ndim == 3
    assert refused > 30
    capfd.readouterr()  # The decoder writes of damage to the screen.


def test_threads_do_not_disturb_each_other() -> None:
    contents = [huge("PNG"), turned("JPEG"), palette(transparency=bytes(range(256)))] * 20

    def one(content: bytes) -> int:
        try:
            return len(readable("picture", content))
        except UsageError:
            return 0

    with ThreadPoolExecutor(4) as pool:
        sizes = list(pool.map(one, contents))
    assert sizes == sizes[:3] * 20 and sizes[0] == 0 < min(sizes[1:3])
