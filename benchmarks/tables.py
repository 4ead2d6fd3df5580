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
        tokens, loss = run["loss_curve"][-1]
        return (
            f"- {program['name']}: {run['tokens_per_step']:.0f} target tokens a step, "
            f"padding {run['padding_percent']:.1f} %, loss {loss:.2f} at {tokens:,} tokens."
        )
    if "same_as_hf_percent" in program:
        return (
            f"- {program['name']}: {run['tokens_per_sentence']:.1f} tokens a sentence; "
            f"{program['same_as_hf_percent']:.1f} % of its outputs are HF generate's."
        )
    return ""


def item_lines(item: dict[str, Any]) -> list[str]:
    """One item as a heading, a table and what else must be said."""
    programs = [program for program in item["programs"] if program.get("runs")]
    if not programs:
        return []
    lines = [f"## {item['title']}", "", item["rule"], ""]
    unit = programs[0]["runs"][0]["unit"]
    head = f"program | {unit}, median | range | ours / it (pairs) | goal | GEMM GFLOP/s (lowest) | others busy"
    lines += [f"| {head} |", "|" + " --- |" * 7, *map(_row, programs), ""]
    lines += [note for note in map(_note, programs) if note]
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
    machine, data = result["machine"], result["data"]
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
        f"Data: {data['train_pairs']:,} pairs, {data['train_source_mean_tokens']} and "
        f"{data['train_target_mean_tokens']} tokens on average, joint vocabulary of {data['vocab_size']:,}.",
        "",
        f"Command: `{result['command']}`",
        "",
    ]
    for item in result["items"]:
        lines += item_lines(item)
    return "\n".join(lines)
