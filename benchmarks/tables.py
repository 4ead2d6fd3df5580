"""Medians, spreads and ratios of the raw runs, as a Markdown page."""

from __future__ import annotations

import statistics
from typing import Any


def number(value: float) -> str:
    """Three significant digits or whole numbers, with thousands set apart."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Median and range of a program's runs, and how well the machine did meanwhile."""
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
    """Ours over a peer: of the medians, and the least and most of the pairs that ran one after the other."""
    pairs = [mine["rate"] / theirs["rate"] for mine, theirs in zip(ours, peer, strict=False)]
    medians = statistics.median(r["rate"] for r in ours) / statistics.median(r["rate"] for r in peer)
    return {"of_medians": medians, "lowest_pair": min(pairs), "highest_pair": max(pairs)}


def _row(program: dict[str, Any]) -> str:
    found, ratio = program["summary"], program.get("ratio")
    shown = "-"
    if ratio:
        shown = f"{ratio['of_medians']:.2f} ({ratio['lowest_pair']:.2f}-{ratio['highest_pair']:.2f})"
    goal = f"{program['goal']:g}" if program["goal"] else "-"
    busy = found["busy_percent_before"]
    cells = (
        program["name"],
        f"**{number(found['median'])}**",
        f"{number(found['lowest'])}-{number(found['highest'])}",
        shown,
        goal,
        f"{found['gemm_gflops_median']:.0f} ({found['gemm_gflops_lowest']:.0f})",
        "-" if busy is None else f"{busy:.0f} %",
    )
    return "| " + " | ".join(cells) + " |"


def _note(program: dict[str, Any]) -> str:
    """What else must be known of a program's work."""
    run = program["runs"][-1]
    if "padding_percent" in run:
        (shown, loss), counted = run["loss_curve"][-1], run["unit"].removesuffix("/s")
        parts = [f"{run['tokens_per_step']:.0f} {counted} a step"]
        if counted != "images":
            parts.append(f"padding {run['padding_percent']:.1f} %")
        elif "data_wait_percent" in run:
            parts.append(f"waits for data {run['data_wait_percent']:.2f} % of the time")
        return f"- {program['name']}: {', '.join(parts)}, loss {loss:.2f} at {shown:,} {counted.split()[-1]}."
    if "same_as_hf_percent" in program:
        return (
            f"- {program['name']}: {run['tokens_per_sentence']:.1f} tokens a sentence; "
            f"{program['same_as_hf_percent']:.1f} % of its outputs are HF generate's."
        )
    return ""


def parameters(item: dict[str, Any]) -> dict[str, int]:
    """How many parameters each program trains, by its name; of those that say it."""
    found = {}
    for program in item["programs"]:
        run = [program.get("probe", {}), *program.get("runs", [])][-1]
        if "parameters" in run:
            found[program["name"]] = run["parameters"]
    return found


def mean_loss(curve: list[tuple[int, float]], start: float, stop: float) -> float:
    """The mean loss from `start` to `stop` tokens.

    Args:
        curve: (tokens seen, mean loss since the point before), as `TrainingClock.result` gives it.
        start: tokens seen before the stretch.
        stop: tokens seen at its end, no more than the curve has.
    """
    total = before = 0.0
    for seen, loss in curve:
        total += loss * max(0.0, min(seen, stop) - max(before, start))
        before = seen
    return total / (stop - start)


def _likeness(item: dict[str, Any], programs: list[dict[str, Any]]) -> list[str]:
    """Whether the programs train the same model: as many parameters, and about the same loss at equal tokens."""
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
            f"the most that all have seen: {after}."
        )
    return lines


def _data(item: dict[str, Any]) -> str:
    """What the item's programs read."""
    facts = item["data"]
    if "batch_images" in item["job"]:
        kind = facts[item["job"]["rows"]]
        return (
            f"Data: {kind['train']:,} pictures of {facts['name']} to train, {kind['validation']:,} to validate, "
            f"{kind['size']} x {kind['size']}, {kind['labels']:,} labels."
        )
    if "batch_seconds" in item["job"]:
        kind = facts[item["job"]["rows"]]
        return (
            f"Data: {kind['utterances']:,} {item['job']['rows']} of {facts['name'].replace('_', ' ')}, each of 1 to "
            f"{kind['most_numbers']} (all as likely), {kind['seconds']['least']:.1f} to {kind['seconds']['most']:.1f} "
            f"seconds, {kind['seconds']['mean']:.1f} on average; vocabulary of {facts['vocab_size']:,} characters."
        )
    if "rows" in item["job"]:
        rows = item["job"]["rows"]
        kind = f"{rows[:-1] if facts[rows]['texts'] == 1 else rows} of {facts['name']}"
        return (
            f"Data: {facts[rows]['texts']:,} {kind}, {number(facts[rows]['mean_tokens'])} tokens on average, "
            f"vocabulary of {facts['vocab_size']:,}."
        )
    return (
        f"Data: {facts['train_pairs']:,} pairs, {facts['train_source_mean_tokens']} and "
        f"{facts['train_target_mean_tokens']} tokens on average, joint vocabulary of {facts['vocab_size']:,}."
    )


def item_lines(item: dict[str, Any]) -> list[str]:
    """One item as a heading, a table and what else must be said."""
    programs = [program for program in item["programs"] if program.get("runs")]
    if not programs:
        return []
    lines = [f"## {item['title']}", "", item["rule"], "", _data(item), ""]
    unit = programs[0]["runs"][0]["unit"]
    head = f"program | {unit}, median | range | ours / it (pairs) | goal | GEMM GFLOP/s (lowest) | others busy"
    lines += [f"| {head} |", "|" + " --- |" * 7, *map(_row, programs), ""]
    lines += [note for note in map(_note, programs) if note]
    others = [program for program in programs if program.get("against")]
    lines += [f"- {program['name']} is compared with {program['against']}." for program in others]
    lines += _likeness(item, programs)
    probed = [program for program in item["programs"] if "probe" in program]
    if probed:
        lines.append(
            "- Variants tried once, the fastest of each kind measured above: "
            + "; ".join(f"{program['name']} {number(program['probe']['rate'])}" for program in probed)
            + "."
        )
    lines += [f"- {program['name']}: failed: {program['error']}" for program in item["programs"] if "error" in program]
    return [*lines, ""]


def page(result: dict[str, Any]) -> str:
    """The whole result."""
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
        f"instructions {', '.join(machine.get('instructions', [])) or 'unknown'}; "
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
