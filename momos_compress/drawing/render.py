"""The look of all charts, and how they become PNG, SVG and a page's script (extra: report)."""

import functools
import re
from typing import Any, Literal

import altair as alt
import vl_convert

Spec = dict[str, Any]
Scheme = Literal["light", "dark"]

WIDTH = 760
"""Pixels of a plot in PNG and SVG, which with its axes is as wide as a README."""

COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#9d755d", "#d6a500", "#ff9da6")
"""Colours of categories, in the order in which they are given out."""
OTHER_COLOUR = "#9a9a9a"
"""Colour of the categories that have none of their own."""


def theme(scheme: Scheme) -> Spec:
    """Fonts and colours of every chart. A chart names styles alone, so that one specification serves both schemes."""
    ink, faint, line = ("#1f2328", "#59636e", "#d1d9e0") if scheme == "light" else ("#e6edf3", "#9da7b1", "#3d444d")
    text = {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 13, "titleFontWeight": "normal"}
    return {
        "font": "Liberation Sans, Arial, Helvetica, sans-serif",
        "background": "#ffffff" if scheme == "light" else "#0d1117",
        "view": {"stroke": None},
        "axis": {**text, "gridColor": line, "domainColor": faint, "tickColor": faint, "labelLimit": 230},
        "legend": {**text, "orient": "bottom", "columns": 5, "labelLimit": 170, "symbolStrokeWidth": 0}
        | {"layout": {"bottom": {"direction": "vertical", "anchor": "start"}}},
        "title": {"anchor": "start", "color": ink, "fontSize": 16, "subtitleColor": faint, "subtitleFontSize": 12}
        | {"subtitlePadding": 6, "offset": 12},
        "style": {  # "color", not "stroke": Vega-Lite sets its own colour over the latter
            "reference": {"color": ink, "strokeDash": [6, 4], "strokeWidth": 1.2, "opacity": 0.8},
            "spread": {"color": ink, "strokeWidth": 1.2, "opacity": 0.75},
            "median-line": {"color": ink, "strokeWidth": 3},
            "median-point": {"color": ink, "size": 60},
            "profile-line": {"color": COLOURS[0], "strokeWidth": 1, "opacity": 0.5},
            "profile-point": {"color": COLOURS[0], "size": 30, "opacity": 1},
        },
    }


def render_svg(spec: Spec) -> bytes:
    """A chart as SVG, in the light scheme."""
    svg = vl_convert.vegalite_to_svg(_still(spec), vl_version=_vl_version())
    # Vega numbers gradients over a process's life; from 0 on, the same rows give the same file.
    numbers = {name: f"gradient_{number}" for number, name in enumerate(re.findall(r'id="(gradient_\d+)"', svg))}
    return re.sub(r"(?<=[\"#])gradient_\d+(?=[\")])", lambda found: numbers.get(found[0], found[0]), svg).encode()


def render_png(spec: Spec) -> bytes:
    """A chart as PNG at twice its size, in the light scheme."""
    return vl_convert.vegalite_to_png(_still(spec), vl_version=_vl_version(), scale=2)


@functools.cache
def javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script without imports, which sets ``vegaEmbed``."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=_vl_version())


def _vl_version() -> str:
    """The version of Vega-Lite that altair writes for, as vl-convert names it."""
    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def _still(spec: Spec) -> Spec:
    width = {} if "width" in spec or "vconcat" in spec else {"width": WIDTH}
    return {**spec, **width, "config": theme("light"), "padding": 12}
