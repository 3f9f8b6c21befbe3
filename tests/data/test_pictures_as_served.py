"""A file gives the same pixels in the graph that a server runs as behind `readable`, which `predict` reads it by."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from rnnapps.data import picture_tensors
from rnnapps.data.pictures import orientation, readable


def colors(alpha: bool = False) -> Image.Image:
    """Smooth, and different in each corner."""
    y, x = np.mgrid[:24, :40]
    channels = [x * 6, y * 10, 255 - x * 3 - y * 4, *([x * 255 // 39] if alpha else [])]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def turned(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(colors(), kind, exif=exif.tobytes())


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


served = tf.function(
    picture_tensors.pixels, input_signature=[tf.TensorSpec((), tf.string, name="file")], autograph=False
)


def as_served(content: bytes) -> np.ndarray:
    return served(tf.constant(content)).numpy()


def as_predicted(content: bytes) -> np.ndarray:
    return tf.io.decode_image(readable("a file", content), channels=3, expand_animations=False).numpy()


def exif(orientation: int, order: str) -> bytes:
    """A TIFF header with two entries, the second of which is the orientation."""
    entries = struct.pack(f"{order}HHII", 0x0100, 3, 1, 7) + struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(f"{order}IH", 8, 2) + entries + bytes(4)


def jpeg_with(block: bytes) -> bytes:
    """A JPEG whose Exif stands behind another segment of the same kind, as phones write it."""
    content = encoded(colors(), "JPEG", quality=95)
    others = b"\xff\xe1" + struct.pack(">H", 8) + b"http:/"
    return content[:2] + others + b"\xff\xe1" + struct.pack(">H", 8 + len(block)) + b"Exif\0\0" + block + content[2:]


def png_with(*chunks: bytes, picture: Image.Image | None = None) -> bytes:
    content = encoded(picture or colors(), "PNG")
    return content[:33] + b"".join(chunks) + content[33:]


def palette_gif(clear: int | None) -> bytes:
    picture = Image.new("P", (9, 5), 1)
    picture.putpalette([0, 0, 0, 200, 10, 10, 10, 200, 10] + [0] * 759)
    picture.paste(2, (0, 0, 4, 4))
    more = {} if clear is None else {"transparency": clear}
    return encoded(picture, "GIF", save_all=True, append_images=[picture.rotate(180)], **more)


OPAQUE = np.asarray(colors())
PICTURES = {
    "upright": jpeg_with(exif(1, "<")),
    **{f"turned {number}": jpeg_with(exif(number, "<>"[number % 2])) for number in range(2, 9)},
    "grey": encoded(colors().convert("L"), "JPEG"),
    "turned png": png_with(chunk(b"eXIf", exif(6, ">"))),
    "alpha": encoded(colors(alpha=True), "PNG"),
    "turned alpha": png_with(chunk(b"eXIf", exif(8, "<")), picture=colors(alpha=True)),
    "tall alpha": encoded(colors(alpha=True).resize((4, 600)), "PNG"),  # more strips than one
    "grey alpha": encoded(colors(alpha=True).convert("LA"), "PNG"),
    "palette": encoded(colors().quantize(16), "PNG"),
    "clear palette": encoded(colors().quantize(16), "PNG", transparency=bytes(range(0, 256, 17))),
    "clear colour": encoded(colors(), "PNG", transparency=tuple(map(int, OPAQUE[3, 5]))),
    "16 bits": encoded(Image.fromarray(np.arange(960, dtype=np.uint16).reshape(24, 40) * 68), "PNG"),
    "gif": palette_gif(None),
    "clear gif": palette_gif(2),
    "bmp": encoded(colors(), "BMP"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_server_sees_what_predict_sees(name):
    np.testing.assert_array_equal(as_served(PICTURES[name]), as_predicted(PICTURES[name]))


def test_cmyk_is_nearly_the_same():
    content = encoded(colors().convert("CMYK"), "JPEG", quality=95)
    assert np.abs(as_served(content).astype(int) - as_predicted(content)).max() < 9


def test_a_picture_is_turned_as_it_was_held():
    """6: the first row is the right side as a person sees it."""
    wanted = np.rot90(OPAQUE, -1)
    assert np.abs(as_served(jpeg_with(exif(6, "<"))).astype(int) - wanted).mean() < 3


def test_what_is_transparent_is_white():
    pixels = as_served(PICTURES["clear gif"])
    assert pixels[0, 0].tolist() == [255, 255, 255] and pixels[4, 8].tolist() == [200, 10, 10]
    assert as_served(PICTURES["alpha"])[:, 0].min() == 255


def test_scaled_to_a_square_as_resize_does():
    content = PICTURES["upright"]
    plain = tf.io.decode_image(content, channels=3, expand_animations=False)
    wanted = tf.image.resize(plain, (16, 16), antialias=True)
    np.testing.assert_array_equal(
        picture_tensors.decoded(tf.constant([content]), 16)[0], tf.clip_by_value(wanted, 0, 255)
    )


HUGE = {
    "png": encoded(colors(), "PNG")[:16] + struct.pack(">II", 10_000, 10_000) + encoded(colors(), "PNG")[24:],
    "jpeg": encoded(colors(), "JPEG").replace(struct.pack(">HH", 24, 40), struct.pack(">HH", 60_000, 60_000)),
    "gif": b"GIF89a"
    + struct.pack("<HHBBB", 9_000, 9_000, 0, 0, 0)
    + b","
    + struct.pack("<HHHHB", 0, 0, 9_000, 9_000, 0),
    "bmp": b"BM" + bytes(16) + struct.pack("<ii", 20_000, -20_000) + bytes(20),
}
REFUSED = {
    **{name: (content, "a picture has more than 50,000,000 pixels:") for name, content in HUGE.items()},
    "empty": (b"", "a picture is of no kind that can be read"),
    "text": (b"no picture at all", "a picture is of no kind that can be read"),
    "tiff": (encoded(colors(), "TIFF"), "a picture is of no kind that can be read"),
    "part of a gif": (
        palette_gif(None).replace(struct.pack("<HH", 9, 5), struct.pack("<HH", 19, 5), 1),
        "the first picture of a GIF does not fill it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_by_name(name):
    content, message = REFUSED[name]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        served(tf.constant(content))


def test_a_later_picture_of_a_gif_costs_nothing():
    """What follows the first one is cut off before anything is unpacked, though it asks for much."""
    first = palette_gif(None)
    bomb = b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0)
    np.testing.assert_array_equal(as_served(first[:-1] + bomb), as_served(first))


def test_the_head_is_read_alike_wherever_it_is_damaged():
    """Never an error of its own, and never another orientation than `readable` turns by."""
    random_ = random.Random(7)
    read = tf.function(
        lambda file: picture_tensors.picture_headers.of_jpeg(file).orientation,
        input_signature=[tf.TensorSpec((), tf.string)], autograph=False,
    )  # fmt: skip
    whole = jpeg_with(exif(6, "<"))[:130]
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(random_.randrange(1, 4)):
            damaged[random_.randrange(3, len(damaged))] = random_.choice((0, 1, 3, 18, 255, random_.randrange(256)))
        content = bytes(damaged[: random_.randrange(4, len(damaged))])
        assert read(tf.constant(content)).numpy() == orientation(content), content


def test_turned_by_pillow_s_own_exif():
    assert [orientation(turned(kind, 5)) for kind in ("JPEG", "PNG")] == [5, 5]
    assert zlib.crc32(readable("a file", turned("PNG", 5))) != zlib.crc32(turned("PNG", 5))
