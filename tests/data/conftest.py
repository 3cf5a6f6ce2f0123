"""The data folder that the tests of sources and refusals share."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.data.sources import RNG, ROWS, SPECIES, write_csv, write_idx, write_images


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """A data folder with a good source of each kind, and one of each target."""
    root = tmp_path_factory.mktemp("data")
    labels, images = np.arange(ROWS) % 3, RNG.integers(0, 256, (ROWS, 5, 4))
    write_idx(root / "idx", images, labels)
    write_idx(root / "idx-plain", images, labels, zipped=False)
    write_images(root / "images")
    numbers = RNG.normal(2, 3, (ROWS, 4))
    np.savez(root / "floats.npz", x=numbers, y=labels, weight=np.arange(ROWS))
    np.savez_compressed(root / "pixels.npz", x=images.astype(np.uint8), y=np.array(SPECIES))
    columns = {"size": numbers[:, 0], "legs": labels * 2, "kind": SPECIES, "price": numbers[:, 1], "trust": np.arange(ROWS)}
    write_csv(root / "table.csv", **columns)
    parquet.write_table(pa.table({**columns, "kind": pa.array(SPECIES).dictionary_encode()}), root / "table.parquet")
    return root
