"""Pictures of any usual format as bytes that TensorFlow decodes for certain."""

from __future__ import annotations

import io
import re
import threading
import warnings
import zlib
from typing import Any, Literal

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from rnnapps.errors import UsageError

MAX_PIXELS = 50_000_000

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# Readers by name, not `Image.open`, which warns of large pictures and would run other programs for some formats.
_READERS: dict[bytes, type[ImageFile.ImageFile]] = {
    _JPEG: JpegImagePlugin.JpegImageFile,
    _PNG: PngImagePlugin.PngImageFile,
    b"GIF8": GifImagePlugin.GifImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
    b"II*\0": TiffImagePlugin.TiffImageFile,
    b"MM\0*": TiffImagePlugin.TiffImageFile,
}
# Between a JPEG's pixels 255 stands before 0, and before the marks at which a decoder can start anew.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_ORIENTATION, _SHORT = 0x0112, 3
_MOST_SEGMENTS = 1024  # before the pixels, and entries of Exif: what comes after is not read
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Warnings are filtered for all threads at once, so one picture at a time.
_FILTERING = threading.Lock()


def readable(name: str, content: bytes) -> bytes:
    """A picture as bytes that `tf.io.decode_image(..., channels=3, expand_animations=False)` decodes to RGB.

    A sound JPEG or PNG of 8 bits a channel in RGB or grey that stands upright is returned as it is. Everything else,
    such as GIF, BMP, WebP and TIFF, 16 bits a channel, CMYK, a palette, or a camera that was turned, becomes a PNG of 8
    bits: upright, over white where it is transparent, and of several pictures the first. Values without an agreed
    range, which are those of 32 bits, are stretched from black to white.

    Args:
        name: For messages.
        content: What the file holds.

    Raises:
        UsageError: It is empty, no picture, damaged or cut short, or has more than `MAX_PIXELS` pixels, which its
            header tells.
    """
    if not content:
        raise UsageError(f"{name} is empty, and a picture is wanted")
    reader = next((reader for start, reader in _READERS.items() if content.startswith(start)), None)
    if reader is None:
        raise UsageError(f"{name} is no picture that can be read: wanted JPEG, PNG, GIF, BMP, WebP or TIFF")
    with _FILTERING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with reader(io.BytesIO(content)) as picture:
                width, height = picture.size
                if width * height <= MAX_PIXELS:
                    picture.load()
                    return content if _is_plain(picture, content) else _as_png(picture, content)
        except Exception as error:  # Pillow lets out whatever its decoders meet, from struct.error to MemoryError.
            reason = " ".join(str(error).split())[:100] or type(error).__name__
            raise UsageError(f"{name} is damaged or cut short: it cannot be decoded ({reason})") from error
    raise UsageError(f"{name} has {width * height:,} pixels ({width:,} x {height:,}): wanted at most {MAX_PIXELS:,}")


def _is_plain(picture: ImageFile.ImageFile, content: bytes) -> bool:
    """Whether TensorFlow decodes it to the same pixels as it is."""
    if picture.mode not in ("RGB", "L") or "transparency" in picture.info or _turned(picture, content) in _UPRIGHT:
        return False
    if content.startswith(_JPEG):
        return _is_sound_jpeg(content)
    if not content.startswith(_PNG) or getattr(picture, "is_animated", False):
        return False
    # Seven passes at most, whose rows have a byte more each.
    return _is_sound_png(
        content, picture.height * (picture.width * len(picture.getbands()) + 1) + 7 * picture.height + 64
    )


def orientation(content: bytes) -> int:
    """How a JPEG or PNG stands: 1 to 8, as Exif numbers it; 1, which is upright, where its head does not say.

    `picture_tensors.pixels` reads the same in a graph, so that a served model sees what `predict` sees.
    """
    exif = _exif_of_png(content) if content.startswith(_PNG) else _exif_of_jpeg(content)
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"
    if exif[:2] not in (b"II", b"MM"):
        return 1

    def number(at: int, length: int = 2) -> int:
        return int.from_bytes(exif[at : at + length].ljust(length, b"\0"), order)

    table = number(4, 4)
    for entry in range(table + 2, table + 2 + 12 * min(number(table), _MOST_SEGMENTS), 12):
        if number(entry) == _ORIENTATION:
            value = number(entry + 8)
            return value if number(entry + 2) == _SHORT and 1 <= value <= 8 else 1
    return 1


def _exif_of_jpeg(content: bytes) -> bytes:
    """What follows the mark of Exif in the first segment that has it; everything, as its own lengths say the rest."""
    place = 2
    for _ in range(_MOST_SEGMENTS):
        if content[place : place + 1] != b"\xff" or content[place + 1 : place + 2] in (b"\xda", b"\xd9"):
            break
        if content[place + 1 : place + 2] == b"\xe1" and content[place + 4 : place + 10] == b"Exif\0\0":
            return content[place + 10 :]
        is_fill = content[place + 1 : place + 2] == b"\xff"
        place += 1 if is_fill else 2 + int.from_bytes(content[place + 2 : place + 4])
    return b""


def _exif_of_png(content: bytes) -> bytes:
    place = len(_PNG)
    for _ in range(_MOST_SEGMENTS):
        kind = content[place + 4 : place + 8]
        if place >= len(content) or kind == b"IDAT":
            break
        if kind == b"eXIf":
            return content[place + 8 :]
        place += 12 + int.from_bytes(content[place : place + 4])
    return b""


def _turned(picture: Image.Image, content: bytes) -> Any:
    """The orientation of a picture of any kind."""
    if content.startswith((_JPEG, _PNG)):
        return orientation(content)
    try:
        return picture.getexif().get(_ORIENTATION)
    except Exception:  # What describes a picture may be damaged, and the picture sound.
        return None


def _is_sound_jpeg(content: bytes) -> bool:
    """Whether it is baseline, extended or progressive, and segment follows segment up to the end.

    Pillow also takes what has lost its end, or has other bytes between its segments.
    """
    place, frame = 2, 0
    while place + 1 < len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xD9:
            return frame in (0xC0, 0xC1, 0xC2)
        if marker == 0xFF:  # of any number before a marker
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = marker
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
        if marker == 0xDA:  # Pixels follow, up to the next marker.
            found = _MARKER.search(content, place)
            place = found.start() if found else len(content)
    return False


def _is_sound_png(content: bytes, most: int) -> bool:
    """Whether it has 8 bits a channel and all checksums are right, which Pillow does not mind, and others do.

    Args:
        content: A PNG picture.
        most: Bytes that its pixels can take, unpacked.
    """
    place, data, left = len(_PNG), zlib.decompressobj(), most
    if content[24] != 8:
        return False
    try:
        while place + 12 <= len(content):
            end = place + 8 + int.from_bytes(content[place : place + 4])
            if zlib.crc32(content[place + 4 : end]) != int.from_bytes(content[end : end + 4]):
                return False
            kind = content[place + 4 : place + 8]
            if kind == b"IEND":
                return data.eof
            if kind == b"IDAT":
                packed = content[place + 8 : end]
                while packed and not data.eof:
                    left -= len(data.decompress(packed, 1 << 20))
                    packed = data.unconsumed_tail
                    if left < 0:
                        return False
            place = end + 4
    except zlib.error:
        pass
    return False


def _as_png(picture: Image.Image, content: bytes) -> bytes:
    turned = _turned(picture, content)
    plain = _eight_bits(picture)
    if turned in _UPRIGHT:
        plain = plain.transpose(_UPRIGHT[turned])
    file = io.BytesIO()
    plain.save(file, "PNG")
    return file.getvalue()


def _eight_bits(picture: Image.Image) -> Image.Image:
    """In grey or RGB, over white where it is transparent, and without anything else that its file held."""
    if picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.uint16)
        return Image.fromarray(np.where(values == picture.info.get("transparency"), 255, values >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(picture, np.float64))
        low, high = values.min(), values.max()
        return Image.fromarray(((values - low) * (255 / max(high - low, 1e-9))).astype(np.uint8))
    if picture.has_transparency_data:
        over = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    kept = picture.convert("L" if picture.mode in ("1", "L") else "RGB")
    return Image.frombytes(kept.mode, kept.size, kept.tobytes())
