"""Phantoms: synthetic datasets in the native layout and file formats of the originals.

Each module ``<dataset>.py`` has one public function::

    generate(folder: Path, *, cases: int, side: int, seed: int) -> list[Path]

which writes archives with the official names to ``folder`` and returns their paths. ``cases`` is the approximate number
of training cases, drawn from the official ids; there are about half as many test cases. ``side`` is the typical native
image side in pixels. The same arguments give the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from spectralseg import registry


def available() -> list[str]:
    """Names of the datasets that have a phantom."""
    return registry.names(__name__)


def generate(name: str, folder: Path, *, cases: int = 12, side: int = 128, seed: int = 0) -> list[Path]:
    """Write the phantom of a dataset; see the module's docstring.

    Raises:
        InputError: the dataset has no phantom.
    """
    module = registry.load(__name__, name, "phantom")
    folder.mkdir(parents=True, exist_ok=True)
    archives: list[Path] = module.generate(folder, cases=cases, side=side, seed=seed)
    return archives
