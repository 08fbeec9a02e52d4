"""What all pictures share: their colours, how text is put, and how a figure becomes SVG."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Each is legible on white and on near-black: the background is the reader's.
TEXT = "#757b84"
MET = "#3a86c8"
MISSED = "#cf6a1f"
OTHERS = ("#cf6a1f", "#4f9d69", "#9a6fc4")
FAINT = 0.45
DASHES = (0.0, (4.0, 3.0))

_PIXELS_PER_INCH, _POINTS_PER_INCH = 96.0, 72.0

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "asyncbus",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],  # the first comes with matplotlib, and is as wide
    "text.color": TEXT,
    "text.parse_math": False,
}


def svg(title: str, width: float, height: float, draw: Callable[[Figure], None]) -> str:
    """A picture of so many pixels as SVG: the same for the same drawing and the same matplotlib."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(width / _PIXELS_PER_INCH, height / _PIXELS_PER_INCH))
        draw(figure)
        image = StringIO()
        metadata = {"Title": title, "Date": None, "Creator": None}
        figure.savefig(image, format="svg", transparent=True, metadata=metadata)
    return image.getvalue()


def write(
    axes: Axes,
    aside: float,
    at: tuple[float, float],
    text: str,
    *,
    shift: float,
    size: float,
    colour: str = TEXT,
    align: Literal["left", "right", "center"] = "left",
    bold: bool = False,
) -> None:
    """Put text so many pixels to the right of, and above, a place given as shares of the axes."""
    axes.annotate(
        text,
        at,
        xycoords="axes fraction",
        xytext=(_points(aside), _points(shift)),
        textcoords="offset points",
        ha=align,
        va="center",
        color=colour,
        fontsize=size,
        fontweight="bold" if bold else "normal",
        annotation_clip=False,
    )


def _points(pixels: float) -> float:
    return pixels * _POINTS_PER_INCH / _PIXELS_PER_INCH
