"""Relative position schemes: the terms that they add to the scores, by the offset of the key from the query.

An offset is the position of the key minus that of the query: negative for keys before the query. The queries of a
decoder see no keys after them, so that only offsets up to 0 are drawn for a decoder.

Shapes: H heads, O offsets, K head width, L layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from tformer_cli.analysis.positions import similarities
from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw import Curve, Curves, HeatMap, HeatMaps
from tformer_cli.figures.base import KIND_NAMES, Figure, Kind, Layer, Subject, module_slug, module_title
from tformer_cli.nn.attention import Attention
from tformer_cli.nn.grid import GridBias, rotate_2d
from tformer_cli.nn.positions import AbsolutePositions, ShawRelative, T5Bias, TransformerXLRelative
from tformer_cli.nn.taps import tappable_layers

REACH, GRID_REACH, WIDTH_PIXELS = 128, 16, 900
"""Greatest drawn offset of tokens, and of rows and columns, and the greatest width of a heat map in pixels."""


def offsets(model: nn.Module, reach: int, *, causal: bool) -> np.ndarray:
    """Return the drawn offsets: to both sides, or only to keys before the query.

    Args:
        model: the model; its longest sequence bounds the offsets that training could reach.
        reach: greatest offset that the scheme distinguishes.
        causal: whether queries see only keys before them.
    """
    lengths = [module.max_length for module in model.modules() if isinstance(module, AbsolutePositions)]
    most = min(reach, REACH, max(lengths, default=REACH + 1) - 1)
    return np.arange(-most, (0 if causal else most) + 1)


def signed(values: np.ndarray) -> list[str]:
    """Return offsets as text, with a sign."""
    return [f"{value:+d}" if value else "0" for value in values.tolist()]


def chosen_heads(subject: Subject, count: int) -> list[int]:
    """Return the indices of the heads that the user wants to see, of `count` heads."""
    return [head for head in range(count) if not subject.options.heads or head + 1 in subject.options.heads]


def attention_modules(subject: Subject) -> list[tuple[Layer, Attention]]:
    """Return the attention layers of tokens or patches that the user wants to see, and their modules."""
    modules = tappable_layers(subject.model)
    pairs = ((layer, modules[layer.name]) for layer in subject.layers())
    return [(layer, module) for layer, module in pairs if isinstance(module, Attention)]


def map_of_offsets(values: np.ndarray, rows: Sequence[str], across: np.ndarray, title: str, row_title: str) -> HeatMap:
    """Return a heat map of values of both signs by row and offset, (rows, O)."""
    return HeatMap(
        values,
        rows,
        signed(across),
        title,
        row_title,
        "offset of the key from the query",
        diverging=True,
        side=WIDTH_PIXELS,
    )


@torch.no_grad()
def t5_figure(subject: Subject, name: str, module: T5Bias) -> Figure:
    """Return the bias of each head by offset."""
    across = offsets(subject.model, module.max_distance, causal=not module.bidirectional)
    heads = chosen_heads(subject, module.weight.shape[1])
    keys = torch.from_numpy(across).to(module.weight.device)
    values = module(torch.zeros_like(keys[:1]), keys)[heads, 0].cpu().double().numpy()
    title = f"{module_title(name)}, bias of the scores"
    names = [f"head {head + 1}" for head in heads]
    return Figure(
        f"relative-{module_slug(name)}", title, map_of_offsets(values, names, across, title, "head"),
        {"module": name, "offsets": across, "heads": [head + 1 for head in heads], "bias": values},
        "b(offset) of a stack's attention layers, which share it (Raffel et al. 2020, section 2.1).",
    )  # fmt: skip


@torch.no_grad()
def grid_figures(subject: Subject, name: str, module: GridBias) -> Iterator[Figure]:
    """Yield the bias of each head by offset of rows and columns, and the bias of [class]."""
    heads = chosen_heads(subject, module.table.shape[-1])
    # The table has the position of the query minus that of the key.
    table = module.table.flip(0, 1).permute(2, 0, 1)[heads].cpu().double().numpy()
    reach = [min(side // 2, GRID_REACH) for side in table.shape[1:]]
    centre = [side // 2 for side in table.shape[1:]]
    drawn = table[:, centre[0] - reach[0] : centre[0] + reach[0] + 1, centre[1] - reach[1] : centre[1] + reach[1] + 1]
    rows, columns = (np.arange(-side, side + 1) for side in reach)
    names, title = [f"head {head + 1}" for head in heads], f"{module_title(name)}, bias of the scores"
    picture = HeatMaps(
        drawn, names, signed(rows), signed(columns), title,
        "offset of the row", "offset of the column", diverging=True,
    )  # fmt: skip
    yield Figure(
        f"relative-{module_slug(name)}", title, picture,
        {"module": name, "heads": [head + 1 for head in heads], "rows": rows, "columns": columns, "bias": drawn},
        "The query is at the centre, and each cell is a key (Liu et al. 2021, equation 4)."
        + (" Greater offsets are left out." if drawn.shape != table.shape else ""),
    )  # fmt: skip
    if module.class_entries is not None:
        values = module.class_entries[:, heads].T.cpu().double().numpy()
        kinds = ["from [class] to a patch", "from a patch to [class]", "from [class] to itself"]
        title = f"{module_title(name)}, bias of [class]"
        picture = HeatMap(values, names, kinds, title, "head", diverging=True)
        numbers = {"module": name, "heads": [head + 1 for head in heads], "pairs": kinds, "bias": values}
        yield Figure(f"relative-{module_slug(name)}-class", title, picture, numbers)


@torch.no_grad()
def xl_figures(subject: Subject) -> Iterator[Figure]:
    """Yield the position term v . W_R R / sqrt(K) of each layer and head, by offset."""
    for kind in AttentionKind:
        places, values = [], []
        across = offsets(subject.model, REACH, causal=kind is AttentionKind.decoder)
        for layer, module in attention_modules(subject):
            relative = module.transformer_xl
            if layer.kind is kind and isinstance(relative, TransformerXLRelative):
                heads = subject.heads(layer)
                zero = relative.position_bias.new_zeros(1, *relative.position_bias.shape)
                keys = torch.from_numpy(across).to(zero.device)
                term = relative.scores(zero, torch.zeros_like(keys[:1]), keys, module.scale)
                values.append(term[0, heads, 0].cpu().double().numpy())
                places += [(layer.number, head + 1) for head in heads]
        if values:
            title = f"{KIND_NAMES[kind]}, term of the position"
            names = [f"layer {layer}, head {head}" for layer, head in places]
            layers, heads = zip(*places, strict=True)
            yield Figure(
                f"relative-{KIND_NAMES[kind]}-transformer-xl", title,
                map_of_offsets(np.concatenate(values), names, across, title, ""),
                {"attention": KIND_NAMES[kind], "layers": layers, "heads": heads, "offsets": across,
                 "terms": np.concatenate(values)},
                "v·W R(i − j) / √K, added to the scores of every query (Dai et al. 2019, section 3.3, term d).",
            )  # fmt: skip


@torch.no_grad()
def shaw_figures(subject: Subject) -> Iterator[Figure]:
    """Yield the norms of the vectors of keys and values by offset, and the cosines of the vectors of keys."""
    for kind in AttentionKind:
        tables = [
            (layer.number, module.shaw)
            for layer, module in attention_modules(subject)
            if layer.kind is kind and isinstance(module.shaw, ShawRelative)
        ]
        if not tables:
            continue
        every = np.arange(-tables[0][1].max_distance, tables[0][1].max_distance + 1)
        across = offsets(subject.model, tables[0][1].max_distance, causal=kind is AttentionKind.decoder)
        used = np.isin(every, across)
        title, slug = KIND_NAMES[kind], f"relative-{KIND_NAMES[kind]}-shaw"
        layers, offset_names = [f"layer {number}" for number, _ in tables], signed(across)
        common = {"attention": title, "layers": [number for number, _ in tables], "offsets": across}
        for part in ("keys", "values"):
            vectors = np.stack([getattr(table, part).cpu().double().numpy()[used] for _, table in tables])
            norms = np.linalg.norm(vectors, axis=-1)
            picture = HeatMap(
                norms, layers, offset_names, f"{title}, norms of the vectors of {part}", "",
                "offset of the key from the query", side=WIDTH_PIXELS,
            )  # fmt: skip
            yield Figure(f"{slug}-{part}", picture.title, picture, {**common, "norms": norms}, SHAW_CAPTION)
            if part == "keys":
                cosines = np.stack([similarities(each) for each in vectors])
                maps = HeatMaps(
                    cosines, layers, offset_names, offset_names, f"{title}, cosines of the vectors of keys", "offset",
                    "offset", diverging=True, limits=(-1.0, 1.0),
                )  # fmt: skip
                yield Figure(f"{slug}-cosines", maps.title, maps, {**common, "cosines": cosines}, SHAW_CAPTION)


SHAW_CAPTION = (
    "All heads of a layer share the vectors; farther offsets have those at the ends (Shaw et al. 2018, equations 3-5)."
)


def rotary_figures(subject: Subject) -> Iterator[Figure]:
    """Yield how the score of a constant query and key falls with their distance, for each head width."""
    seen: set[tuple[bool, int]] = set()
    for _, module in attention_modules(subject):
        key = (module.rotate is rotate_2d, module.head_dim)
        if module.rotate is None or key in seen:
            continue
        seen.add(key)
        yield rotary_grid_figure(module) if key[0] else rotary_figure(module)


def rotated_products(module: Attention, positions: torch.Tensor) -> np.ndarray:
    """Return the product of a rotated constant query at the first position and a key at each, divided by K."""
    assert module.rotate is not None
    ones = torch.ones(1, 1, len(positions), module.head_dim)
    rotated = module.rotate(ones, positions)[0, 0].cpu().double()
    return (rotated @ rotated[0] / module.head_dim).numpy()


def rotary_figure(module: Attention) -> Figure:
    """Return the curve of the products by distance."""
    distances = np.arange(REACH + 1)
    values = rotated_products(module, torch.from_numpy(distances))
    title = f"rotary positions, heads of width {module.head_dim}"
    picture = Curves(
        [Curve("", distances, values, points=False)], title, "distance of query and key", "relative score",
        y_limits=(0.0, 1.0),
    )  # fmt: skip
    numbers = {"head_dim": module.head_dim, "distances": distances, "scores": values}
    return Figure(f"relative-rotary-{module.head_dim}", title, picture, numbers, ROTARY_CAPTION)


def rotary_grid_figure(module: Attention) -> Figure:
    """Return the heat map of the products by distance of rows and columns."""
    side = np.arange(GRID_REACH)
    positions = torch.cartesian_prod(torch.from_numpy(side), torch.from_numpy(side))
    values = rotated_products(module, positions).reshape(len(side), len(side))
    title, names = f"rotary positions of a grid, heads of width {module.head_dim}", [str(number) for number in side]
    picture = HeatMap(values, names, names, title, "distance of rows", "distance of columns", diverging=True)
    numbers = {"head_dim": module.head_dim, "rows": side, "columns": side, "scores": values}
    return Figure(f"relative-rotary-2d-{module.head_dim}", title, picture, numbers, ROTARY_CAPTION)


ROTARY_CAPTION = (
    "The score of a constant query and key, divided by that at distance 0: the mean of cos(ωᵢ d) over the frequencies"
    " (Su et al. 2021, section 3.4.3). It is a property of the scheme, not of the training."
)


def parts(subject: Subject) -> list[tuple[str, nn.Module]]:
    """Return the modules of all relative schemes by name."""
    kinds = (T5Bias, GridBias, ShawRelative, TransformerXLRelative)
    return [
        (name, module)
        for name, module in subject.model.named_modules()
        if isinstance(module, kinds) or (isinstance(module, Attention) and module.rotate is not None)
    ]


def draw(subject: Subject) -> Iterator[Figure]:
    """Yield the figures of each scheme that the model has."""
    for name, module in parts(subject):
        if isinstance(module, T5Bias):
            yield t5_figure(subject, name, module)
        elif isinstance(module, GridBias):
            yield from grid_figures(subject, name, module)
    yield from xl_figures(subject)
    yield from shaw_figures(subject)
    yield from rotary_figures(subject)


def missing(subject: Subject) -> str:
    """Return the reason why a subject has no such figure; empty: it has some."""
    return "" if parts(subject) else "the model has no relative positions"


KIND = Kind(
    "relative",
    "Relative positions",
    "What the scores of attention depend on beside the content: the offset, which is the position of the key minus that"
    " of the query. Blue raises the weight of keys at this offset, orange lowers it.",
    draw,
    missing,
    of_model=True,
)
