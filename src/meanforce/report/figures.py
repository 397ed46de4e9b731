"""Drawings for the page: SVG whose colours are the page's own, so that one drawing is right in light and dark.

Matplotlib draws with stand-in colours, one per role; each is then replaced by a CSS variable. Text stays text.
Colours are those of Okabe and Ito, which all colour vision tells apart, and every role has its own line style.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import NamedTuple

import numpy as np

from meanforce.observables.base import Curve
from meanforce.report.sections import Figure

#: Role -> stand-in colour. The page's style sheet defines the variable `--role` for both schemes.
STAND_INS = {
    "ink": "#010203",
    "muted": "#020304",
    "grid": "#030405",
    "reference": "#040506",
    "model": "#050607",
    "rival": "#060708",
    "third": "#070809",
    "fourth": "#08090a",
}
_DASHES = {
    "reference": "-", "model": (0, (6, 1.6)), "rival": (0, (5, 1.5, 1, 1.5)), "third": (0, (1.2, 1.2)),
    "fourth": (0, (9, 2, 2, 2)),
}  # fmt: skip
_WIDTH = {"reference": 2.0, "model": 1.9, "rival": 1.5, "third": 1.7, "fourth": 1.5}
_MARKS = {"reference": "s", "model": "o", "rival": "D", "third": "v", "fourth": "P"}
_BAND = 2.0  # standard errors to either side

_STYLE: dict = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11.5,
    "axes.edgecolor": STAND_INS["muted"],
    "axes.labelcolor": STAND_INS["ink"],
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": STAND_INS["grid"],
    "grid.linewidth": 0.7,
    "xtick.color": STAND_INS["muted"],
    "ytick.color": STAND_INS["muted"],
    "xtick.labelcolor": STAND_INS["ink"],
    "ytick.labelcolor": STAND_INS["ink"],
    "xtick.direction": "out",
    "ytick.direction": "out",
    "text.color": STAND_INS["ink"],
    "legend.frameon": False,
    "legend.fontsize": 11.5,
    "legend.handlelength": 2.9,
    "path.simplify": False,
}


class Series(NamedTuple):
    """A curve with the name it has in the legend and its part: 'reference', 'model', 'rival', 'third' or 'fourth'."""

    curve: Curve
    label: str
    role: str


def overlay(
    series: Sequence[Series], title: str, caption: str, *, span: tuple[float, float] | None = None,
    learned: Sequence[float] = (), mark: str = "learned from",
) -> Figure:  # fmt: skip
    """Curves on one axis with bands of two standard errors, and below them their distance from the first.

    `learned` marks places on the axis with triangles, which the legend calls `mark`, and the curves with points.
    """
    reference = series[0].curve
    with _canvas() as figure:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        for s in series:
            _line(top, s.curve.axis, s.curve.value, s.curve.error, s, points=bool(learned))
            if s.curve.axis.shape != reference.axis.shape or not np.allclose(s.curve.axis, reference.axis):
                raise ValueError(f"{s.label} and {series[0].label} do not share their axis: they cannot be overlaid")
            _line(bottom, s.curve.axis, s.curve.value - reference.value, s.curve.error, s, points=bool(learned))
        room = 0.03 * (reference.axis[-1] - reference.axis[0]) if learned else 0.0
        top.set_xlim(*(span or (reference.axis[0] - room, reference.axis[-1] + room)))
        lowest = min(float(s.curve.value.min()) for s in series)
        top.set_ylim(bottom=0.0 if lowest >= 0 and not learned else None)
        _headroom(top)
        _learned(top, learned, mark)
        top.set_ylabel(reference.value_label)
        _legend(figure, top)
        bottom.set_ylabel("difference")
        bottom.set_xlabel(reference.axis_label)
        figure.align_ylabels()
        description = _describe(series)
        svg = _svg(figure, title, description)
    return Figure(title, description, caption, svg)


def trace(
    series: Sequence[Series], title: str, caption: str, *, learned: Sequence[float] = (), level: float | None = None
) -> Figure:
    """Curves with their bands, each on its own axis points: a time series, a dependence on temperature.

    `learned` marks places on the axis with triangles, and their curves with points; `level` is a limit.
    """
    with _canvas() as figure:
        axes = figure.subplots()
        for s in series:
            _line(axes, s.curve.axis, s.curve.value, s.curve.error, s, points=bool(learned))
        if level is not None:
            axes.axhline(level, color=STAND_INS["muted"], lw=1.2, ls=(0, (1.5, 2.5)), label="what would matter")
        axes.set_ylabel(series[0].curve.value_label)
        axes.set_xlabel(series[0].curve.axis_label)
        axes.margins(x=0.03 if learned else 0)
        _learned(axes, learned)
        _legend(figure, axes)
        description = _describe(series)
        svg = _svg(figure, title, description)
    return Figure(title, description, caption, svg)


def panels(
    groups: Sequence[tuple[str, Sequence[Series]]], title: str, caption: str, *, span: tuple[float, float] | None = None
) -> Figure:
    """The same curves at several states, one small plot for each under its name; all on the same axes."""
    columns = min(4, len(groups))
    rows = -(-len(groups) // columns)
    with _canvas(width=11.6, height=1.2 + 2.3 * rows) as figure:
        plots = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for plot, (name, series) in zip(plots.flat, groups, strict=False):
            for s in series:
                _line(plot, s.curve.axis, s.curve.value, s.curve.error, s)
            plot.set_title(name, fontsize=11.5, loc="left", pad=4)
        for plot in plots.flat[len(groups) :]:
            plot.set_visible(False)
            plots[-2, list(plots[-1]).index(plot)].tick_params(labelbottom=True)
        first = groups[0][1][0].curve
        plots[0, 0].set_xlim(*(span or (first.axis[0], first.axis[-1])))
        plots[0, 0].set_ylim(bottom=0.0 if min(float(s.curve.value.min()) for _, g in groups for s in g) >= 0 else None)
        figure.supxlabel(first.axis_label, fontsize=11.5)
        figure.supylabel(first.value_label, fontsize=11.5)
        _legend(figure, plots[0, 0])
        description = " ".join(f"{name}: {_describe(series)}" for name, series in groups)
        svg = _svg(figure, title, description)
    return Figure(title, description, caption, svg, wide=True)


def errors(
    groups: Sequence[tuple[str, Sequence[Series]]], title: str, caption: str, *, decades: bool = False,
    level: float | None = None,
) -> Figure:  # fmt: skip
    """Errors of models, on a logarithmic scale, one small plot for each group; with `decades` the axis is one too.

    Bars are two standard errors. What is not told from zero is an open mark where it may at most be.
    """
    columns = min(4, len(groups))
    rows = -(-len(groups) // columns)
    with _canvas(width=11.6 if columns > 1 else 6.4, height=1.5 + 2.6 * rows if columns > 1 else 5.4) as figure:
        plots = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for plot, (name, series) in zip(plots.flat, groups, strict=False):
            plot.set_yscale("log")
            if decades:
                _decades(plot, np.unique(np.concatenate([s.curve.axis for s in series])))
            if level is not None:
                plot.axhline(level, color=STAND_INS["muted"], lw=1.2, ls=(0, (1.5, 2.5)), label="what would matter")
            for s in series:
                _dots(plot, s)
            plot.set_title(name, fontsize=11.5, loc="left", pad=4)
        for plot in plots.flat[len(groups) :]:
            plot.set_visible(False)
            plots[-2, list(plots[-1]).index(plot)].tick_params(labelbottom=True)
        first = groups[0][1][0].curve
        figure.supxlabel(first.axis_label, fontsize=11.5)
        figure.supylabel(first.value_label, fontsize=11.5)
        _legend(figure, *plots.flat)
        description = " ".join(f"{name}: {_describe(series)}" for name, series in groups)
        svg = _svg(figure, title, description)
    return Figure(title, description, caption, svg, wide=columns > 1)


def maps(panels: Sequence[tuple[str, np.ndarray]], axis: np.ndarray, labels: tuple[str, str], title: str,
         caption: str) -> Figure:  # fmt: skip
    """Free-energy surfaces side by side, in kT above their minima: darker where they are lower."""
    levels = np.arange(0.0, 7.0)
    shades = [(STAND_INS["model"], 0.92 - 0.15 * k) for k in range(len(levels) - 1)]
    with _canvas(width=3.1 * len(panels) + 0.9, height=3.7) as figure:
        plots = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for plot, (name, surface) in zip(plots, panels, strict=True):
            drawn = plot.contourf(axis, axis, np.minimum(surface, 99.0).T, levels=levels, colors=shades)
            drawn.set_gid("data surface")
            plot.contour(axis, axis, np.minimum(surface, 99.0).T, levels=levels[1:], colors=STAND_INS["ink"],
                         linewidths=0.4)  # fmt: skip
            plot.set(title=name, xlabel=labels[0], aspect="equal", xlim=(-np.pi, np.pi), ylim=(-np.pi, np.pi))
            plot.set_xticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
        plots[0].set_yticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
        plots[0].set_ylabel(labels[1])
        scale = figure.colorbar(drawn, ax=list(plots), shrink=0.8, pad=0.02)
        scale.set_label("free energy / kT")
        description = "; ".join(f"{name}: lowest at {_lowest(surface, axis)}" for name, surface in panels)
        svg = _svg(figure, title, description)
    return Figure(title, description, caption, svg)


def parity(
    predictions: np.ndarray, labels: np.ndarray, title: str, caption: str, *, axes_labels: tuple[str, str]
) -> Figure:
    """Labels over predictions as a density: darker where more of them fall; the diagonal is agreement."""
    x, y = np.ravel(predictions).astype(float), np.ravel(labels).astype(float)
    if x.shape != y.shape:
        raise ValueError(f"{len(y)} labels cannot be set against {len(x)} predictions")
    edge = float(np.quantile(np.abs(y), 0.999)) or 1.0
    edges = np.linspace(-edge, edge, 64)
    counts = _smoothed(np.histogram2d(x, y, bins=(edges, edges))[0])
    centres = (edges[1:] + edges[:-1]) / 2
    levels = counts.max() * np.geomspace(2e-3, 1.0, 10)
    shades = [(STAND_INS["model"], 0.1 + 0.85 * k / (len(levels) - 2)) for k in range(len(levels) - 1)]
    with _canvas(height=5.0) as figure:
        axes = figure.subplots()
        density = axes.contourf(centres, centres, counts.T, levels=levels, colors=shades)
        density.set_gid("data density")
        axes.plot([-edge, edge], [-edge, edge], color=STAND_INS["reference"], lw=1.3, ls=(0, (4, 3)), label="agreement")
        axes.set(xlim=(-edge, edge), ylim=(-edge, edge), aspect="equal")
        axes.set_xlabel(axes_labels[0])
        axes.set_ylabel(axes_labels[1])
        axes.locator_params(nbins=7)
        _legend(figure, axes)
        spread = float(np.corrcoef(x, y)[0, 1]) if x.std() > 0 and y.std() > 0 else float("nan")
        description = f"Density of {len(x)} predictions against their labels; correlation {spread:.3f}."
        svg = _svg(figure, title, description)
    return Figure(title, description, caption, svg)


def _learned(axes, places: Sequence[float], mark: str = "learned from") -> None:
    """Triangles on the axis."""
    if len(places):
        axes.plot(places, np.full(len(places), 0.025), transform=axes.get_xaxis_transform(), marker="^", ms=7, ls="",
                  color=STAND_INS["muted"], label=mark, clip_on=False)  # fmt: skip


def _line(axes, x: np.ndarray, y: np.ndarray, error: np.ndarray, series: Series, *, points: bool = False) -> None:
    colour = STAND_INS[series.role]
    if np.isfinite(error).all() and error.any():
        band = axes.fill_between(x, y - _BAND * error, y + _BAND * error, color=colour, alpha=0.22, linewidth=0)
        band.set_gid(f"band {series.role}")
    order = {"reference": 2.2, "model": 2.4}.get(series.role, 2.3)
    (line,) = axes.plot(x, y, color=colour, lw=_WIDTH[series.role], ls=_DASHES[series.role], label=series.label)
    line.set(gid=f"data {series.role}", zorder=order)
    if points:
        line.set(marker="o", markersize=4.5)


def _dots(axes, series: Series) -> None:
    """A line through points with bars; a bar that reaches zero becomes an open mark at its upper end."""
    (x, y), bar = series.curve[1:3], _BAND * np.nan_to_num(series.curve.error)
    open_ = y <= bar
    at = np.where(open_, np.maximum(y, 0.0) + bar, y)
    if (known := at > 0).any():
        x, y, bar, open_, at = x[known], y[known], bar[known], open_[known], at[known]
    colour, mark = STAND_INS[series.role], _MARKS[series.role]
    (line,) = axes.plot(x, at, color=colour, lw=_WIDTH[series.role], ls=_DASHES[series.role], label=series.label,
                        marker=mark, ms=5.5, markevery=np.flatnonzero(~open_).tolist())  # fmt: skip
    line.set(gid=f"data {series.role}")
    if open_.any():
        (marks,) = axes.plot(x[open_], at[open_], color=colour, ls="", marker=mark, ms=6, markerfacecolor="none")
        marks.set_gid("data open")
    full = ~open_ & (bar > 0)
    axes.vlines(x[full], (y - bar)[full], (y + bar)[full], color=colour, lw=1.3)


def _decades(axes, places: np.ndarray) -> None:
    """A logarithmic axis that names the places where there is something."""
    axes.set_xscale("log")
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_xticks([], minor=True)


def _legend(drawing, *plots) -> None:
    """Above the plots, where no curve can run through it, each name once; in one row if that fits."""
    named: dict = {}
    for axes in plots:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    labels, handles = list(named), list(named.values())
    columns = len(labels) if sum(len(label) + 6 for label in labels) < 11.5 * drawing.get_figwidth() else 1
    drawing.legend(handles, labels, loc="outside upper left", ncols=columns, columnspacing=1.6, borderaxespad=0.2)


def _headroom(axes) -> None:
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.04 * (high - low))


def _lowest(surface: np.ndarray, axis: np.ndarray) -> str:
    row, column = np.unravel_index(int(np.argmin(surface)), surface.shape)
    return f"{axis[row]:.2f}, {axis[column]:.2f} rad"


def _smoothed(counts: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(counts, 0.8)


def _describe(series: Sequence[Series]) -> str:
    parts = []
    for s in series:
        top = int(np.argmax(s.curve.value))
        parts.append(f"{s.label}: highest value {s.curve.value[top]:.3g} at {s.curve.axis[top]:.3g}")
    return f"{series[0].curve.value_label} against {series[0].curve.axis_label}. " + "; ".join(parts) + "."


@contextmanager
def _canvas(width: float = 5.6, height: float = 4.6) -> Iterator:
    """A figure that belongs to no window and no global state."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Drawing

    with matplotlib.rc_context(_STYLE):
        drawing = Drawing(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(drawing)
        yield drawing


def _svg(drawing, title: str, description: str) -> str:
    """The drawing as one <svg> element with the page's colours and fonts, and words for screen readers."""
    import matplotlib

    buffer = io.StringIO()
    # The salt keeps the identifiers of different drawings on one page apart, and the same from run to run.
    with matplotlib.rc_context({"svg.hashsalt": title + description}):
        drawing.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style type=.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="((?:data|band) [a-z]+)">', r'<g class="\1">', svg)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", svg)
    shorter = lambda tag: re.sub(r"(\d+\.\d\d)\d+", r"\1", tag[0])  # places of lines, not the numbers people read
    svg = re.sub(r"<[^>]*>", shorter, svg)
    for role, stand_in in STAND_INS.items():
        svg = svg.replace(stand_in, f"var(--{role})")
    key = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    words = f'<title id="{key}-title">{escape(title)}</title><desc id="{key}-desc">{escape(description)}</desc>'
    head = f'<svg role="img" aria-labelledby="{key}-title {key}-desc" preserveAspectRatio="xMidYMid meet"'
    svg = re.sub(r'^<svg (.*?)width="[^"]*" height="[^"]*"', rf"{head} \1", svg, count=1, flags=re.DOTALL)
    return re.sub(r">", lambda m: ">" + words, svg, count=1)
