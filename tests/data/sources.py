"""Sources that tests write, and how they ask for them."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tuner import data
from tuner.errors import BadInput
from tuner.spec import DataSpec

ROWS = 30
RNG = np.random.default_rng(0)
SPECIES = [("ant", "bee", "cat")[row % 3] for row in range(ROWS)]


def spec(source: str | Path, **options: Any) -> DataSpec:
    return DataSpec(source=str(source), **options)


def refusal(source: str | Path, roots: list[Path], **options: Any) -> str:
    """The line with which `facts` refuses a source."""
    with pytest.raises(BadInput) as caught:
        data.facts(spec(source, **options), roots)
    line = str(caught.value)
    assert line.startswith("data.")
    assert line.isprintable()
    return line


def idx_bytes(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


def write_idx(folder: Path, images: np.ndarray, labels: np.ndarray, part: str = "t10k", *, zipped: bool = True) -> None:
    folder.mkdir(exist_ok=True)
    for kind, values in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
        if zipped:
            (folder / f"{kind}.gz").write_bytes(gzip.compress(idx_bytes(values)))
        else:
            (folder / kind).write_bytes(idx_bytes(values))


def write_csv(path: Path, **columns: Any) -> Path:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_images(folder: Path, mode: str = "RGB", ending: str = "png", per_class: int = 5) -> Path:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = RNG.integers(0, 256, (4, 6, 4), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{number}.{ending}")
    return folder


X, Y = np.arange(24.0).reshape(12, 2), np.arange(12) % 2
