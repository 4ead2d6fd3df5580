"""The speed of a model on this machine, and the largest batch that it can run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from tformer_cli.analysis import throughput as analysis
from tformer_cli.draw import Bars, Curve, Curves
from tformer_cli.figures.base import Figure, Kind, Subject
from tformer_cli.inspectors.base import Load

BATCH, MOST_EXAMPLES = 8, 65_536
"""Batch size of the measurement of speed, and the largest batch that is considered."""
RATE_SECONDS, LARGEST_SECONDS = 5.0, 10.0
"""Approximate time in seconds to measure the speed, and the largest batch, of one size."""


def load_of(subject: Subject) -> Load | None:
    """Return the load of the first example that has one; None if there is none."""
    return next((example.load for example in subject.examples if example.load is not None), None)


def prepared(load: Load, batch: int, size: int) -> Callable[[], None]:
    """Make a batch of examples, and return a function that runs the model on it without gradients."""
    work = load.prepare(batch, size)

    def run() -> None:
        with torch.inference_mode():
            work()

    return run


def draw(subject: Subject) -> Iterator[Figure]:
    """Yield the examples per second, and the largest batch, against the size of the input."""
    load = load_of(subject)
    assert load is not None
    device = next(subject.model.parameters()).device
    sizes, machine = list(load.sizes), machine_name(device)
    synchronize = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    rates = []
    for size in sizes:
        subject.report(f"speed with {size:,} {load.unit} ...")
        run = prepared(load, BATCH, size)
        rates.append(analysis.throughput(run, BATCH, seconds=RATE_SECONDS, synchronize=synchronize))
    title = "examples per second"
    ranges = [(rate.slowest, rate.fastest) for rate in rates]
    picture = by_size(load, [rate.per_second for rate in rates], title, title, ranges)
    numbers = {
        "sizes": sizes, "unit": load.unit, "batch": BATCH, "machine": machine,
        "examples_per_second": [rate.per_second for rate in rates],
        "slowest": [rate.slowest for rate in rates], "fastest": [rate.fastest for rate in rates],
    }  # fmt: skip
    caption = (
        f"{machine}; batches of {BATCH}, median of up to 7 repeats; whiskers: slowest and fastest. Forward pass,"
        " float32, without gradients or search, on a batch that is ready on the device."
    )
    yield Figure("throughput-speed", title, picture, numbers, caption)
    yield from largest_figure(subject, load, device)


def largest_figure(subject: Subject, load: Load, device: torch.device) -> Iterator[Figure]:
    """Yield the largest batch of each size; nothing where the available memory is not known."""
    largest, sizes = [], list(load.sizes)
    for size in sizes:
        subject.report(f"largest batch with {size:,} {load.unit} ...")
        try:
            largest.append(
                analysis.largest_batch(
                    lambda batch, size=size: prepared(load, batch, size)(), device=device, limit=MOST_EXAMPLES,
                    seconds=LARGEST_SECONDS,
                )
            )  # fmt: skip
        except ValueError as error:  # the system does not tell its memory
            subject.report(f"largest batch: {error}")
            return
    title, batches = "largest batch", [each.batch for each in largest]
    picture = by_size(load, batches, title, "examples in a batch")
    numbers = {
        "sizes": sizes, "unit": load.unit, "batches": batches, "bounds": [each.bound for each in largest],
        "bytes_per_example": [each.bytes_per_example for each in largest],
    }  # fmt: skip
    bounds = ", ".join(dict.fromkeys(each.bound for each in largest))
    caption = (
        f"{machine_name(device)}; bound by: {bounds}. Forward pass without gradients. On a GPU larger batches are tried"
        " until one fails; on a CPU the batch is extrapolated from the memory that small ones need."
    )
    yield Figure("throughput-largest-batch", title, picture, numbers, caption)


def by_size(
    load: Load, values: Sequence[float], title: str, value_title: str, ranges: Sequence[tuple[float, float]] = ()
) -> Bars | Curves:
    """Return a curve of values by the size of the input; for a single size, a bar."""
    if len(load.sizes) == 1:
        return Bars([f"{load.sizes[0]:,} {load.unit}"], values, title, value_title, ranges)
    return Curves(
        [Curve("", load.sizes, values, ranges)], title, f"size of the input in {load.unit}", value_title,
        y_limits=(0.0,),
    )  # fmt: skip


def machine_name(device: torch.device) -> str:
    """Return the name of a device for readers."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type.upper()}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"


def missing(subject: Subject) -> str:
    """Return the reason why a subject has no such figure; empty: it has some."""
    return "" if load_of(subject) is not None else "its inputs cannot be repeated to other sizes"


KIND = Kind(
    "throughput",
    "Speed and largest batch",
    "How fast the model runs on this machine, and how many examples fit into its memory, by the size of the input. The"
    " inputs are the first example, repeated. Of images, recordings and texts that an encoder reads, the encoder is"
    " measured, and of language models the decoder, both without what follows, such as the output layer. Other programs"
    " on the machine slow it down.",
    draw,
    missing,
    explicit=True,
)
