"""Sheets of panels with fixed sizes in inches, with a footer and a stamp on demonstrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patheffects import withStroke
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

from spectralseg.reporting.drawing import style

STAMP = "Demonstration on synthetic phantoms: says nothing about any paper."
DASHES: dict[str, Any] = {"solid": "-", "dashed": (0, (2.2, 1.1)), "dotted": (0, (0.8, 0.8))}
_MARGIN = 0.08
_FOOTER_LINE = style.SMALL_SIZE * 1.35 / 72
_LEGEND_SIZE = style.SMALL_SIZE + 0.4
_LEGEND_LINE = _LEGEND_SIZE * 1.6 / 72


@dataclass(frozen=True)
class Sheet:
    """A figure and its panels, ``panels[row][column]``."""

    figure: Figure
    panels: list[list[Axes]]

    def column_titles(self, row: int, titles: Sequence[str], first: int = 0) -> None:
        """Titles above the panels of a row, from a column on."""
        for panel, title in zip(self.panels[row][first:], titles, strict=False):
            panel.set_title(title)

    def row_label(self, row: int, text: str, column: int = 0) -> None:
        """Vertical text left of a panel."""
        panel = self.panels[row][column]
        panel.text(-0.06, 0.5, text, rotation=90, ha="right", va="center", transform=panel.transAxes)

    def heading(self, row: int, first: int, last: int, text: str, height: float = 0.2) -> None:
        """Bold text ``height`` inches above the panels ``first`` to ``last`` of a row."""
        left, right = self.panels[row][first].get_position(), self.panels[row][last].get_position()
        y = left.y1 + height / self.figure.get_figheight()
        self.figure.text((left.x0 + right.x1) / 2, y, text, ha="center", va="bottom", weight="bold")

    def legend(self, row: int, handles: Sequence[Artist], *, drop: float = 0.04) -> None:
        """A legend ``drop`` inches below the panels of a row, centred."""
        left, right = self.panels[row][0].get_position(), self.panels[row][-1].get_position()
        _legend(self.figure, (left.x0 + right.x1) / 2, left.y0 - drop / self.figure.get_figheight(), handles)


def sheet(
    widths: Sequence[float],
    heights: Sequence[float],
    footer: Sequence[str],
    *,
    demonstration: bool,
    left: float = 0.3,
    right: float = _MARGIN,
    top: float = 0.25,
    gap: float = 0.04,
    wider: Mapping[int, float] | None = None,
    taller: Mapping[int, float] | None = None,
    below: float = 0.08,
    legend: Sequence[Artist] = (),
) -> Sheet:
    """Lay out panels of given sizes.

    Args:
        widths: width of each column in inches.
        heights: height of each row in inches.
        footer: paragraphs below the panels, wrapped to the width of the sheet.
        demonstration: stamp the sheet as made from synthetic phantoms.
        left: inches for row labels.
        right: inches right of the panels.
        top: inches for titles.
        gap: inches between panels.
        wider: extra inches before a column.
        taller: extra inches before a row.
        below: inches between the panels and the legend or footer.
        legend: entries of a legend for all panels.

    The sheet is at least half a page wide, which leaves room for footer and legend.
    """
    xs = _starts(widths, gap, wider or {})
    ys = _starts(heights, gap, taller or {})
    width = max(left + xs[-1] + widths[-1] + right, style.PAGE_WIDTH / 2)
    lines = _wrapped(footer, 0.98 * (width - 2 * _MARGIN))
    stamp = 1.5 * _FOOTER_LINE if demonstration else 0.0
    body = top + ys[-1] + heights[-1]
    entries = legend_height(width, legend) if legend else 0.0
    height = body + below + entries + stamp + _FOOTER_LINE * len(lines) + _MARGIN
    figure = Figure(figsize=(width, height))
    panels = [
        [
            figure.add_axes(((left + x) / width, 1 - (top + y + h) / height, w / width, h / height))
            for x, w in zip(xs, widths, strict=True)
        ]
        for y, h in zip(ys, heights, strict=True)
    ]
    if legend:
        _legend(figure, 0.5, 1 - (body + below) / height, legend)
    font: dict[str, Any] = {"fontsize": style.SMALL_SIZE, "va": "bottom"}
    figure.text(_MARGIN / width, _MARGIN / height, "\n".join(lines), color="#404040", linespacing=1.25, **font)
    if demonstration:
        above = _MARGIN + _FOOTER_LINE * len(lines) + 0.3 * _FOOTER_LINE
        figure.text(1 - _MARGIN / width, above / height, STAMP, weight="bold", ha="right", **font)
    return Sheet(figure, panels)


def _legend(figure: Figure, x: float, y: float, handles: Sequence[Artist]) -> None:
    """A legend below the point (x, y) of the figure, with as many columns as fit, evenly filled."""
    columns = _legend_columns(figure.get_figwidth(), handles)
    spacing: dict[str, Any] = {"handlelength": 2.2, "columnspacing": 1.2, "handletextpad": 0.4, "borderpad": 0}
    legend = figure.legend(
        handles=list(handles),
        loc="upper center",
        bbox_to_anchor=(x, y),
        ncols=columns,
        fontsize=_LEGEND_SIZE,
        **spacing,
    )
    legend.set_in_layout(False)


def legend_height(width: float, handles: Sequence[Artist]) -> float:
    """Height in inches of a legend on a sheet of this width."""
    return _LEGEND_LINE * -(-len(handles) // _legend_columns(width, handles)) + _MARGIN


def _legend_columns(width: float, handles: Sequence[Artist]) -> int:
    widest = max(text_width(str(handle.get_label())) for handle in handles) * _LEGEND_SIZE / style.SMALL_SIZE + 0.4
    fitting = max(1, min(len(handles), int(width / widest)))
    return -(-len(handles) // -(-len(handles) // fitting))


def fitting(columns: int, *, left: float = 0.3, right: float = _MARGIN, gap: float = 0.04, extra: float = 0.0) -> float:
    """Width of each of the columns that fill a page, with ``extra`` inches between some of them."""
    return (style.PAGE_WIDTH - left - right - gap * (columns - 1) - extra) / columns


def stacked(label: str) -> str:
    """A label with a line break before brackets and after commas."""
    return label.replace(" (", "\n(").replace(", ", ",\n")


def picture(panel: Axes, image: NDArray[Any], **options: Any) -> None:
    """Show an image (S, S), (S, S, 1) or (S, S, 3), without axes; by default grey from 0 to 1."""
    plane = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    if plane.ndim == 2:
        options = {"cmap": "gray", "vmin": 0.0, "vmax": 1.0, **options}
    panel.imshow(plane, aspect="auto", **options)
    bare(panel)


def bare(panel: Axes) -> None:
    """Remove ticks and frame."""
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(False)


def shrink(panel: Axes, factor: float) -> None:
    """Reduce the height of a panel about its middle, so that tick labels keep clear of the rows above and below."""
    box = panel.get_position()
    panel.set_position((box.x0, box.y0 + box.height * (1 - factor) / 2, box.width, box.height * factor))


def empty(panel: Axes, text: str) -> None:
    """Mark a panel as empty and give the reason."""
    bare(panel)
    panel.set_facecolor(style.EMPTY)
    panel.text(0.5, 0.5, text, ha="center", va="center", color=style.FAINT, transform=panel.transAxes)


def outline(
    panel: Axes,
    mask: NDArray[np.bool_],
    colour: str,
    *,
    dashes: Literal["solid", "dashed", "dotted"] = "solid",
    width: float = 0.9,
) -> None:
    """Contour of a mask, with a dark rim that separates it from bright and dark ground; empty masks have none."""
    if not mask.any():
        return
    padded = np.pad(mask.astype(float), 1)  # closes contours at the border of the image
    y, x = (np.arange(-1, side + 1) for side in mask.shape)
    look: dict[str, Any] = {"colors": [colour], "linewidths": width, "linestyles": [DASHES[dashes]]}
    lines = panel.contour(x, y, padded, levels=[0.5], **look)
    if dashes == "solid":
        lines.set_path_effects([withStroke(linewidth=width + 0.7, foreground="black", alpha=0.45)])
    panel.set_xlim(-0.5, mask.shape[1] - 0.5)
    panel.set_ylim(mask.shape[0] - 0.5, -0.5)


def note(panel: Axes, text: str) -> None:
    """Small white text on a dark ground in the lower left corner of a panel."""
    ground = {"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "pad": 1.0}
    font: dict[str, Any] = {"fontsize": style.SMALL_SIZE, "color": "white", "va": "bottom"}
    panel.text(0.02, 0.025, text, transform=panel.transAxes, bbox=ground, **font)


def _starts(sizes: Sequence[float], gap: float, extra: Mapping[int, float]) -> list[float]:
    starts, position = [], 0.0
    for index, size in enumerate(sizes):
        position += extra.get(index, 0.0) + (gap if index else 0.0)
        starts.append(position)
        position += size
    return starts


def _wrapped(paragraphs: Sequence[str], width: float) -> list[str]:
    """Lines of at most ``width`` inches in the footer's font; a longer word has a line of its own."""
    lines: list[str] = []
    for paragraph in paragraphs:
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}" if line else word
            if line and text_width(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines += [line] if line else []
    return lines


def text_width(text: str) -> float:
    """Width in inches of a line in the font size of footers."""
    font = FontProperties(family=style.FONT, size=style.SMALL_SIZE)
    points, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(points) / 72


def left_out(items: str, count: int) -> str:
    """``Rows left out as they do not fit: 3.``; empty for zero."""
    return f"{items} left out as they do not fit: {count}." if count else ""


def paragraph(*sentences: str) -> str:
    """Join the sentences that are not empty."""
    return " ".join(filter(None, sentences))


def no_data(footer: str, *, demonstration: bool) -> Figure:
    """A sheet for a figure without any data."""
    blank = sheet([4.0], [1.0], [footer], demonstration=demonstration)
    empty(blank.panels[0][0], "no data")
    return blank.figure
