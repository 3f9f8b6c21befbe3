"""Which captioned pictures each source gives, and one sentence for what is wrong with it."""

from __future__ import annotations

import functools
import itertools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnapps.data import caption_builders, caption_sources
from rnnapps.data.caption_files import Captioned
from rnnapps.data.caption_sources import DATASETS, PARTS, Splits, caption_splits
from rnnapps.errors import RunError, UsageError


def read(splits: Splits) -> dict[str, list[Captioned]]:
    return {part: list(splits[part]()) for part in PARTS}


# === The user's files ===


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Any]:
    """Two hundred pictures, each with two captions far apart in the file."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number}.jpg").write_text(f"picture {number}")
    lines = [f"{number}.jpg\tcaption {turn} of {number}\n" for turn in range(2) for number in range(200)]
    (tmp_path / "own.tsv").write_text("".join(lines))
    return {"images": folder, "captions": tmp_path / "own.tsv"}


def test_every_picture_is_in_one_part(own: dict[str, Any]) -> None:
    splits = caption_splits(**own, validation_fraction=0.1, test_fraction=0.2)
    parts = read(splits)
    assert parts == read(splits) and splits.notes == [] and splits.names == {}
    assert [len(parts[part]) for part in PARTS] == [140, 20, 40]
    every = {one.name: one for one in itertools.chain(*parts.values())}
    assert len(every) == 200
    assert every["7.jpg"] == Captioned("7.jpg", b"picture 7", ("caption 0 of 7", "caption 1 of 7"))
    # The test part depends on nothing else, and a part is in the order of the file.
    assert read(caption_splits(**own, validation_fraction=0.3, test_fraction=0.2))["test"] == parts["test"]
    numbers = [int(one.name.removesuffix(".jpg")) for one in parts["train"]]
    assert numbers == sorted(numbers)
    # One more picture moves few: those that were held out are.
    (own["images"] / "200.jpg").write_text("picture 200")
    with own["captions"].open("a") as file:
        file.write("200.jpg\tone more\n")
    more = read(caption_splits(**own, validation_fraction=0.1, test_fraction=0.2))
    assert len({one.name for one in more["test"]} & {one.name for one in parts["test"]}) >= 39


def test_what_is_held_out_is_bounded(own: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caption_sources, "MAX_HELD_OUT", 10)
    parts = read(caption_splits(**own, validation_fraction=0.2, test_fraction=0.2))
    assert [len(parts[part]) for part in PARTS] == [180, 10, 10]
    parts = read(caption_splits(**own, validation_fraction=0, test_fraction=0))
    assert [len(parts[part]) for part in PARTS] == [200, 0, 0]


def test_an_untidy_folder_is_read_for_the_rest(own: dict[str, Any]) -> None:
    folder = own["images"]
    for number in range(5):
        (folder / f"{number}.jpg").unlink()
    (folder / "5.jpg").write_bytes(b"")
    (folder / "more.png").write_bytes(b"no caption")
    (folder / "Thumbs.db").write_bytes(b"no picture")
    (folder.parent / "secret.jpg").write_text("secret")
    with own["captions"].open("a") as file:
        file.write("no tab\n../secret.jpg\tsecret\n6\ta third caption\n7.jpg\t\n")
    splits = caption_splits(**own)
    parts = read(splits)
    every = {one.name: one for one in itertools.chain(*parts.values())}
    assert len(every) == 194 and sum(len(some) for some in parts.values()) == 194
    assert every["6.jpg"].captions == ("caption 0 of 6", "caption 1 of 6", "a third caption")
    assert splits.notes == [
        f"{own['captions']}: 1 line without a tab is left out, which is line 401",
        f"{own['captions']}: 1 line without a caption is left out, which is line 404",
        f"{own['captions']}: 5 names without a picture are left out, the first of them is '0.jpg'",
        f"{own['captions']}: 1 name outside of the folder is left out, which is '../secret.jpg'",
        f"{folder}: 1 picture without a caption is left out, which is 'more.png'",
        f"{folder}: 1 picture without content is left out, which is '5.jpg'",
    ]


def test_few_pictures_are_enough_for_each_part(own: dict[str, Any]) -> None:
    own["captions"].write_text("".join(f"{number}.jpg\tx\n" for number in range(3)))
    parts = read(caption_splits(**own))
    assert [len(parts[part]) for part in PARTS] == [1, 1, 1]
    own["captions"].write_text("0.jpg\tx\n1.jpg\tx\n")
    with pytest.raises(UsageError, match="of 2 pictures of --images .* none is left for training: wanted more, or"):
        caption_splits(**own)


def test_options_that_do_not_go_together_are_named(own: dict[str, Any], tmp_path: Path) -> None:
    for options, sentence in (
        ({**own, "dataset": "scenes"}, "--images and --captions .* go without --dataset scenes"),
        ({**own, "source": tmp_path}, f"--images and --captions .* go without --source {tmp_path}"),
        ({"images": own["images"]}, f"--images {own['images']} goes with .* wanted --captions FILE too"),
        ({"captions": own["captions"]}, f"--captions {own['captions']} goes with .* wanted --images DIR too"),
        ({"dataset": "coco"}, "--dataset must be one of scenes, flickr8k, coco_captions, not 'coco'"),
        ({"source": tmp_path}, f"--source {tmp_path} does not go with scenes, which are drawn"),
        ({**own, "test_fraction": 1.0}, "must be at least 0 and together below 1, not 0.05 and 1.0"),
        ({**own, "validation_fraction": -0.1}, "must be at least 0"),
        ({**own, "test_fraction": float("nan")}, "must be at least 0"),
        ({"dataset": "flickr8k"}, r"flickr8k has no public download \(.*\): give a local copy with --source DIR"),
    ):
        with pytest.raises(UsageError, match=sentence) as caught:
            caption_splits(**options)
        assert "\n" not in str(caught.value)


# === Named data sets ===


def test_scenes_have_parts_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caption_sources, "SCENES", {"train": 60, "validation": 10, "test": 20})
    splits = caption_splits(seed=1)
    parts = read(splits)
    assert parts == read(splits) == read(caption_splits("scenes", seed=1))
    assert [len(parts[part]) for part in PARTS] == [60, 10, 20] and splits.notes == []
    every = list(itertools.chain(*parts.values()))
    assert len({one.name for one in every}) == len({one.captions for one in every}) == 90
    assert parts != read(caption_splits(seed=2)) and next(iter(DATASETS)) == "scenes"


FLICKR = {"train": 5, "dev": 3, "test": 2}


def flickr_names(part: str) -> list[str]:
    """Not in the order of the alphabet."""
    return [f"{part}_{(7 * i) % 11}.jpg" for i in range(FLICKR[part])]


def flickr_captions() -> str:
    names = [name for part in FLICKR for name in flickr_names(part)]
    return "".join(f"{name}#{i}\tcaption {i} of {name} .\n" for name in sorted([*names, "none.jpg"]) for i in range(5))


def flickr(name: str) -> list[Captioned]:
    return [
        Captioned(one, b"\xff\xd8" + one.encode(), tuple(f"caption {i} of {one} ." for i in range(5)))
        for one in flickr_names(name)
    ]


@pytest.fixture
def original(tmp_path: Path) -> Path:
    folder = tmp_path / "original"
    (folder / "Flicker8k_Dataset").mkdir(parents=True)
    (folder / "Flickr8k_text").mkdir()
    (folder / "Flickr8k_text" / "Flickr8k.token.txt").write_text(flickr_captions())
    for part in FLICKR:
        (folder / "Flickr8k_text" / f"Flickr_8k.{part}Images.txt").write_text("\n".join(flickr_names(part)) + "\n")
        for one in flickr(part):
            (folder / "Flicker8k_Dataset" / one.name).write_bytes(one.picture)
    return folder


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "local"
    (folder / "images_128").mkdir(parents=True)
    (folder / "splits").mkdir()
    (folder / "Flickr8k.token.public.txt").write_text(flickr_captions())
    for part in FLICKR:
        name = "test_public500" if part == "test" else part
        (folder / "splits" / f"{name}.txt").write_text("\n".join(flickr_names(part)) + "\n")
        with zipfile.ZipFile(folder / "images_128" / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for one in flickr(part)[::-1]:
                archive.writestr(one.name, one.picture)
    return folder


WANTED = {"train": flickr("train"), "validation": flickr("dev"), "test": flickr("test")}


def test_flickr8k_is_read_as_it_was_published(original: Path, tmp_path: Path) -> None:
    splits = caption_splits("flickr8k", original, data_dir=tmp_path / "data")
    assert read(splits) == WANTED == read(splits)
    assert splits.notes == [] and splits.names == {}
    (original / "Flickr8k_Dataset").mkdir()
    (original / "Flicker8k_Dataset").rename(original / "Flickr8k_Dataset" / "Flicker8k_Dataset")
    assert len(list(caption_splits("flickr8k", original, data_dir=tmp_path / "data").test())) == 2


def test_half_of_the_test_part_is_called_so(local: Path, tmp_path: Path) -> None:
    splits = caption_splits("flickr8k", local, data_dir=tmp_path / "data")
    assert read(splits) == WANTED and splits.notes == []
    assert splits.names == {"test": "test_public500"}


def test_pictures_that_flickr8k_lacks_are_counted(local: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    names = local / "splits" / "train.txt"
    names.write_text(names.read_text() + "gone.jpg\nnone.jpg\n../../secret.jpg\n\n" + flickr_names("train")[0])
    captions = local / "Flickr8k.token.public.txt"
    captions.write_text(captions.read_text() + "../../secret.jpg#0\tsecret\n")
    splits = caption_splits("flickr8k", local, data_dir=tmp_path / "data")
    assert read(splits) == WANTED
    assert splits.notes == [
        f"{names}: 1 name without a caption is left out, which is 'gone.jpg'",
        f"{names}: 2 names without a picture in train.zip are left out, the first of them is 'none.jpg'",
    ]


def test_a_damaged_member_of_an_archive_is_left_out(local: Path, tmp_path: Path) -> None:
    path = local / "images_128" / "dev.zip"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = archive.infolist()[0]
    content[member.header_offset + 30 + len(member.filename)] ^= 0xFF
    path.write_bytes(content)
    splits = caption_splits("flickr8k", local, data_dir=tmp_path / "data")
    assert len(list(splits.validation())) == 2
    assert splits.notes == [
        f"{local / 'splits' / 'dev.txt'}: 1 name without a picture in dev.zip is left out, which is {member.filename!r}"
    ]
    path.write_bytes(b"PK and nothing")
    with pytest.raises(RunError, match=r"flickr8k cannot be prepared from .* \(dev\.zip: File is not a zip file\)"):
        caption_splits("flickr8k", local, data_dir=tmp_path / "data")


def test_a_copy_of_flickr8k_that_is_not_whole_is_named(original: Path, local: Path, tmp_path: Path) -> None:
    prepare = functools.partial(caption_splits, "flickr8k", data_dir=tmp_path / "data")
    (original / "Flickr8k_text" / "Flickr_8k.devImages.txt").unlink()
    with pytest.raises(UsageError, match=f"--source {original} lacks Flickr_8k.devImages.txt, which flickr8k wants"):
        prepare(original)
    (local / "images_128" / "train.zip").unlink()
    (local / "Flickr8k.token.public.txt").write_text("")
    with pytest.raises(UsageError, match=r"lacks Flickr8k\.token\.public\.txt, images_128/train\.zip, which flickr8k"):
        prepare(local)
    for source, what in ((tmp_path / "nowhere", "does not exist"), (local / "splits" / "dev.txt", "is a file")):
        with pytest.raises(
            UsageError, match=f"{what}, and flickr8k wants a folder that holds Flickr8k.token.txt, .* or"
        ):
            prepare(source)
    with pytest.raises(UsageError, match=r"lacks Flickr8k\.token\.txt, .*, Flicker8k_Dataset, .* which flickr8k wants"):
        prepare(tmp_path)


# === TFDS's own ===


def fake_coco(picture: Path) -> Any:
    """What TFDS makes of COCO, as far as it is read here: prepared in no time."""
    import tensorflow_datasets as tfds

    class CocoCaptions(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        name = "coco_captions"
        VERSION = tfds.core.Version("1.1.0")

        def _info(self) -> Any:
            text = tfds.features.Sequence({"text": tfds.features.Text(), "id": np.int64})
            features = {"image": tfds.features.Image(encoding_format="jpeg"), "image/filename": tfds.features.Text(),
                        "captions": text}  # fmt: skip
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
            )

        def _split_generators(self, dl_manager: Any) -> Any:
            return {split: self._generate_examples(split) for split in ("train", "val", "test", "restval")}

        def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
            for key in range(2):
                captions = [{"text": f"{split} {key} .\n", "id": 1}, {"text": " ", "id": 2}][: 2 - key]
                # The path of a file is stored as its bytes.
                yield key, {"image": str(picture), "image/filename": f"{split}_{key}.jpg", "captions": captions}

    return CocoCaptions


def test_coco_gives_its_files_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    path = tmp_path / "some.jpg"
    Image.new("RGB", (9, 7), "red").save(path)
    made = fake_coco(path)
    monkeypatch.setattr(caption_builders.tfds, "builder", lambda name, data_dir: made(data_dir=data_dir))
    with pytest.raises(UsageError, match=f"--source {tmp_path} holds no coco_captions that tensorflow-datasets has"):
        caption_splits("coco_captions", tmp_path)
    made(data_dir=str(tmp_path)).download_and_prepare()
    for options in ({"source": tmp_path}, {"data_dir": tmp_path}):
        parts = read(caption_splits("coco_captions", **options))
        assert [[one.name for one in parts[part]] for part in PARTS] == [
            ["train_0.jpg", "train_1.jpg", "restval_0.jpg", "restval_1.jpg"], ["val_0.jpg", "val_1.jpg"],
            ["test_0.jpg", "test_1.jpg"],
        ]  # fmt: skip
        assert parts["test"][1] == Captioned("test_1.jpg", path.read_bytes(), ("test 1 .",))
        assert parts["train"][0].captions == ("train 0 .",)


def test_no_network_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caption_builders, "COCO_URL", "http://name.invalid/train2014.zip")
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(RunError, match=r"coco_captions cannot be downloaded from http://name.invalid.*: give a local"):
        caption_splits("coco_captions", data_dir=tmp_path)
