"""Draws docs/images/architecture.svg from the imports of the package and from the layers in pyproject.toml.

``python docs/architecture.py`` writes the picture; with ``--check`` it exits with status 1 if the picture is outdated.
"""

import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

import grimp

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "src" / "spectralseg"
PICTURE = REPOSITORY / "docs" / "images" / "architecture.svg"
HELPERS = "helpers"
HELPER_LAYERS_BELOW = "metrics"
HIDDEN = ("__main__", "reference", "prefetch", "papermill")  # small commands, which import what they run
PURPOSES = {
    "cli": "one command per step",
    "sharing": "bundles, several laboratories",
    "operations": "status, plan, doctor, leases",
    "reporting": "tables, figures, studies, report",
    "exchange": "to and from other tools",
    "study_folder": "what belongs to a study",
    "evaluation": "predict, score, suites",
    "training": "loop, exact resume",
    "building": "models and losses by name",
    "run_folder": "weights, description, log",
    "study_outputs": "default tables and figures",
    "grid": "runs of a study",
    "config": "typed configuration",
    "adapters": "metrics for other libraries",
    "data": "fetch, read, split, prepare",
    "models": "architectures",
    "objectives": "losses",
    "corruptions": "noise and artefacts",
    "interpretation": "activation maps, spectra",
    "published": "numbers and claims of papers",
    "statistics": "intervals, tests, verdicts",
    "metrics": "catalogue, policy, records",
    HELPERS: "files, parsing, loading, registry, outputs, errors, signals, …",
}
WIDTH, BOX, GAP, MARGIN = 1080, 46, 44, 12
STYLE = """
.box { fill: #f4f6f8; stroke: #5b6770 } text { font: 13px system-ui, sans-serif; fill: #222; text-anchor: middle }
.name { font-weight: 600 } .purpose { font-size: 10.5px; fill: #595959 }
path { fill: none; stroke: #005a8f; opacity: .55 }
.paper { fill: #fff }
@media (prefers-color-scheme: dark) {
  .box { fill: #1d2327; stroke: #8b979f } text { fill: #e6e6e6 } .purpose { fill: #b4babf } path { stroke: #7cc4f5 }
  .paper { fill: #14181b }
}
"""


def layers() -> list[list[str]]:
    """Modules and packages by layer, from top to bottom; the lowest layers are one: helpers."""
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = pyproject["tool"]["importlinter"]["contracts"]
    rows = [[name for name in layer.split(" | ") if name not in HIDDEN] for layer in contract["layers"]]
    lowest = rows.index([HELPER_LAYERS_BELOW])
    return [row for row in rows[: lowest + 1] if row] + [[HELPERS]]


def imports(rows: Sequence[Sequence[str]]) -> dict[str, set[str]]:
    """What each box imports, apart from the helpers, which all may import."""
    boxes = {name for row in rows for name in row}
    graph = grimp.build_graph("spectralseg")
    edges: dict[str, set[str]] = {name: set() for name in boxes}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            above, below = (name.split(".")[1] if "." in name else "" for name in (module, imported))
            if above != below and {above, below} <= boxes:
                edges[above].add(below)
    return edges


def necessary(edges: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    """Imports that do not follow from others: without a longer way between the two (transitive reduction)."""
    for above, targets in sorted(edges.items()):
        reached = set[str]().union(*(below(target, edges) for target in targets)) if targets else set()
        yield from ((above, target) for target in sorted(targets - reached))


def below(name: str, edges: Mapping[str, set[str]]) -> set[str]:
    """All that a box imports, directly or not."""
    return set[str]().union(*({target} | below(target, edges) for target in edges[name]))


def draw() -> str:
    """The picture as SVG."""
    rows = layers()
    places = {
        name: (WIDTH * (column + 0.5) / len(row), MARGIN + number * (BOX + GAP))
        for number, row in enumerate(rows)
        for column, name in enumerate(row)
    }
    height = MARGIN * 2 + len(rows) * (BOX + GAP) - GAP
    wide = {name: min(WIDTH / len(row) - 14, 560 if name == HELPERS else 230) for row in rows for name in row}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-label="Packages of SpectralSeg: an arrow leads from a package to one that it imports">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8" style="opacity:1"/></marker></defs>',
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
    ]
    edges = [*necessary(imports(rows)), (HELPER_LAYERS_BELOW, HELPERS)]
    for above, target in edges:
        (x1, y1), (x2, y2) = places[above], places[target]
        y1, bend = y1 + BOX, (y2 - y1 - BOX) / 2
        curve = f"M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"
        lines.append(f'<path marker-end="url(#end)" d="{curve}"/>')
    for name, (x, y) in places.items():
        lines += [
            f'<rect class="box" x="{x - wide[name] / 2:.0f}" y="{y:.0f}" width="{wide[name]:.0f}" height="{BOX}" '
            'rx="6"/>',
            f'<text class="name" x="{x:.0f}" y="{y + 19:.0f}">{name}</text>',
            f'<text class="purpose" x="{x:.0f}" y="{y + 35:.0f}">{escape(PURPOSES[name])}</text>',
        ]
    return "\n".join([*lines, "</svg>\n"])


if __name__ == "__main__":
    picture = draw()
    if "--check" in sys.argv[1:]:
        sys.exit(f"{PICTURE.name} is outdated; run 'make docs'" if PICTURE.read_text("utf-8") != picture else 0)
    PICTURE.write_text(picture, encoding="utf-8")
