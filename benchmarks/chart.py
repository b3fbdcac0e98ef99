"""The results as a picture: one group of bars per row, as multiples of ours.

A ratio's axis is logarithmic, so that half and double are equally far from one; the whiskers are
the 10th and 90th percentile of the ratio. matplotlib is imported here only, and only when drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .experiment import Result
from .stats import Summary

_COLOURS = {"docker": "#1d63ed", "podman": "#892ca0", "runc": "#e8833a", "crun": "#3a9a5b"}
_OTHERS = "#7f7f7f"


def bars(results: Sequence[Result]) -> list[tuple[str, str, Summary]]:
    """Return (row id, peer, theirs / ours) for every comparison there is."""
    found = []
    for result in results:
        for peer in result.samples:
            ratio = result.ratio(peer) if peer != result.ours else None
            if ratio is not None and ratio.p10 > 0:
                found.append((result.row.id, peer, _inverse(ratio)))
    return found


def _inverse(ratio: Summary) -> Summary:
    return Summary(ratio.n, 1 / ratio.median, 1 / ratio.p90, 1 / ratio.p10, ratio.worst)


def draw(results: Sequence[Result], subtitle: str, path: Path) -> None:
    """Write the chart as a PNG file.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    found = list(reversed(bars(results)))
    figure, axes = plt.subplots(figsize=(9, 0.9 + 0.3 * len(found)), layout="constrained")
    middles = [ratio.median for _, _, ratio in found]
    # Rounding may put a percentile of few samples a hair beyond the median.
    below = [max(0.0, ratio.median - ratio.p10) for _, _, ratio in found]
    above = [max(0.0, ratio.p90 - ratio.median) for _, _, ratio in found]
    axes.barh(
        range(len(found)),
        [middle - 1 for middle in middles],
        left=1,
        xerr=(below, above),
        color=[_COLOURS.get(peer.partition(" ")[0], _OTHERS) for _, peer, _ in found],
        error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "#333333"},
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.axvline(1, color="#333333", linewidth=1)
    axes.set_yticks(range(len(found)), [f"{row}: {peer}" for row, peer, _ in found])
    axes.set_xlabel(f"times minirun's (right of 1: minirun is faster or smaller)\n{subtitle}")
    figure.savefig(path, dpi=120)
    plt.close(figure)
