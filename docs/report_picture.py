"""Make ``docs/images/report.png``: the top of the report of the demo, as Chromium shows it, in 64 colours."""

import subprocess
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parent
PAGE, PICTURE = DOCS.parent / "results" / "demo" / "report" / "index.html", DOCS / "images" / "report.png"
OPTIONS = ("--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1400,900", f"--screenshot={PICTURE}")


def main() -> None:
    """Take the picture; ``make demo`` makes the page."""
    subprocess.run(["chromium", *OPTIONS, PAGE.as_uri()], check=True, capture_output=True)
    with Image.open(PICTURE) as picture:
        palette = picture.convert("RGB").quantize(64)
    palette.save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
