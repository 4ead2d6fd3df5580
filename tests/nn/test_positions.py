"""Position schemes against the papers' formulas, written out, and against Hugging Face's T5."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from tformer_cli.config.schema import Combine, Positions
from tformer_cli.nn.grid import GridBias, GridPositions, cells, resized, rotate_2d
from tformer_cli.nn.positions import (
    AbsolutePositions,
    ShawRelative,
    T5Bias,
    TransformerXLRelative,
    frequencies,
    rotate,
    sinusoids,
)


def formula(position: int, dim: int) -> list[float]:
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(...) (Vaswani et al. 2017, section 3.5)."""
    encoding = []
    for i in range(dim // 2):
        angle = position / 10_000 ** (2 * i / dim)
        encoding += [math.sin(angle), math.cos(angle)]
    return encoding


def test_sinusoids_follow_the_paper() -> None:
    expected = torch.tensor([formula(position, 10) for position in range(300)])
    torch.testing.assert_close(sinusoids(torch.arange(300), frequencies(10)), expected, atol=5e-5, rtol=0)
    module = AbsolutePositions(Positions.sinusoidal, Combine.add, 10, 300)
    x = torch.randn(2, 4, 10)
    there = torch.tensor([0, 7, 8, 299])
    torch.testing.assert_close(module(x, there), x + expected[there], atol=1e-6, rtol=0)
    assert not list(module.parameters()) and not module.state_dict()


@pytest.mark.parametrize("combine", list(Combine))
def test_the_index_is_every_component(combine: Combine) -> None:
    module = AbsolutePositions(Positions.index, combine, 5, 300)
    x, there = torch.randn(2, 3, 5), torch.tensor([0, 7, 299])
    vectors = torch.tensor([[0.0] * 5, [7.0] * 5, [299.0] * 5])
    if combine is Combine.add:
        assert torch.equal(module(x, there), x + vectors) and not list(module.parameters())
    else:
        expected = module.project(torch.cat((x, vectors.expand_as(x)), dim=-1))
        torch.testing.assert_close(module(x, there), expected)


def test_an_odd_width_has_no_sinusoids() -> None:
    with pytest.raises(ValueError, match="even width, not 5"):
        frequencies(5)


def test_learned_positions_start_at_nothing_and_learn() -> None:
    module = AbsolutePositions(Positions.learned, Combine.add, 6, 9)
    x = torch.randn(2, 3, 6)
    assert torch.equal(module(x, torch.arange(3)), x)
    torch.nn.init.normal_(module.table)
    there = torch.tensor([4, 0, 8])
    torch.testing.assert_close(module(x, there), x + torch.stack([module.table[4], module.table[0], module.table[8]]))
    module(x, there).sum().backward()
    assert module.table.grad.any(-1).nonzero().flatten().tolist() == [0, 4, 8]


def test_learnable_sinusoids_start_at_the_fixed_ones_and_learn_their_frequency() -> None:
    module = AbsolutePositions(Positions.learnable_sinusoidal, Combine.add, 6, 9)
    assert module.frequency.tolist() == pytest.approx([10_000 ** (-2 * i / 6) for i in range(3)], rel=1e-6)
    fixed = AbsolutePositions(Positions.sinusoidal, Combine.add, 6, 9)
    x, there = torch.randn(2, 5, 6), torch.arange(5)
    torch.testing.assert_close(module(x, there), fixed(x, there))
    module.double()
    weights = torch.randn(5, 3, dtype=torch.float64)

    def sines(frequency: torch.Tensor) -> torch.Tensor:
        return torch.stack([(frequency[i] * p).sin() * weights[p, i] for p in range(5) for i in range(3)]).sum()

    out = module(torch.zeros(1, 5, 6, dtype=torch.float64), there)
    (got,) = torch.autograd.grad((out[0, :, 0::2] * weights).sum(), module.frequency)
    (expected,) = torch.autograd.grad(sines(module.frequency), module.frequency)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scheme", [Positions.sinusoidal, Positions.learned, Positions.learnable_sinusoidal])
def test_concatenated_positions_are_projected_back(scheme: Positions) -> None:
    module = AbsolutePositions(scheme, Combine.concatenate, 6, 9)
    if scheme is Positions.learned:
        torch.nn.init.normal_(module.table)
        encoding = module.table[:4]
    else:
        encoding = torch.tensor([formula(position, 6) for position in range(4)])
    x = torch.randn(2, 4, 6)
    expected = module.project(torch.stack([torch.cat((row, encoding), dim=-1) for row in x]))
    torch.testing.assert_close(module(x, torch.arange(4)), expected, atol=1e-5, rtol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):  # the search needs hidden states of the type of the weights
        assert module(x, torch.arange(4)).dtype is torch.float32


@pytest.mark.parametrize(
    "scheme", [Positions.none, Positions.rotary, Positions.t5, Positions.shaw, Positions.transformer_xl]
)
def test_the_other_schemes_leave_embeddings_alone(scheme: Positions) -> None:
    x = torch.randn(2, 4, 5)
    assert AbsolutePositions(scheme, Combine.concatenate, 5, 9)(x, torch.arange(4)) is x


def test_one_position_serves_all_beams() -> None:
    x = torch.randn(2, 3, 6)
    for scheme in (Positions.index, Positions.sinusoidal, Positions.learned, Positions.learnable_sinusoidal):
        for combine in Combine:
            module = AbsolutePositions(scheme, combine, 6, 9)
            expected = torch.cat([module(x[:, i : i + 1], torch.tensor([5])) for i in range(3)], dim=1)
            torch.testing.assert_close(module(x, torch.tensor([5])), expected)


def test_rotation_turns_pairs_by_the_papers_matrix() -> None:
    x = torch.randn(2, 3, 4, 6)
    positions = torch.tensor([0, 1, 5, 90])
    got = rotate(x, positions)
    for t, position in enumerate(positions.tolist()):
        matrix = torch.zeros(6, 6)
        for i in range(3):
            angle = position * 10_000 ** (-2 * i / 6)
            pair = slice(2 * i, 2 * i + 2)
            turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
            matrix[pair, pair] = torch.tensor(turn)
        torch.testing.assert_close(got[:, :, t], x[:, :, t] @ matrix.T, atol=1e-5, rtol=1e-5)


def test_rotation_keeps_lengths_and_makes_products_depend_on_distance_only() -> None:
    q, k = torch.randn(2, 1, 1, 1, 8)
    torch.testing.assert_close(rotate(q, torch.tensor([123])).norm(), q.norm())

    def product(i: int, j: int) -> torch.Tensor:
        return (rotate(q, torch.tensor([i])) * rotate(k, torch.tensor([j]))).sum()

    for distance in (-3, 0, 4, 31):
        torch.testing.assert_close(product(50, 50 + distance), product(90, 90 + distance), atol=1e-4, rtol=1e-4)
    assert (product(50, 50) - product(50, 53)).abs() > 1e-2


def test_rotation_keeps_the_dtype_and_refuses_an_odd_width() -> None:
    assert rotate(torch.randn(1, 1, 2, 4, dtype=torch.bfloat16), torch.arange(2)).dtype is torch.bfloat16
    with pytest.raises(ValueError, match="not 5"):
        rotate(torch.randn(1, 1, 2, 5), torch.arange(2))


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("buckets", [4, 8, 32, 100])
def test_t5_buckets_are_the_authors(bidirectional: bool, buckets: int) -> None:
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5", reason="Hugging Face transformers is not installed")
    distance = torch.arange(-600, 601)
    expected = t5.T5Attention._relative_position_bucket(
        distance, bidirectional=bidirectional, num_buckets=buckets, max_distance=128
    )
    got = T5Bias(2, buckets, bidirectional=bidirectional).bucket(distance)
    assert torch.equal(got, expected)
    assert set(got.tolist()) <= set(range(buckets))


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("buckets", [2, 3, 5, 300])
def test_t5_buckets_of_any_number(bidirectional: bool, buckets: int) -> None:
    bias = T5Bias(1, buckets, bidirectional=bidirectional)
    distance = torch.arange(-700, 701)
    got = bias.bucket(distance)
    assert int(got.min()) >= 0 and int(got.max()) < buckets
    past = got[distance <= 0].flip(0)
    assert (past.diff() >= 0).all() and int(past.max()) == (buckets // 2 if bidirectional else buckets) - 1
    future = got[distance > 0]
    assert (future.diff() >= 0).all()
    if not bidirectional:
        assert not future.any()


def test_t5_bias_adds_a_weight_a_head_and_bucket() -> None:
    bias = T5Bias(3, 8, bidirectional=True)
    torch.nn.init.normal_(bias.weight)
    got = bias(torch.tensor([2, 9]), torch.arange(4))
    assert got.shape == (3, 2, 4)
    for t, query in enumerate((2, 9)):
        for key in range(4):
            bucket = int(bias.bucket(torch.tensor(key - query)))
            assert torch.equal(got[:, t, key], bias.weight[bucket])


def test_shaw_clips_and_looks_up() -> None:
    module = ShawRelative(4, 2)
    q, weights = torch.randn(2, 3, 5, 4), torch.rand(2, 3, 5, 6)
    index = module.index(torch.arange(1, 6), torch.arange(6))
    scores, mixed = module.scores(q, index), module.mix(weights, index)
    for t in range(5):
        rows = [max(-2, min(2, s - (t + 1))) + 2 for s in range(6)]
        assert index[t].tolist() == rows
        torch.testing.assert_close(scores[:, :, t], q[:, :, t] @ module.keys[rows].T)
        torch.testing.assert_close(mixed[:, :, t], weights[:, :, t] @ module.values[rows])


@pytest.mark.parametrize(("queries", "keys"), [((0, 5), (0, 5)), ((4, 5), (0, 5)), ((2, 5), (0, 5)), ((0, 2), (0, 6))])
def test_transformer_xl_scores_every_distance(queries: tuple[int, int], keys: tuple[int, int]) -> None:
    module = TransformerXLRelative(6, 3)
    torch.nn.init.normal_(module.position_bias)
    here, there = torch.arange(*queries), torch.arange(*keys)
    q = torch.randn(2, 3, len(here), 2)
    got = module.scores(q, here, there)
    for t, i in enumerate(here.tolist()):
        for s, j in enumerate(there.tolist()):
            # R of a negative distance: sin is odd, cos even
            encoding = torch.tensor(formula(i - j, 6))
            relative = (module.project.weight @ encoding).view(3, 2)
            expected = ((q[:, :, t] + module.position_bias[:, 0]) * relative).sum(-1)
            torch.testing.assert_close(got[:, :, t, s], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_transformer_xl_picks_consecutive_distances_without_an_index(size: int) -> None:
    module = TransformerXLRelative(6, 3).double()
    torch.nn.init.normal_(module.position_bias)
    q = torch.randn(2, 3, size, 2, dtype=torch.float64, requires_grad=True)
    here = torch.arange(3, 3 + size)
    inputs = [q, module.position_bias, module.project.weight]
    results = []
    for there in (here, here.clone()):
        scores = module.scores(q, here, there, 0.5)
        results.append([scores, *torch.autograd.grad(scores.square().sum(), inputs)])
    for shifted, indexed in zip(*results, strict=True):
        torch.testing.assert_close(shifted, indexed)
    torch.testing.assert_close(results[0][0], module.scores(q, here, here) / 2)


def test_transformer_xl_scores_of_interleaved_beams() -> None:
    """Keys of beams lie time-major: their positions repeat."""
    module = TransformerXLRelative(6, 3)
    q = torch.randn(2, 3, 2, 2)
    keys = torch.arange(8) // 2
    got = module.scores(q, torch.tensor([3]).expand(2), keys)
    alone = module.scores(q[:, :, :1], torch.tensor([3]), torch.arange(4))
    torch.testing.assert_close(got[:, :, :1], alone.repeat_interleave(2, dim=-1))


def test_cells_are_in_raster_order_and_class_is_none() -> None:
    raster = [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert cells((2, 3), class_token=False).tolist() == raster
    assert cells((2, 3), class_token=True).tolist() == [[-1, -1], *raster]
    assert cells((1, 1), class_token=False).tolist() == [[0, 0]]


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("combine", list(Combine))
@pytest.mark.parametrize(
    "scheme",
    [
        Positions.learned, Positions.learned_2d, Positions.sinusoidal_2d, Positions.sinusoidal,
        Positions.learnable_sinusoidal, Positions.index,
    ],
)  # fmt: skip
def test_vectors_of_a_grid(scheme: Positions, combine: Combine, class_token: bool) -> None:
    torch.manual_seed(0)
    dim, grid = 8, (2, 3)
    module = GridPositions(scheme, combine, dim, grid, class_token=class_token)
    expected = []
    if class_token:
        zeros = dict.fromkeys((Positions.sinusoidal_2d, Positions.index), torch.zeros(dim))
        first = zeros.get(scheme, torch.tensor(formula(0, dim)))
        expected.append(first if module.class_vector is None else module.class_vector)
    for row in range(2):
        for column in range(3):
            if scheme is Positions.learned:
                expected.append(module.table[row, column])
            elif scheme is Positions.learned_2d:
                expected.append(torch.cat((module.rows[row], module.columns[column])))
            elif scheme is Positions.sinusoidal_2d:
                expected.append(torch.tensor(formula(row, dim // 2) + formula(column, dim // 2)))
            elif scheme is Positions.index:
                expected.append(torch.full((dim,), float(3 * row + column + class_token)))
            else:
                expected.append(torch.tensor(formula(3 * row + column + class_token, dim)))
    x, vectors = torch.randn(2, 6 + class_token, dim), torch.stack(expected)
    if combine is Combine.add:
        torch.testing.assert_close(module(x), x + vectors)
    else:
        torch.testing.assert_close(module(x), module.project(torch.cat((x, vectors.expand_as(x)), dim=-1)))


def test_rotation_of_a_grid_turns_halves_by_row_and_column_and_class_not_at_all() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 3, 8)
    got = rotate_2d(x, torch.tensor([[-1, -1], [0, 5], [7, 2]]))
    assert torch.equal(got[:, :, 0], x[:, :, 0])
    for t, cell in ((1, (0, 5)), (2, (7, 2))):
        for half, place in enumerate(cell):
            for i in range(2):
                angle = place * 100 ** (-2 * i / 4)  # Heo et al. 2024: 100 ** (-t / (d / 4))
                pair = slice(4 * half + 2 * i, 4 * half + 2 * i + 2)
                matrix = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
                torch.testing.assert_close(got[:, :, t, pair], x[:, :, t, pair] @ matrix.T, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="divisible by 4, not 6"):
        rotate_2d(torch.randn(1, 1, 1, 6), torch.zeros(1, 2))


@pytest.mark.parametrize("class_token", [True, False])
def test_bias_of_a_grid_depends_on_the_differences_of_rows_and_columns(class_token: bool) -> None:
    torch.manual_seed(0)
    module = GridBias(2, (3, 4), class_token=class_token)
    for value in module.parameters():
        torch.nn.init.normal_(value)
    coordinates = cells((3, 4), class_token=class_token)
    got = module(coordinates, coordinates)
    assert got.shape == (2, len(coordinates), len(coordinates))
    kinds = set()
    for t, (i, j) in enumerate(coordinates.tolist()):
        for s, (k, m) in enumerate(coordinates.tolist()):
            if i < 0 or k < 0:
                expected = module.class_entries[0 if k >= 0 else 1 if i >= 0 else 2]
            else:
                expected = module.table[i - k + 2, j - m + 3]
                kinds.add((i - k, j - m))
            assert torch.equal(got[:, t, s], expected)
    assert len(kinds) == 5 * 7  # every entry of the table is of some pair


def test_tables_of_another_grid_are_interpolated() -> None:
    torch.manual_seed(0)
    table = torch.randn(3, 5, 4)
    assert resized(table, (3, 5)) is table
    got = resized(table, (6, 4))
    for number in range(4):
        channel = table[None, None, :, :, number]
        expected = F.interpolate(channel, (6, 4), mode="bicubic", align_corners=False)
        torch.testing.assert_close(got[..., number], expected[0, 0])
    line = torch.randn(5, 3)  # of rows alone: as a table whose columns are all the same
    torch.testing.assert_close(resized(line, (7,)), resized(line[:, None].expand(-1, 2, -1), (7, 2))[:, 0])
