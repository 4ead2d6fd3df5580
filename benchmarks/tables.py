"""Medians, ranges and ratios of the runs, as a Markdown page."""

from __future__ import annotations

import statistics
from typing import Any


def number(value: float) -> str:
    """Return a number as text with three significant digits, or as an integer with separated thousands."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return median and range of a program's runs, and the speed and load of the machine."""
    rates = [run["rate"] for run in runs]
    gemm = [rate for run in runs for rate in run["gemm_gflops"]]
    busy = [run["busy_percent_before"] for run in runs if run["busy_percent_before"] is not None]
    return {
        "median": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "gemm_gflops_median": statistics.median(gemm),
        "gemm_gflops_lowest": min(gemm),
        "busy_percent_before": max(busy) if busy else None,
    }


def ratios(ours: list[dict[str, Any]], peer: list[dict[str, Any]]) -> dict[str, float]:
    """Return the ratio of the medians of tformer and a peer, and the range of the ratios of consecutive runs."""
    pairs = [run["rate"] / peer_run["rate"] for run, peer_run in zip(ours, peer, strict=False)]
    medians = statistics.median(r["rate"] for r in ours) / statistics.median(r["rate"] for r in peer)
    return {"of_medians": medians, "lowest_pair": min(pairs), "highest_pair": max(pairs)}


def _row(program: dict[str, Any]) -> str:
    rates, ratio = program["summary"], program.get("ratio")
    shown = "-"
    if ratio:
        shown = f"{ratio['of_medians']:.2f} ({ratio['lowest_pair']:.2f}-{ratio['highest_pair']:.2f})"
    goal = f"{program['goal']:g}" if program["goal"] else "-"
    busy = rates["busy_percent_before"]
    cells = (
        program["name"],
        f"**{number(rates['median'])}**",
        f"{number(rates['lowest'])}-{number(rates['highest'])}",
        shown,
        goal,
        f"{rates['gemm_gflops_median']:.0f} ({rates['gemm_gflops_lowest']:.0f})",
        "-" if busy is None else f"{busy:.0f} %",
    )
    return "| " + " | ".join(cells) + " |"


def _note(program: dict[str, Any]) -> str:
    """Return a note on a program's batches and loss, or on its outputs."""
    run = program["runs"][-1]
    if "padding_percent" in run:
        (shown, loss), counted = run["loss_curve"][-1], run["unit"].removesuffix("/s")
        parts = [f"{run['tokens_per_step']:.0f} {counted} per step"]
        if counted != "images":
            parts.append(f"padding {run['padding_percent']:.1f} %")
        elif "data_wait_percent" in run:
            parts.append(f"waits for data {run['data_wait_percent']:.2f} % of the time")
        return f"- {program['name']}: {', '.join(parts)}, loss {loss:.2f} at {shown:,} {counted.split()[-1]}."
    if "same_as_hf_percent" in program:
        return (
            f"- {program['name']}: {run['tokens_per_sentence']:.1f} tokens per sentence; "
            f"{program['same_as_hf_percent']:.1f} % of its outputs equal those of HF generate."
        )
    return ""


def parameters(item: dict[str, Any]) -> dict[str, int]:
    """Return the number of trained parameters by program, for programs that report it."""
    counts = {}
    for program in item["programs"]:
        run = [program.get("probe", {}), *program.get("runs", [])][-1]
        if "parameters" in run:
            counts[program["name"]] = run["parameters"]
    return counts


def mean_loss(curve: list[tuple[int, float]], start: float, stop: float) -> float:
    """Return the mean loss from `start` to `stop` tokens.

    Args:
        curve: pairs of trained tokens and the mean loss since the previous pair, see `TrainingClock.result`.
        start: number of tokens at the beginning.
        stop: number of tokens at the end, at most the last number of the curve.
    """
    total = before = 0.0
    for tokens, loss in curve:
        total += loss * max(0.0, min(tokens, stop) - max(before, start))
        before = tokens
    return total / (stop - start)


def _likeness(item: dict[str, Any], programs: list[dict[str, Any]]) -> list[str]:
    """Return lines that compare the models of the programs: numbers of parameters, and losses at equal tokens."""
    lines, counts = [], parameters(item)
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        lines.append(f"- **The programs train different numbers of parameters**: {listed}.")
    elif counts:
        lines.append(f"- Each program trains {next(iter(counts.values())):,} parameters.")
    last = {program["name"]: program["runs"][-1] for program in programs}
    if all("first_loss" in run for run in last.values()):
        tokens = min(run["loss_curve"][-1][0] for run in last.values())
        counted = item.get("job", {}).get("counted", "tokens").split()[-1]
        first, after = (
            ", ".join(f"{name} {loss:.2f}" for name, loss in losses)
            for losses in (
                [(name, run["first_loss"]) for name, run in last.items()],
                [(name, mean_loss(run["loss_curve"], tokens / 2, tokens)) for name, run in last.items()],
            )
        )
        lines.append(
            f"- Loss of the first step: {first}; mean of the second half of {tokens:,} {counted}, "
            f"the number that all have reached: {after}."
        )
    return lines


def _data(item: dict[str, Any]) -> str:
    """Return a description of the data of an item."""
    facts = item["data"]
    if "batch_images" in item["job"]:
        part = facts[item["job"]["rows"]]
        return (
            f"Data: {part['train']:,} images of {facts['name']} for training, {part['validation']:,} for validation, "
            f"{part['size']} x {part['size']}, {part['labels']:,} labels."
        )
    if "batch_seconds" in item["job"]:
        part = facts[item["job"]["rows"]]
        return (
            f"Data: {part['utterances']:,} {item['job']['rows']} of {facts['name'].replace('_', ' ')}, each of 1 to "
            f"{part['most_numbers']} (equally likely), {part['seconds']['least']:.1f} to {part['seconds']['most']:.1f} "
            f"seconds, {part['seconds']['mean']:.1f} on average; vocabulary of {facts['vocab_size']:,} characters."
        )
    if "rows" in item["job"]:
        rows = item["job"]["rows"]
        part = f"{rows[:-1] if facts[rows]['texts'] == 1 else rows} of {facts['name']}"
        return (
            f"Data: {facts[rows]['texts']:,} {part}, {number(facts[rows]['mean_tokens'])} tokens on average, "
            f"vocabulary of {facts['vocab_size']:,}."
        )
    return (
        f"Data: {facts['train_pairs']:,} pairs, {facts['train_source_mean_tokens']} and "
        f"{facts['train_target_mean_tokens']} tokens on average, joint vocabulary of {facts['vocab_size']:,}."
    )


def item_lines(item: dict[str, Any]) -> list[str]:
    """Return an item as a heading, a table and notes."""
    programs = [program for program in item["programs"] if program.get("runs")]
    if not programs:
        return []
    lines = [f"## {item['title']}", "", item["rule"], "", _data(item), ""]
    unit = programs[0]["runs"][0]["unit"]
    head = f"program | {unit}, median | range | ratio of tformer (pairs) | goal | GEMM GFLOP/s (lowest) | other load"
    lines += [f"| {head} |", "|" + " --- |" * 7, *map(_row, programs), ""]
    lines += [note for note in map(_note, programs) if note]
    compared = [program for program in programs if program.get("against")]
    lines += [f"- {program['name']} is compared with {program['against']}." for program in compared]
    lines += _likeness(item, programs)
    probed = [program for program in item["programs"] if "probe" in program]
    if probed:
        lines.append(
            "- Variants that ran once, of which the fastest is measured above: "
            + "; ".join(f"{program['name']} {number(program['probe']['rate'])}" for program in probed)
            + "."
        )
    lines += [f"- {program['name']}: failed: {program['error']}" for program in item["programs"] if "error" in program]
    return [*lines, ""]


def page(result: dict[str, Any]) -> str:
    """Return the page of all results."""
    machine = result["machine"]
    versions = {}
    for item in result["items"]:
        for program in item["programs"]:
            for run in program.get("runs", []):
                versions |= run.get("versions", {})
    lines = [
        f"# {result['name']}, {result['date']}",
        "",
        f"{machine['processor']}, {machine['cores']} cores, {machine.get('memory_gib', '?')} GiB, "
        f"instructions {', '.join(machine.get('instructions', [])) or 'unknown'}; computed on the CPU; "
        f"{result['threads']} threads; {result['repeats']} runs each, alternating; "
        f"tformer at {result['revision'] or 'an unknown commit'}.",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) + ".",
        "",
        f"Command: `{result['command']}`",
        "",
    ]
    for item in result["items"]:
        lines += item_lines(item)
    return "\n".join(lines)
