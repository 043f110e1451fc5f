"""Inner maps.

What a network with masked autoencoders uses on its way from image to prediction: reconstructions, residual maps and the
importance of windows, beside its prediction. One network per dataset, that with the most such maps.

A residual map should be bright at lesions and dark elsewhere. Where it is bright at edges, too, the autoencoder cannot
reconstruct them, and the network has to tell them from lesions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spectralseg.grid import Run
from spectralseg.reporting.drawing import images, layout, style
from spectralseg.reporting.example_cases import COUNT, spread
from spectralseg.reporting.figures._strips import note_dice
from spectralseg.reporting.labels import dataset_label, plain_label
from spectralseg.reporting.results import Examples, Results

IMAGES = True
RUNS = {"maps": ("residual",)}

_LARGEST = 1.1  # inches
_HANDLES = [
    Line2D([], [], color=style.ACTUAL, label="actual"),
    Line2D([], [], color=style.PREDICTED, linestyle=layout.DASHES["dashed"], label="predicted"),
]


def build(results: Results) -> Figure:
    """One row for each of up to three examples of each dataset; columns as the network names its maps."""
    chosen = dict(_chosen(results))
    if not chosen:
        note = "No evaluated run has a masked autoencoder, see docs/grcsf.md."
        return layout.no_data(note, demonstration=results.demonstration)
    rows = [
        (run, examples, index)
        for run, examples in chosen.items()
        for index in spread(np.flatnonzero(examples.dataset == run.dataset).tolist(), COUNT)
    ]
    names = list(dict.fromkeys(name for examples in chosen.values() for name in examples.inner))
    side = min(layout.fitting(2 + len(names)), _LARGEST)
    sheet = layout.sheet(
        [side] * (2 + len(names)),
        [side] * len(rows),
        _footer(chosen),
        demonstration=results.demonstration,
        top=0.34,
        legend=_HANDLES,
    )
    sheet.column_titles(0, ["image", *map(layout.stacked, names), "prediction"])
    for panels, (run, examples, index) in zip(sheet.panels, rows, strict=True):
        data, row = results.prepared(run.dataset), int(examples.row[index])
        image, actual = images.shown_image(data, row), data.masks[row] > 0
        for panel in (panels[0], panels[-1]):
            layout.picture(panel, image)
            layout.outline(panel, actual, style.ACTUAL)
        predicted = examples.prediction[index] > 0
        layout.outline(panels[-1], predicted, style.PREDICTED, dashes="dashed")
        note_dice(panels[-1], images.dice(predicted, actual))
        for panel, name in zip(panels[1:-1], names, strict=True):
            if name not in examples.inner:
                layout.empty(panel, "none")
                continue
            colours = {} if name.startswith("reconstruction") else {"cmap": style.ACTIVATION_MAP}
            layout.picture(panel, examples.inner[name][index].astype(np.float32), **colours)
    datasets = [run.dataset for run, *_ in rows]
    for dataset in dict.fromkeys(datasets):
        sheet.row_label(datasets.index(dataset), dataset_label(dataset))
    return sheet.figure


def _chosen(results: Results) -> Iterator[tuple[Run, Examples]]:
    """For each dataset the run with the most inner maps; of equal ones the first of the grid, of the lowest seed."""
    architectures = results.config.architectures if results.config else {}
    runs = [run for run in results.runs() if run.architecture in architectures]
    for dataset in dict.fromkeys(run.dataset for run in runs):
        first: dict[str, Run] = {}
        for run in sorted(runs, key=lambda run: run.seed):
            if run.dataset == dataset and architectures[run.architecture].pretrained:
                first.setdefault(run.architecture, run)
        stored = [(first[name], results.examples(first[name])) for name in architectures if name in first]
        having = [(run, examples) for run, examples in stored if examples is not None and examples.inner]
        if having:
            yield max(having, key=lambda pair: len(pair[1].inner))


def _footer(chosen: Iterable[Run]) -> list[str]:
    methods = "; ".join(
        f"{dataset_label(run.dataset)}: {plain_label(run.architecture, run.objective, run.lam)}, seed {run.seed}"
        for run in chosen
    )
    return [
        f"{methods}. Own test set; cases at evenly spaced quantiles of foreground area, of volumes the slice with the "
        "largest foreground. Residual maps and importance from 0 (dark) to 1 (bright). DSC of the slice at prepared "
        "resolution."
    ]
