"""Draws what was projected: how late flights leave New York, by hour and airport, and by hour and carrier."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from examples.flights.compare import Delays, Place

HOURS = range(5, 24)
FEWEST = 20  # departures, of fewer the mean says little
LATEST = 45  # minutes, where the colours end


def draw(delays: Delays, path: Path) -> None:
    """Write the picture as SVG, or as what the name's ending says."""
    with mpl.rc_context({"svg.hashsalt": "flights", "font.size": 9}):
        figure = Figure(figsize=(9, 6.2), layout="constrained")
        airports, carriers = figure.subplots(2, 1, height_ratios=[1, 4], sharex=True)
        _heat(airports, delays, lambda place: place[0])
        drawn = _heat(carriers, delays, lambda place: place[1])
        airports.set_title("Mean delay of departures from New York in 2013, by scheduled hour", loc="left")
        carriers.set_xlabel("hour of the scheduled departure, local")
        figure.colorbar(drawn, ax=[airports, carriers], label="minutes", extend="max", shrink=0.8)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _heat(axes: Axes, delays: Delays, row_of: Callable[[Place], str]) -> AxesImage:
    departed: dict[tuple[str, int], int] = defaultdict(int)
    late: dict[tuple[str, int], int] = defaultdict(int)
    for place, (departures, late_out, *_) in delays.items():
        departed[row_of(place), place[2]] += departures
        late[row_of(place), place[2]] += late_out
    rows = sorted({row for (row, _), count in departed.items() if count >= FEWEST})
    means = [
        [late[row, hour] / departed[row, hour] if departed[row, hour] >= FEWEST else float("nan") for hour in HOURS]
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(HOURS)), [str(hour) for hour in HOURS])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return axes.imshow(means or [[float("nan")]], aspect="auto", cmap="YlOrRd", vmin=0, vmax=LATEST)
