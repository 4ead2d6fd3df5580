"""Drawings as SVG, for files and for pages that contain them.

Colours follow the reader's light or dark setting. Programs that know no style sheets use the light colours, which each
element has as an attribute. All classes and ids begin with `tf-`. Only images that are shown more than once have an id,
which depends on their pixels alone: several drawings fit into one page, which stores each of their images once.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence

import numpy as np

from tformer_cli.draw.drawing import (
    FONT_PIXELS,
    ROLES,
    SMALL_PIXELS,
    Circle,
    Drawing,
    Line,
    Pixels,
    Point,
    Polygon,
    Rectangle,
    Shape,
    Text,
)
from tformer_cli.draw.raster import png

FONTS = "system-ui, 'Noto Sans', 'Noto Sans CJK JP', 'Hiragino Sans', 'Yu Gothic', Meiryo, sans-serif"
"""Fonts of text, as in the pages that contain drawings; the last one is the default of the reader's program."""


def _rules(shade: int) -> str:
    """Return the rules of one shade of each role: 0: light, 1: dark."""
    return "".join(
        f".tf-{role}{{fill:{shades[shade]}}}.tf-{role}-line{{stroke:{shades[shade]}}}" for role, shades in ROLES.items()
    )


STYLE = (
    "<style>.tf-drawing{color-scheme:light dark}.tf-drawing text{unicode-bidi:plaintext;white-space:pre}"
    f"{_rules(0)}@media (prefers-color-scheme:dark){{{_rules(1)}}}</style>"
)


def image_id(values: np.ndarray) -> str:
    """Return the id of an image, which depends on its pixels alone."""
    return f"tf-{hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()[:16]}"


def repeated_images(drawings: Iterable[Drawing], others: Iterable[np.ndarray] = ()) -> dict[str, np.ndarray]:
    """Return the images that are shown more than once, by their ids.

    Args:
        drawings: the drawings of a page or a file.
        others: images that the page shows elsewhere; they are among the results even if no drawing has them.
    """
    images = [shape.values for drawing in drawings for shape in drawing.shapes if isinstance(shape, Pixels)]
    elsewhere = {image_id(values): values for values in others}
    names = [image_id(values) for values in images]
    counts = Counter(names)
    return elsewhere | {name: values for name, values in zip(names, images, strict=True) if counts[name] > 1}


def definitions(images: Mapping[str, np.ndarray]) -> str:
    """Return images by their ids as an element of SVG that shows nothing by itself; empty: there are none."""
    symbols = []
    for name, values in images.items():
        sides = _numbers(width=values.shape[1], height=values.shape[0])
        box = f'viewBox="0 0 {values.shape[1]} {values.shape[0]}" preserveAspectRatio="none"'
        symbols.append(f'<symbol id="{name}" {box}><image {sides} href="{image_address(values)}"/></symbol>')
    return f"<defs>{''.join(symbols)}</defs>" if symbols else ""


def image_address(values: np.ndarray) -> str:
    """Return an image as an address that contains it."""
    return f"data:image/png;base64,{base64.b64encode(png(values)).decode()}"


def svg(drawing: Drawing, defined: Container[str] | None = None) -> str:
    """Return a drawing as SVG.

    Args:
        drawing: the drawing.
        defined: ids of the images that the page of the drawing defines, see `definitions`; None: the drawing is a file
            by itself, which defines those that it shows more than once.
    """
    images = repeated_images([drawing]) if defined is None else {}
    defined = images if defined is None else defined
    name = html.escape(drawing.description)
    size = f'width="{drawing.width}" height="{drawing.height}" viewBox="0 0 {drawing.width} {drawing.height}"'
    font = f'font-family="{FONTS}" font-size="{FONT_PIXELS}"'
    described = f'role="img" aria-label="{name}"' if name else 'role="img"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="tf-drawing tf-ink" {size} {font} {described}>',
        *([f"<title>{name}</title>"] if name else []),
        STYLE,
        f'<rect width="100%" height="100%" {_paint("fill", "background")}/>',
        *([definitions(images)] if images else []),
    ]
    lines += [_element(shape, defined) for shape in drawing.shapes]
    return "\n".join([*lines, "</svg>", ""])


def _paint(attribute: str, colour: str) -> str:
    """Return the attributes of a colour that fills (`fill`) or outlines (`stroke`) an element."""
    if colour not in ROLES:
        return f'{attribute}="{colour}"'
    suffix = "-line" if attribute == "stroke" else ""
    return f'class="tf-{colour}{suffix}" {attribute}="{ROLES[colour][0]}"'


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _numbers(**values: float) -> str:
    return " ".join(f'{name}="{_number(value)}"' for name, value in values.items())


def _corners(points: Sequence[Point]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _element(shape: Shape, defined: Container[str]) -> str:
    """Return a shape as an element of SVG, given the ids of the images that need no repetition."""
    match shape:
        case Line():
            return _line(shape)
        case Polygon(corners, colour):
            return f'<polygon points="{_corners(corners)}" {_paint("fill", colour)}/>'
        case Circle((x, y), radius, colour):
            return f"<circle {_numbers(cx=x, cy=y, r=radius)} {_paint('fill', colour)}/>"
        case Rectangle():
            return _rectangle(shape)
        case Text():
            return _text(shape)
        case Pixels():
            return _pixels(shape, defined)


def _line(shape: Line) -> str:
    """Return a line through two points or more."""
    (x1, y1), (x2, y2) = shape.points[0], shape.points[-1]
    paint = _paint("stroke", shape.colour)
    if shape.width != 1:
        paint += f' stroke-width="{_number(shape.width)}"'
    if shape.dashes:
        paint += f' stroke-dasharray="{" ".join(map(str, shape.dashes))}"'
    if len(shape.points) > 2:
        return f'<polyline points="{_corners(shape.points)}" fill="none" stroke-linejoin="round" {paint}/>'
    crisp = ' shape-rendering="crispEdges"' if x1 == x2 or y1 == y2 else ""
    return f"<line {_numbers(x1=x1, y1=y1, x2=x2, y2=y2)} {paint}{crisp}/>"


def _rectangle(shape: Rectangle) -> str:
    """Return a rectangle: a filled one and, as another element, its outline."""
    left, top, right, bottom = shape.box
    elements = []
    if shape.fill:
        opacity = f' fill-opacity="{shape.opacity:.3g}"' if shape.opacity != 1 else ""
        sides = _numbers(x=left, y=top, width=right - left, height=bottom - top)
        elements.append(f'<rect {sides} {_paint("fill", shape.fill)}{opacity} shape-rendering="crispEdges"/>')
    if shape.outline:
        inset = shape.width / 2
        sides = _numbers(
            x=left + inset, y=top + inset, width=right - left - shape.width, height=bottom - top - shape.width
        )
        wide = f' stroke-width="{_number(shape.width)}"' if shape.width != 1 else ""
        paint = _paint("stroke", shape.outline)
        elements.append(f'<rect {sides} fill="none" {paint}{wide} shape-rendering="crispEdges"/>')
    return "".join(elements)


def _pixels(shape: Pixels, defined: Container[str]) -> str:
    """Return an image, or a reference to it if its id is among the given ones."""
    left, top, right, bottom = shape.box
    attributes = _numbers(x=left, y=top, width=right - left, height=bottom - top)
    attributes += ' style="image-rendering:pixelated"' if shape.pixelated else ""
    name = image_id(shape.values)
    if name in defined:
        return f'<use {attributes} href="#{name}"/>'
    return f'<image {attributes} preserveAspectRatio="none" href="{image_address(shape.values)}"/>'


def _text(shape: Text) -> str:
    """Return a text; its baseline is 0.35 of the font's size below its middle."""
    x, y = shape.place
    attributes = [_numbers(x=x, y=y), 'dy=".35em"']
    if shape.anchor != "start":
        attributes.append(f'text-anchor="{shape.anchor}"')
    if shape.upright:
        attributes.append(f'transform="rotate(-90 {_number(x)} {_number(y)})"')
    if shape.bold:
        attributes.append('font-weight="bold"')
    if shape.small:
        attributes.append(f'font-size="{SMALL_PIXELS}"')
    if shape.colour != "ink":
        attributes.append(_paint("fill", shape.colour))
    return f"<text {' '.join(attributes)}>{html.escape(shape.text)}</text>"
