"""Where captioned pictures come from: scenes that are drawn, benchmark photographs, or the user's files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

from rnnapps.data.caption_files import Captioned, Findings, paired, read_captions, read_pictures
from rnnapps.data.held_out import PARTS, Smallest, Splits, number, number_ranges
from rnnapps.errors import UsageError

DEFAULT_DATASET = "scenes"
DATASETS: dict[str, str] = {
    "scenes": "drawn scenes of coloured shapes, with the one right caption of each (needs no network)",
    "flickr8k": "8,000 photographs with five captions each (--source DIR)",
    "coco_captions": "123,000 photographs with five captions each (download of 38 GB, or --source DIR)",
}
SCENES = {"train": 10_000, "validation": 500, "test": 1_000}
# As many as the usual parts of COCO have.
MAX_HELD_OUT = 5_000

Pictures = Callable[[], Iterator[Captioned]]


def caption_splits(
    dataset: str | None = None,
    source: Path | None = None,
    images: Path | None = None,
    captions: Path | None = None,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    data_dir: Path | None = None,
    seed: int = 0,
) -> Splits[Captioned]:
    """The captioned pictures of a named data set, or of the user's files.

    A data set has parts of its own. Of the user's pictures, parts are cut off by a hash of a picture's path in its
    folder, without regard to capitals: all captions of a picture are in one part, and it is always the same. Each part
    that is cut off has its fraction of the pictures, at least one and at most about `MAX_HELD_OUT`. A picture's file
    is read whenever its part is, and given as it is: whether it is a picture, `pictures.readable` tells.

    Args:
        dataset: A key of `DATASETS`; None for the user's files, or for the default if there are none.
        source: Folder that holds a local copy of the data set. None: download.
        images: Folder of the user's pictures.
        captions: File of their captions, as `caption_files.read_captions` takes it.
        validation_fraction, test_fraction: Of the user's pictures; 0 for none.
        data_dir: Where a benchmark data set is prepared; keep it until the pictures are read. None: TFDS's own folder.
        seed: Of the data set scenes.

    Raises:
        UsageError: Options that exclude each other, files that are missing or wrong, no picture to learn.
        RunError: The data set could not be made ready.
    """
    # The test part first, so that it does not depend on the size of the validation part.
    fractions = {"test": test_fraction, "validation": validation_fraction}
    if not (validation_fraction >= 0 and test_fraction >= 0 and sum(fractions.values()) < 1):
        raise UsageError(
            "validation_fraction and test_fraction must be at least 0 and together below 1, "
            f"not {validation_fraction} and {test_fraction}"
        )
    if images is not None or captions is not None:
        return _own(dataset, source, images, captions, fractions)
    dataset = DEFAULT_DATASET if dataset is None else dataset
    if dataset not in DATASETS:
        raise UsageError(f"--dataset must be one of {', '.join(DATASETS)}, not {dataset!r}")
    source = None if source is None else Path(source)
    if dataset == "flickr8k":
        return _flickr8k(source, data_dir)
    if dataset == "coco_captions":
        return _coco(source, data_dir)
    if source is not None:
        raise UsageError(f"--source {source} does not go with scenes, which are drawn")
    return Splits.of({part: functools.partial(_scenes, seed, part) for part in PARTS}, [])


def _scenes(seed: int, part: str) -> Iterator[Captioned]:
    from rnnapps.data.scenes import scenes

    first = sum(SCENES[before] for before in PARTS[: PARTS.index(part)])
    return scenes(seed, first + SCENES[part], first)


def _flickr8k(source: Path | None, data_dir: Path | None) -> Splits[Captioned]:
    from rnnapps.data import caption_builders  # Only now: importing TFDS takes a while.

    builder = caption_builders.prepare_flickr8k(source, data_dir)
    names = dict(zip(PARTS, builder.layout.parts, strict=True))
    parts = {part: functools.partial(caption_builders.read_flickr8k, builder, names[part]) for part in PARTS}
    unlike = {part: name for part, name in names.items() if part != name}
    return Splits.of({**parts}, builder.findings.notes(), unlike)


def _coco(source: Path | None, data_dir: Path | None) -> Splits[Captioned]:
    from rnnapps.data import caption_builders

    builder = caption_builders.prepare_coco(source, data_dir)
    # Pictures that are in no other part are trained on too, as is usual.
    splits = {"train": "train+restval", "validation": "val", "test": "test"}
    return Splits.of({part: functools.partial(caption_builders.read_coco, builder, splits[part]) for part in PARTS}, [])


def _own(
    dataset: str | None, source: Path | None, images: Path | None, captions: Path | None, fractions: dict[str, float]
) -> Splits[Captioned]:
    if dataset is not None or source is not None:
        given = f"--source {source}" if dataset is None else f"--dataset {dataset}"
        raise UsageError(f"--images and --captions name the user's own files and go without {given}")
    if images is None or captions is None:
        given, other = (f"--captions {captions}", "--images DIR")
        if captions is None:
            given, other = (f"--images {images}", "--captions FILE")
        raise UsageError(f"{given} goes with the user's own files: wanted {other} too")
    folder, findings = Path(images), Findings()
    found = paired(read_captions(Path(captions), findings), folder, findings, captions)
    held_out = Smallest(len(fractions) * MAX_HELD_OUT)
    numbers = {name: number(name) for name in found}
    for one in numbers.values():
        held_out.add(one)
    ranges, left = number_ranges(held_out, len(found), fractions, MAX_HELD_OUT)
    if not left:
        raise UsageError(
            f"of {len(found):,} pictures of --images {images} none is left for training: "
            "wanted more, or less to hold out"
        )
    parts: dict[str, Pictures] = {}
    for part, (low, high) in ranges.items():
        some = {name: texts for name, texts in found.items() if low <= numbers[name] < high}
        parts[part] = functools.partial(read_pictures, folder, some)
    return Splits.of(parts, findings.notes())
