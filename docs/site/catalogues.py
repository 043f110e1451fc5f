"""Reference of the datasets and the metrics, from their specifications and their catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from spectralseg.data.specification import DatasetSpecification, Split, read_specifications
from spectralseg.metrics.catalogue import CATALOGUE, Metric

SPECIFICATIONS = Path(__file__).parents[2] / "workflow" / "rules" / "datasets"


def datasets() -> str:
    """Markdown with a section for each dataset."""
    return "\n".join(_dataset(dataset) for dataset in read_specifications(SPECIFICATIONS).values())


def metrics() -> str:
    """Markdown with a table of all metrics."""
    headings = ("name", "label", "better", "unit", "digits", "compared", "headings of published tables")
    return _table(headings, map(_metric, CATALOGUE.values()))


def _dataset(dataset: DatasetSpecification) -> str:
    facts = {
        "modality": dataset.modality,
        "images": f"{dataset.dimensions}-D, {'grey' if dataset.channels == 1 else 'colour'}",
        "classes": ", ".join(dataset.classes),
        "labelled cases": "not fixed" if dataset.expected_cases is None else f"{dataset.expected_cases:,}",
        "excluded cases": f"{len(dataset.exclude)}" if dataset.exclude else "",
        "split": _split(dataset.split),
        "other splits": ", ".join(f"`{name}`" for name in dataset.alternative_splits),
        "also tested on": ", ".join(f"`{name}`" for name in dataset.ood),
        "files": ", ".join(f"`{source.file}`" for source in dataset.sources) or "after registration",
        "homepage": f"<{dataset.homepage}>" if dataset.homepage.startswith("http") else dataset.homepage,
        "licence": dataset.licence,
        "citation": dataset.citation,
    }
    rows = ((key, text) for key, text in facts.items() if text)
    return f"## {dataset.title}\n\n{_table(('name', f'`{dataset.name}`'), rows)}"


def _split(split: Split) -> str:
    rule = {
        "list": f"list `{split.list}` of {split.key}s",
        "attribute": f"by `{split.attribute}`; test: {', '.join(split.test)}",
        "random": f"random, {split.random or 0:.0%} of the groups for testing",
        "everything": "test only",
    }
    (kind,) = (name for name in rule if getattr(split, name) is not None)
    return rule[kind] + (f" ({split.provenance})" if split.provenance else "")


def _metric(metric: Metric) -> tuple[str, ...]:
    return (
        f"`{metric.name}`",
        metric.label,
        "high" if metric.higher_is_better else "low",
        metric.unit or "–",
        str(metric.digits),
        "yes" if metric.compared else "no",
        ", ".join(metric.headings) or "–",
    )


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (headings, tuple("---" for _ in headings), *rows)
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
