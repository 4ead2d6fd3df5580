"""Figures of a run as SVG and as pixels.

Each kind of picture is a dataclass in a module of its own. The function `layout` of the module turns the picture into a
`Drawing`: one list of shapes, from which `vector.py` makes SVG and `raster.py` makes pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tformer_cli.draw import (
    bars,
    chart,
    curves,
    dials,
    gallery,
    heat_map,
    heat_maps,
    raster,
    spectrogram,
    tokens,
    vector,
)
from tformer_cli.draw.bars import Bars
from tformer_cli.draw.chart import Chart, Series
from tformer_cli.draw.curves import Curve, Curves
from tformer_cli.draw.dials import Dials
from tformer_cli.draw.drawing import Drawing
from tformer_cli.draw.gallery import Gallery
from tformer_cli.draw.heat_map import HeatMap
from tformer_cli.draw.heat_maps import HeatMaps
from tformer_cli.draw.raster import png
from tformer_cli.draw.spectrogram import Sound, Spectrogram, Strip
from tformer_cli.draw.tokens import TokenRow, Tokens

if TYPE_CHECKING:
    import numpy as np

Picture = HeatMap | HeatMaps | Gallery | Spectrogram | Chart | Curves | Bars | Tokens | Dials


def layout(picture: Picture) -> Drawing:
    """Return a picture of any kind as shapes."""
    match picture:
        case HeatMap():
            return heat_map.layout(picture)
        case Gallery():
            return gallery.layout(picture)
        case Spectrogram():
            return spectrogram.layout(picture)
        case Chart():
            return chart.layout(picture)
        case HeatMaps():
            return heat_maps.layout(picture)
        case Curves():
            return curves.layout(picture)
        case Bars():
            return bars.layout(picture)
        case Tokens():
            return tokens.layout(picture)
        case Dials():
            return dials.layout(picture)


def svg(picture: Picture) -> str:
    """Return a picture of any kind as SVG."""
    return vector.svg(layout(picture))


def draw(picture: Picture) -> np.ndarray:
    """Draw a picture of any kind: (height, width, 3), uint8."""
    return raster.pixels(layout(picture))


__all__ = [
    "Bars",
    "Chart",
    "Curve",
    "Curves",
    "Dials",
    "Gallery",
    "HeatMap",
    "HeatMaps",
    "Picture",
    "Series",
    "Sound",
    "Spectrogram",
    "Strip",
    "TokenRow",
    "Tokens",
    "draw",
    "layout",
    "png",
    "svg",
]
