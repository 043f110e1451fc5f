"""Picture of a masked autoencoder: images, reconstructions and residual maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spectralseg.reporting.drawing import style

if TYPE_CHECKING:
    from spectralseg.evaluation.residual_maps import Example

_TITLES = ("image and reference", "reconstruction", "residual map")


def draw_residual_maps(examples: Sequence[Example], title: str) -> Figure:
    """One row per example: the image with the outline of its reference, its reconstruction, its residual map.

    Without examples, the figure says that no validation case has foreground.
    """
    with style.applied():
        height = 0.4 + max(1, len(examples)) * 1.5
        figure, axes = plt.subplots(
            max(1, len(examples)), 3, figsize=(4.6, height), squeeze=False, layout="constrained"
        )
        figure.suptitle(title, fontsize=style.TEXT_SIZE)
        for panel in axes.flat:
            panel.set_axis_off()
        if not examples:
            axes[0, 1].text(0.5, 0.5, "no validation case has foreground", ha="center", transform=axes[0, 1].transAxes)
        for row, example in zip(axes, examples, strict=False):
            _show(row[0], example.image)
            row[0].contour(example.mask > 0, levels=[0.5], colors=[style.ACTUAL], linewidths=0.8)
            _show(row[1], example.reconstruction)
            row[2].imshow(example.residual, cmap=style.ACTIVATION_MAP, vmin=0, vmax=1)
        for panel, heading in zip(axes[0], _TITLES, strict=True):
            panel.set_title(heading)
        plt.close(figure)
        return figure


def _show(axis: Any, image: NDArray[np.float32]) -> None:
    axis.imshow(image[..., 0] if image.shape[2] == 1 else image, cmap="gray", vmin=0, vmax=1)
