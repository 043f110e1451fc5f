"""Makes the pictures of docs/gallery.md, which has the command.

No picture shows a patient: the demo runs on synthetic phantoms, and of the study on real images only the top of the
report is taken, which has no images. Chromium takes the pictures of pages.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

GALLERY = Path(__file__).parents[1] / "images" / "gallery"
PAGES = {
    "report": ("report/index.html", 1300, 860),
    "claims": ("claims.html", 1300, 860),
    "table_2": ("tables/table_2.html", 1300, 800),
    "card": ("cards/acdc.html", 1300, 800),
}
"""Pages of the demo by name of the picture: file, width and height of the window in pixels."""
EVIDENCE = {"evidence": ("report/index.html", 1440, 1060)}
"""The same for the study on real images."""
FIGURES = ("figure_2", "forest", "severity", "lambda_curves", "reliability", "frequency", "leakage_matrix", "cost")
"""Figures of the demo."""
WIDTH = 1000  # pixels of a picture
QUALITY = 70  # of WebP
MOST_BYTES = 1_000_000
"""Size of all pictures together."""


def main(demo: Path, evidence: Path) -> None:
    """Make all pictures.

    Args:
        demo: results of ``config/demo.yaml``.
        evidence: results of ``config/evidence.yaml``.

    Raises:
        SystemExit: a file of the results or Chromium is missing, or the pictures are too large.
    """
    GALLERY.mkdir(exist_ok=True)
    pages = [(demo, *entry) for entry in PAGES.items()] + [(evidence, *entry) for entry in EVIDENCE.items()]
    for results, name, (page, width, height) in pages:
        with tempfile.TemporaryDirectory() as folder:
            picture = Path(folder, "page.png")
            photograph(existing(results / page), picture, width, height)
            reduce(picture, name)
    for name in FIGURES:
        reduce(existing(demo / "figures" / f"{name}.png"), name)
    size = sum(file.stat().st_size for file in GALLERY.iterdir())
    if size > MOST_BYTES:
        sys.exit(f"{GALLERY}: the pictures have {size:,} bytes, more than {MOST_BYTES:,}; lower QUALITY or WIDTH")


def existing(file: Path) -> Path:
    """The file, if it exists."""
    if not file.is_file():
        sys.exit(f"{file}: does not exist; run the study first")
    return file


def photograph(page: Path, picture: Path, width: int, height: int) -> None:
    """Write a picture of the top of a page, as a browser shows it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        sys.exit("chromium: is not installed; install it to make pictures of pages")
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=5000"]
    size = f"--window-size={width},{height}"
    command = [chromium, *options, size, f"--screenshot={picture}", page.resolve().as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def reduce(picture: Path, name: str) -> None:
    """Write a picture into the gallery, at most ``WIDTH`` pixels wide."""
    with Image.open(picture) as image:
        width = min(WIDTH, image.width)
        height = round(image.height * width / image.width)
        smaller = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    smaller.save(GALLERY / f"{name}.webp", quality=QUALITY, method=6)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
