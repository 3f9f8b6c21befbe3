"""Where sentence pairs come from: values that babel writes out, benchmark pairs, or the user's files."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rnnapps.data.held_out import PARTS, Smallest, Splits, number, number_ranges
from rnnapps.data.pair_files import AlignedFiles, Findings, Pair, TabFile, check_file, decoded, split_lines, tab_pairs
from rnnapps.errors import UsageError

DEFAULT_DATASET = "dates"
DATASETS: dict[str, str] = {
    "dates": "dates, times, numbers, money and units written out in two languages (needs no network)",
    "multi30k": "31,000 captions of pictures in English, German and French (download, or --source DIR)",
    "tatoeba": "English sentences with French translations by volunteers (download, or --source DIR)",
}
DEFAULT_LANGUAGES: dict[str, tuple[str, str]] = {
    "dates": ("en", "de"), "multi30k": ("en", "de"), "tatoeba": ("en", "fr"),
}  # fmt: skip

DATES_PAIRS = {"train": 20_000, "validation": 1_000, "test": 1_000}
# More take minutes to translate and measure little better.
MAX_HELD_OUT = 3_000

Pairs = Callable[[], Iterator[Pair]]


def pair_splits(
    dataset: str | None = None,
    source: Path | None = None,
    pairs: Sequence[Path] = (),
    validation: Sequence[Path] = (),
    test: Sequence[Path] = (),
    aligned: bool = False,
    languages: Sequence[str] = (),
    validation_fraction: float = 0.01,
    test_fraction: float = 0.01,
    data_dir: Path | None = None,
    seed: int = 0,
) -> Splits[Pair]:
    """The pairs of a named data set, or of the user's files.

    multi30k and dates have parts of their own. Elsewhere a part that is not given is cut off by a hash of the source
    sentence, without regard to capitals and spaces: all pairs of a sentence are in one part, and it is always the
    same. Each part that is cut off has its fraction of the pairs, at least one sentence and about 3,000 pairs at most.
    The user's files are read once here, to check every line, and again whenever a part is.

    Args:
        dataset: A key of `DATASETS`; None for `pairs`, or for the default if there are no `pairs`.
        source: Folder that holds a local copy of the data set, or the file itself. None: download.
        pairs: The user's files: a sentence, a tab and its translation a line, UTF-8, packed by gzip or not.
        validation, test: Files of the same form for these parts.
        aligned: `pairs`, `validation` and `test` each name two files whose lines belong together.
        languages: From and to; none for those of `DEFAULT_LANGUAGES`. The user's files know no languages.
        validation_fraction, test_fraction: Of all pairs, for a part that is cut off; 0 for none.
        data_dir: Where a benchmark data set is prepared; keep it until the pairs are read. None: TFDS's own folder.
        seed: Of the data set dates.

    Raises:
        UsageError: Options that exclude each other, a file that is missing, empty or no text, no pair to learn.
        RunError: The data set could not be made ready.
    """
    # The test part first, so that it does not depend on the size of the validation part.
    fractions = {"test": test_fraction, "validation": validation_fraction}
    if not (validation_fraction >= 0 and test_fraction >= 0 and sum(fractions.values()) < 1):
        raise UsageError(
            "validation_fraction and test_fraction must be at least 0 and together below 1, "
            f"not {validation_fraction} and {test_fraction}"
        )
    if pairs:
        if dataset is not None or source is not None:
            given = f"--source {source}" if dataset is None else f"--dataset {dataset}"
            raise UsageError(f"--pairs names the user's own files and goes without {given}")
        return _own({"train": pairs, "validation": validation, "test": test}, aligned, fractions)
    for option, value in (("--validation", validation), ("--test", test), ("--aligned", aligned)):
        if value:
            raise UsageError(f"{option} goes with the user's own files: wanted --pairs too")
    dataset = DEFAULT_DATASET if dataset is None else dataset
    if dataset not in DATASETS:
        raise UsageError(f"--dataset must be one of {', '.join(DATASETS)}, not {dataset!r}")
    two = _languages(dataset, languages)
    source = None if source is None else Path(source)
    if dataset == "multi30k":
        return _multi30k(two, source, data_dir)
    if dataset == "tatoeba":
        return _tatoeba(two, source, data_dir, fractions)
    if source is not None:
        raise UsageError(f"--source {source} does not go with dates, which are made by babel")
    return _dates(two, seed)


def _languages(dataset: str, languages: Sequence[str]) -> tuple[str, str]:
    two = tuple(languages) or DEFAULT_LANGUAGES[dataset]
    held = {"multi30k": ("en", "de", "fr"), "tatoeba": ("en", "fr")}.get(dataset, two)
    if len(two) != 2 or two[0] == two[1] or not set(two) <= set(held):
        wanted = f"two of {', '.join(held)}" if held is not two else "two different ones, from and to"
        raise UsageError(f"--languages {' '.join(two)} does not go with {dataset}: wanted {wanted}")
    return two[0], two[1]


def _dates(languages: tuple[str, str], seed: int) -> Splits[Pair]:
    from rnnapps.data.dates import date_pairs

    found = iter(date_pairs(*languages, seed, sum(DATES_PAIRS.values())))
    parts = {part: list(itertools.islice(found, DATES_PAIRS[part])) for part in PARTS}
    return Splits.of({part: functools.partial(iter, some) for part, some in parts.items()}, [])


def _multi30k(languages: tuple[str, str], source: Path | None, data_dir: Path | None) -> Splits[Pair]:
    from rnnapps.data import pair_builders  # Only now: importing TFDS takes a while.

    builder = pair_builders.prepare_multi30k(languages, source, data_dir)
    read = pair_builders.read_multi30k
    return Splits.of({part: functools.partial(read, builder, part, languages) for part in PARTS}, [])


def _tatoeba(
    languages: tuple[str, str], source: Path | None, data_dir: Path | None, fractions: dict[str, float]
) -> Splits[Pair]:
    from rnnapps.data import builders, pair_builders

    builder = pair_builders.prepare_tatoeba(source, data_dir)

    def read(findings: Findings) -> Iterator[Pair]:
        text = decoded("tatoeba", split_lines(builders.read(builder)))
        for english, french in tab_pairs("tatoeba", text, findings):
            yield Pair(english, french) if languages == ("en", "fr") else Pair(french, english)

    return _cut("tatoeba", read, fractions)


def read_pairs(
    paths: Sequence[Path], aligned: bool = False, notes: list[str] | None = None
) -> tuple[list[str], list[str]]:
    """The source and the target sentences of files as `pair_splits` takes them, all at once.

    Args:
        paths: Files of pairs, or two that are aligned.
        aligned: Whether they are.
        notes: Where to say what was left out.

    Raises:
        UsageError: As of `pair_splits`.
    """
    _check_files({"--pairs": [Path(path) for path in paths]}, aligned)
    findings = Findings()
    found = list(_read(_files(paths, aligned), findings))
    _check_some(" ".join(["--pairs", *map(str, paths)]), findings)
    if notes is not None:
        notes += findings.notes()
    return [pair.source for pair in found], [pair.target for pair in found]


def _own(paths: dict[str, Sequence[Path]], aligned: bool, fractions: dict[str, float]) -> Splits[Pair]:
    """The user's files: parts that have files, and the others cut off those of the training part."""
    options = {"train": "--pairs", "validation": "--validation", "test": "--test"}
    _check_files({options[part]: [Path(path) for path in some] for part, some in paths.items()}, aligned)
    reads = {part: functools.partial(_read, _files(some, aligned)) for part, some in paths.items() if some}
    names = {part: " ".join([options[part], *map(str, paths[part])]) for part in reads}
    splits = _cut(names["train"], reads["train"], {part: fractions[part] for part in fractions if part not in reads})
    parts = {part: splits[part] for part in PARTS}
    for part in reads:
        if part != "train":
            findings = Findings()
            _scan(names[part], reads[part](findings), findings)
            splits.notes.extend(findings.notes())
            parts[part] = functools.partial(_afresh, reads[part])
    return Splits.of(parts, splits.notes)


def _check_files(paths: dict[str, list[Path]], aligned: bool) -> None:
    seen: dict[tuple[int, int], str] = {}
    for option, some in paths.items():
        if aligned and some and len(some) != 2:
            raise UsageError(f"--aligned {option} names {len(some)} files: wanted two, whose lines belong together")
        for path in some:
            check_file(option, path)
            status = path.stat()
            name = seen.setdefault((status.st_dev, status.st_ino), f"{option} {path}")
            if name != f"{option} {path}" or some.count(path) > 1:
                raise UsageError(f"{option} {path} is the same file as {name}: wanted another")


def _files(paths: Sequence[Path], aligned: bool) -> Sequence[TabFile | AlignedFiles]:
    return [AlignedFiles(Path(paths[0]), Path(paths[1]))] if aligned else [TabFile(Path(path)) for path in paths]


def _read(files: Sequence[TabFile | AlignedFiles], findings: Findings) -> Iterator[Pair]:
    for one in files:
        yield from one.pairs(findings)


def _afresh(read: Callable[[Findings], Iterator[Pair]]) -> Iterator[Pair]:
    return read(Findings())


def _scan(name: str, pairs: Iterator[Pair], findings: Findings, held_out: Smallest | None = None) -> None:
    """Reads pairs once; raises UsageError where there is none."""
    for pair in pairs:
        if held_out is not None:
            held_out.add(number(pair.source))
    _check_some(name, findings)


def _check_some(name: str, findings: Findings) -> None:
    if not findings.pairs:
        reasons = "".join(f": {count:,} lines are {why}" for (_, why), (count, _) in findings.left_out.items())
        raise UsageError(f"{name} holds no pair of sentences{reasons[:200]}")


def _cut(name: str, read: Callable[[Findings], Iterator[Pair]], fractions: dict[str, float]) -> Splits[Pair]:
    """Cuts parts off: each has the sentences with the smallest hashes that are left."""
    findings, held_out = Findings(), Smallest(len(fractions) * MAX_HELD_OUT)
    _scan(name, read(findings), findings, held_out)
    ranges, left = number_ranges(held_out, findings.pairs, fractions, MAX_HELD_OUT)
    if not left:
        raise UsageError(
            f"of {findings.pairs:,} pairs of {name} none is left for training: wanted more, or less to hold out"
        )
    notes = findings.notes()
    if findings.equal == findings.pairs:
        notes.append(f"{name}: both sides of all {findings.pairs:,} pairs are the same")
    return Splits.of({part: functools.partial(_between, read, *ranges[part]) for part in PARTS}, notes)


def _between(read: Callable[[Findings], Iterator[Pair]], low: int, high: int) -> Iterator[Pair]:
    return (pair for pair in read(Findings()) if low <= number(pair.source) < high)
