"""What a trained captioner is asked: scores of a part of its pictures, and captions of what a user gives."""

from __future__ import annotations

import collections
import glob
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from rnnapps.captioning import build
from rnnapps.captioning.attention_maps import plot
from rnnapps.captioning.build import DATA
from rnnapps.captioning.config import SHIPPED_MODEL, Config, Evaluate, Predict
from rnnapps.captioning.verbs import RUN, Decoding
from rnnapps.data.caption_sources import caption_splits
from rnnapps.data.pictures import readable
from rnnapps.decoding import Search
from rnnapps.errors import UsageError
from rnnapps.files import write_whole
from rnnapps.serving.caption_model import CaptionModel
from rnnapps.serving.sentence_writer import Draws
from rnnapps.serving.shipped import run_or_model
from rnnapps.serving.writer_model import Answer
from rnnapps.training.caption_scores import scores
from rnnapps.training.run import Run

_SHOWN = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor_exact", "rouge_l", "chrf", "cider_d", "exact", "distinct")
_FEW_DISTINCT = 0.02  # of the captions: fewer are a model that says the same of everything


class _Trained(NamedTuple):
    """What is in the folder of a run."""

    folder: Path
    config: Config
    model: keras.Model
    corpus: build.Corpus

    @classmethod
    def load(cls, folder: Path) -> _Trained:
        run = Run(folder, DATA)
        config = run.load_config(Config)  # a folder that is no run is the first thing to say
        return cls(folder, config, run.load_model(), build.load(run.data_path))

    def captions(self) -> CaptionModel:
        return of_run(self.config, self.model, self.corpus)


def _opened(folder: Path, is_run: bool) -> tuple[_Trained | None, CaptionModel]:
    """A run and its model, or that of an export."""
    if not is_run:
        return None, CaptionModel.from_saved_model(folder)
    trained = _Trained.load(folder)
    return trained, trained.captions()


def of_run(config: Config, model: keras.Model, corpus: build.Corpus) -> CaptionModel:
    """The model of a run."""
    return CaptionModel.from_keras(model, corpus.vocabulary, build.grid(config, model), config.max_length)


def search(options: Decoding, max_length: int, **more: Any) -> Search:
    """The search that the options of a verb mean."""
    same = ("beam", "length_penalty", "no_repeat_ngram")
    given = {name: getattr(options, name) for name in same}
    return Search(max_length=max_length, block_unseen=True, **given, **more)


def judged(model: CaptionModel, pictures: Sequence[bytes], references: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Scores of the best captions by a beam of 5."""
    found = model.caption(pictures, search(Decoding(), model.max_length))
    return scores(model.texts(found), references)


def said(figures: dict[str, Any], count: int) -> str:
    """A sentence that says them."""
    return (
        f"BLEU-1 {figures['bleu_1']:.1f}, BLEU-4 {figures['bleu_4']:.1f}, CIDEr-D {figures['cider_d']:.3f}, "
        f"{figures['exact']:.1%} exactly right, of {count:,} pictures that training never saw"
    )


def evaluate(options: Evaluate) -> dict[str, Any]:
    """As `task.evaluate`."""
    if options.model is not None and options.images is None:
        raise UsageError(
            f"--model {options.model} without --images: wanted --images DIR, since an export holds no pictures"
        )
    is_own = options.images is not None
    asked = run_or_model(options.run, options.model, RUN, SHIPPED_MODEL) if is_own else (options.run or RUN, True)
    run, model = _opened(*asked)
    if run is not None and not is_own:
        scored, baselines = _of_split(run, options.split), _baselines(run, options.split)
    else:
        scored, baselines = _own_pictures(options), {}
    answers = model.caption(scored.files, search(options, model.max_length), batch_size=options.batch_size)
    found = model.texts(answers)
    if options.output is not None:
        text = "".join(f"{one}\t{other}\n" for one, other in zip(scored.names, found, strict=True))
        write_whole(options.output, lambda path: path.write_text(text, encoding="utf-8"))
    table = {label: scores(texts, scored.references) for label, texts in {scored.name: found, **baselines}.items()}
    _report(table, scored.name, found, options.json)
    return table


def _report(table: dict[str, Any], name: str, found: Sequence[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps(table, ensure_ascii=False))
        return
    heads = [label.replace("_", "-") for label in _SHOWN]
    print(f"{'':34}" + "".join(f"{head:>13}" for head in heads))
    for label, row in table.items():
        cells = (
            f"{row[key]:13.3f}" if key in ("cider_d", "exact", "distinct") else f"{row[key]:13.2f}" for key in _SHOWN
        )
        print(f"{label:34}" + "".join(cells))
    print(f"chrf: {table[name]['chrf_signature']}")
    if len(found) > 1 and table[name]["distinct"] <= max(_FEW_DISTINCT, 1 / len(found)):
        print(f"note: {len(set(found))} different captions of {len(found):,} pictures: the model says the same of all")


class _Scored(NamedTuple):
    """Pictures to score."""

    name: str
    files: list[bytes]
    names: list[str]
    references: list[tuple[str, ...]]


def _own_pictures(options: Evaluate) -> _Scored:
    assert options.images is not None  # as the options check
    splits = caption_splits(images=options.images, captions=options.captions, validation_fraction=0, test_fraction=0)
    found = _Scored(options.images.name, [], [], [])
    for picture in splits.train():
        try:
            found.files.append(readable(picture.name, picture.picture))
        except UsageError as error:
            splits.notes.append(f"{error}: left out")
            continue
        found.names.append(picture.name)
        found.references.append(picture.captions)
    for note in splits.notes:
        print(note, file=sys.stderr)
    if not found.files:
        raise UsageError(f"--images {options.images} holds no picture that can be read: wanted one to score")
    return found


def _of_split(run: _Trained, part: str) -> _Scored:
    pictures = run.corpus.pictures
    entries = pictures.entries(part)
    if not entries:
        raise UsageError(f"--split {part}: the run {run.folder} holds nothing out for it")
    files = [pictures.picture(part, number) for number in range(len(entries))]
    name = f"{build.learnt(run.config)}, {pictures.names[part]}"
    return _Scored(name, files, [entry.name for entry in entries], [entry.captions for entry in entries])


def _baselines(run: _Trained, part: str) -> dict[str, list[str]]:
    """For each picture of a part what needs no decoder: the commonest caption of the training part, and the first
    caption of the training picture that looks most alike to the encoder."""
    pictures, seeing = run.corpus.pictures, run.model.get_layer("picture_encoder")
    (commonest, _), *_ = collections.Counter(map(str.lower, pictures.captions("train"))).most_common(1)
    folder = Run(run.folder, DATA).data_path
    one, other = (build.means(run.config, pictures, name, seeing, folder) for name in (part, "train"))
    one, other = (means / np.linalg.norm(means, axis=1, keepdims=True).clip(1e-9) for means in (one, other))
    entries = pictures.entries("train")
    nearest = [entries[i].captions[0] for i in np.argmax(one @ other.T, axis=1)]
    return {"baseline commonest caption": [commonest] * len(one), "baseline nearest picture": nearest}


def predict(options: Predict) -> list[list[str]]:
    """As `task.predict`."""
    paths = _paths(options.image)
    _, model = _opened(*run_or_model(options.run, options.model, RUN, SHIPPED_MODEL))
    how = _how(options, model.max_length)
    written: list[list[str]] = []
    for first in range(0, len(paths), options.batch_size):
        some = _readable(paths[first : first + options.batch_size], alone=len(paths) == 1)
        pictures = list(some.values())
        answers = model.caption(pictures, how, options.prefix, align=options.show_attention is not None)
        for path, picture, answer in zip(some, pictures, answers, strict=True):
            if options.show_attention is not None and not written:
                _show(options.show_attention, model, picture, answer)
            texts = [text.decode("utf-8") for text in answer["caption"]]
            _print(options, path, texts, answer, several=len(paths) > 1)
            written.append(texts)
    return written


def _show(path: Path, model: CaptionModel, picture: bytes, answer: Answer) -> None:
    if model.captioner.grid is None:
        raise UsageError(
            f"--show-attention {path}: this model sees a picture as a whole; wanted soft or adaptive attention"
        )
    plot(path, picture, answer)


def _paths(given: Sequence[Path]) -> list[Path]:
    """Files, those in folders and in folders there, and those that patterns match, in order of their names."""
    if not given:
        raise UsageError("--image is missing: wanted a picture, a folder of pictures or a pattern")
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(_inside(path))
        elif path.exists():
            inside = [path]
        else:
            inside = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if Path(name).is_file()]
        if not inside:
            what = "holds no file" if path.is_dir() else "does not exist"
            raise UsageError(f"--image {path} {what}: wanted a picture, a folder of pictures or a pattern")
        found += inside
    return found


def _inside(folder: Path) -> Iterator[Path]:
    """The files of a folder, as deep as `train --images` looks; names that begin with a point are overlooked."""

    def fail(error: OSError) -> None:
        raise UsageError(f"--image {error.filename} cannot be read ({error.strerror})") from error

    for top, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(top, name) for name in files if not name.startswith("."))


def _readable(paths: Sequence[Path], alone: bool) -> dict[Path, bytes]:
    """The files as TensorFlow reads them; of several, those that can be read, and the others are named."""
    found = {}
    for path in paths:
        try:
            found[path] = readable(str(path), path.read_bytes())
        except OSError as error:
            problem = f"{path} cannot be read ({error.strerror})"
        except UsageError as error:
            problem = str(error)
        else:
            continue
        if alone:
            raise UsageError(problem)
        print(f"{problem}: left out", file=sys.stderr)
    return found


def _how(options: Predict, longest: int) -> Search | Draws:
    max_length = options.max_length or longest
    if not options.num_samples:
        return search(options, max_length, min_length=options.min_length, num_best=options.nbest)
    same = ("temperature", "top_k", "top_p", "seed")
    return Draws(options.num_samples, max_length, **{name: getattr(options, name) for name in same})


def _print(options: Predict, path: Path, texts: list[str], answer: Answer, several: bool) -> None:
    if options.json:
        one: dict[str, Any] = {"image": str(path), "caption": texts[0], "score": float(answer["score"][0])}
        if len(texts) > 1:
            scored = zip(texts, answer["score"], answer["log_prob"], strict=True)
            one["captions"] = [{"caption": t, "score": float(s), "log_prob": float(p)} for t, s, p in scored]
        print(json.dumps(one, ensure_ascii=False), flush=True)
        return
    for text, score in zip(texts, answer["score"], strict=True):
        shown = f"{score:8.4f}  {text}" if len(texts) > 1 else text
        print(f"{path}\t{shown}" if several else shown, flush=True)
