"""Fill benchmarks/README.md with what was measured.

A line ``<!-- measured: NAME -->`` starts a block that ends with ``<!-- end -->``; between them is the output of
``report`` in NAME.py for each file results/NAME_*.json. The rest of the page is edited manually.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import machine

PAGE = Path(__file__).resolve().parent / "README.md"
BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
SHOWN = 4  # packages of a heading; the files have all


def block(name: str) -> str:
    """What was measured by a script, on each machine."""
    report = importlib.import_module(name).report
    outcomes = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(machine.RESULTS.glob(f"{name}_*.json"))]
    return "".join(f"\n{heading(outcome)}:\n\n{report(outcome)}\n" for outcome in outcomes) or "\nNot measured.\n"


def heading(outcome: Mapping[str, Any]) -> str:
    """On what it was measured."""
    versions = outcome["versions"]
    packages = ", ".join(f"{package} {version}" for package, version in list(versions.items())[:SHOWN])
    return f"{machine.device(outcome)}, {outcome['machine']['cores']} cores ({packages})"


def filled(text: str) -> str:
    """The page with all blocks regenerated."""
    return BLOCK.sub(lambda found: f"{found[1]}{block(found[2])}\n{found[3]}", text)


def main(argv: Sequence[str] | None = None) -> None:
    """Renew the page, or say that it is not up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with status 1 if the page is old")
    options = parser.parse_args(argv)
    text = PAGE.read_text(encoding="utf-8")
    if options.check:
        sys.exit(filled(text) != text and f"{PAGE.name}: is not what was measured; run python benchmarks/page.py")
    PAGE.write_text(filled(text), encoding="utf-8")


if __name__ == "__main__":
    main()
