"""The requests that a version answers before it takes any: `assets.extra/tf_serving_warmup_requests`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from rnnapps.server.apis import prediction_log_pb2
from rnnapps.server.status import Code, ServingError

FILE = Path("assets.extra", "tf_serving_warmup_requests")
_LIMIT = 1000  # as the server's
_HEADER = struct.Struct("<QI")  # length, and the masked checksum of its eight bytes
_CHECKSUM = struct.Struct("<I")
_CASTAGNOLI = 0x82F63B78


def warmup_requests(folder: Path) -> Iterator[Any]:
    """The `PredictRequest` messages of a version's warm-up file; none if it has no file.

    Raises:
        ServingError: The file is damaged, too long, or holds another kind of request.
    """
    path = folder / FILE
    if not path.is_file():
        return
    for i, record in enumerate(read_records(path.read_bytes())):
        if i >= _LIMIT:
            raise ServingError(Code.INVALID_ARGUMENT, f"{FILE.name} has more than {_LIMIT} records")
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except Exception as error:  # protobuf's own class has moved between its versions
            raise _damaged(i) from error
        if log.WhichOneof("log_type") != "predict_log":
            raise ServingError(Code.UNIMPLEMENTED, f"record {i} of {FILE.name} is no predict request")
        yield log.predict_log.request


def read_records(content: bytes) -> Iterator[bytes]:
    """The records of a TFRecord file, their checksums checked.

    Raises:
        ServingError: The file is damaged.
    """
    place = i = 0
    while place < len(content):
        end = place + _HEADER.size
        if end > len(content):
            raise _damaged(i)
        length, checksum = _HEADER.unpack_from(content, place)
        last = end + length
        if masked_crc32c(content[place : place + 8]) != checksum or last + _CHECKSUM.size > len(content):
            raise _damaged(i)
        record = content[end:last]
        if masked_crc32c(record) != _CHECKSUM.unpack_from(content, last)[0]:
            raise _damaged(i)
        yield record
        place, i = last + _CHECKSUM.size, i + 1


def masked_crc32c(content: bytes) -> int:
    """The checksum of TFRecord: CRC-32C (RFC 3720), rotated and shifted so that it can be stored beside its data."""
    table, crc = _table(), 0xFFFFFFFF
    for byte in content:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    def step(value: int) -> int:
        for _ in range(8):
            value = value >> 1 ^ (_CASTAGNOLI if value & 1 else 0)
        return value

    return tuple(map(step, range(256)))


def _damaged(i: int) -> ServingError:
    return ServingError(Code.DATA_LOSS, f"record {i} of {FILE.name} is damaged")
