"""The card of an exported model: what it is and does, measured how well, and how to ask it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnapps.files import write_whole

_TEXT = """# {name}

A model of the task `{task}`, exported by `rnnapps` for TensorFlow Serving. It learnt `{learnt}`; it answers about what
is like that, and its figures say nothing about anything else. Version {version}, {size:.1f} MB.

## Measured

{figures}

{counts}The whole configuration, the seed ({seed}) and the split of the data are in `{version}/manifest.json`.

## Endpoints

The first axis of every input and output is one row for each request.

{endpoints}

## Ask it

TensorFlow Serving, in the folder that holds all models{flags}:

```sh
docker run --rm -p 8500:8500 -p 8501:8501 -v "$PWD:/models" tensorflow/serving \\
  --model_config_file=/models/{config} --monitoring_config_file=/models/monitoring.config \\
  --allow_version_labels_for_unavailable_models=true --model_config_file_poll_wait_seconds=5{xla} \\
  --enable_batching --enable_per_model_batching_parameters
```

`client/` holds a request as rows and as columns, its answer (`expected.json`), and clients: `sh client/curl.sh`,
`python client/client_grpc.py`.

## Files

Written with {versions}.

{files}
"""


def write_card(folder: Path, version: str, manifest: Mapping[str, Any]) -> None:
    """Writes `MODEL_CARD.md` of a version into the model's folder.

    Args:
        folder: The model's, which holds the version.
        version: Its number.
        manifest: Of the version.

    Raises:
        RunError: It cannot be written.
    """
    path, xla = folder / version, manifest.get("xla", False)
    data = dict(manifest.get("data", {}))
    learnt = data.pop("learnt", "what its manifest says")
    counts = {key: value for key, value in data.items() if isinstance(value, int)}
    text = _TEXT.format(
        name=manifest["name"],
        task=manifest.get("task", "unknown"),
        learnt=learnt,
        version=version,
        size=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6,
        figures=_figures(manifest.get("figures", {})),
        counts=f"Of the data: {', '.join(f'{value:,} {key}' for key, value in counts.items())}. " if counts else "",
        seed=manifest.get("seed", "none"),
        endpoints="\n\n".join(_endpoint(key, value) for key, value in manifest["endpoints"].items()),
        flags="; its functions are compiled by XLA, for which the server has to be told" if xla else "",
        config="models_xla.config" if xla else "models.config",
        xla=" --xla_cpu_compilation_enabled=true" if xla else "",
        versions=", ".join(f"{key} {value}" for key, value in manifest.get("versions", {}).items())
        or "what is unknown",
        files=_files(path),
    )
    write_whole(folder / "MODEL_CARD.md", lambda file: file.write_text(text, encoding="utf-8"))


def _figures(figures: Mapping[str, Any]) -> str:
    numbers = {key: value for key, value in figures.items() if isinstance(value, (int, float))}
    if not numbers:
        return "Nothing."
    shown = {key: f"{value:,}" if isinstance(value, int) else f"{value:.4g}" for key, value in numbers.items()}
    lines = [f"| {key} | {value} |" for key, value in shown.items()]
    return "\n".join(["| figure | value |", "|---|---|", *lines])


def _endpoint(key: str, sides: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    lines = [f"`{key}`", "", "| | name | dtype | shape | what it is |", "|---|---|---|---|---|"]
    for side, tensors in sides.items():
        for name, spec in tensors.items():
            shape = ", ".join("?" if size is None else str(size) for size in spec["shape"])
            lines.append(f"| {side[:-1]} | `{name}` | {spec['dtype']} | ({shape}) | {spec.get('unit', '')} |")
    return "\n".join(lines)


def _files(path: Path) -> str:
    lines = ["| file | bytes | sha256 |", "|---|---|---|"]
    for file in sorted(path.rglob("*")):
        if file.is_file():
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            lines.append(f"| `{file.relative_to(path).as_posix()}` | {file.stat().st_size:,} | `{digest}` |")
    return "\n".join(lines)
