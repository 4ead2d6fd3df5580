"""Drawings as SVG, for files and for pages that contain them.

Colours follow the reader's light or dark setting. Programs that know no style sheets use the light colours, which each
element has as an attribute. All classes begin with `tf-`, and no element has an id, so that several drawings fit into
one page.
"""

from __future__ import annotations

import base64
import html

from tformer_cli.draw.drawing import (
    FONT_PIXELS,
    ROLES,
    SMALL_PIXELS,
    Circle,
    Drawing,
    Line,
    Pixels,
    Polygon,
    Rectangle,
    Shape,
    Text,
)
from tformer_cli.draw.raster import png


def _rules(shade: int) -> str:
    """Return the rules of one shade of each role: 0: light, 1: dark."""
    return "".join(
        f".tf-{role}{{fill:{shades[shade]}}}.tf-{role}-line{{stroke:{shades[shade]}}}" for role, shades in ROLES.items()
    )


STYLE = (
    "<style>.tf-drawing{color-scheme:light dark}.tf-drawing text{unicode-bidi:plaintext;white-space:pre}"
    f"{_rules(0)}@media (prefers-color-scheme:dark){{{_rules(1)}}}</style>"
)


def svg(drawing: Drawing) -> str:
    """Return a drawing as SVG."""
    name = html.escape(drawing.description)
    size = f'width="{drawing.width}" height="{drawing.height}" viewBox="0 0 {drawing.width} {drawing.height}"'
    font = f'font-family="sans-serif" font-size="{FONT_PIXELS}"'
    described = f'role="img" aria-label="{name}"' if name else 'role="img"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="tf-drawing tf-ink" {size} {font} {described}>',
        *([f"<title>{name}</title>"] if name else []),
        STYLE,
        f'<rect width="100%" height="100%" {_paint("fill", "background")}/>',
    ]
    lines += map(_element, drawing.shapes)
    return "\n".join([*lines, "</svg>", ""])


def _paint(attribute: str, colour: str) -> str:
    """Return the attributes of a colour that fills (`fill`) or outlines (`stroke`) an element."""
    if colour not in ROLES:
        return f'{attribute}="{colour}"'
    suffix = "-line" if attribute == "stroke" else ""
    return f'class="tf-{colour}{suffix}" {attribute}="{ROLES[colour][0]}"'


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _points(**values: float) -> str:
    return " ".join(f'{name}="{_number(value)}"' for name, value in values.items())


def _element(shape: Shape) -> str:
    """Return a shape as an element of SVG."""
    match shape:
        case Line((x1, y1), (x2, y2), colour, width, dashes):
            dashed = f' stroke-dasharray="{" ".join(map(str, dashes))}"' if dashes else ""
            wide = f' stroke-width="{_number(width)}"' if width != 1 else ""
            crisp = ' shape-rendering="crispEdges"' if x1 == x2 or y1 == y2 else ""
            return f"<line {_points(x1=x1, y1=y1, x2=x2, y2=y2)} {_paint('stroke', colour)}{wide}{dashed}{crisp}/>"
        case Polygon(corners, colour):
            points = " ".join(f"{_number(x)},{_number(y)}" for x, y in corners)
            return f'<polygon points="{points}" {_paint("fill", colour)}/>'
        case Circle((x, y), radius, colour):
            return f"<circle {_points(cx=x, cy=y, r=radius)} {_paint('fill', colour)}/>"
        case Rectangle():
            return _rectangle(shape)
        case Text():
            return _text(shape)
        case Pixels((left, top, right, bottom), values, pixelated):
            data = base64.b64encode(png(values)).decode()
            style = ' style="image-rendering:pixelated"' if pixelated else ""
            sides = _points(x=left, y=top, width=right - left, height=bottom - top)
            return f'<image {sides} preserveAspectRatio="none"{style} href="data:image/png;base64,{data}"/>'


def _rectangle(shape: Rectangle) -> str:
    """Return a rectangle: a filled one and, as another element, its outline."""
    left, top, right, bottom = shape.box
    elements = []
    if shape.fill:
        opacity = f' fill-opacity="{_number(shape.opacity)}"' if shape.opacity != 1 else ""
        sides = _points(x=left, y=top, width=right - left, height=bottom - top)
        elements.append(f'<rect {sides} {_paint("fill", shape.fill)}{opacity} shape-rendering="crispEdges"/>')
    if shape.outline:
        inset = shape.width / 2
        sides = _points(
            x=left + inset, y=top + inset, width=right - left - shape.width, height=bottom - top - shape.width
        )
        wide = f' stroke-width="{_number(shape.width)}"' if shape.width != 1 else ""
        paint = _paint("stroke", shape.outline)
        elements.append(f'<rect {sides} fill="none" {paint}{wide} shape-rendering="crispEdges"/>')
    return "".join(elements)


def _text(shape: Text) -> str:
    """Return a text; its baseline is 0.35 of the font's size below its middle."""
    x, y = shape.place
    attributes = [_points(x=x, y=y), 'dy=".35em"']
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
