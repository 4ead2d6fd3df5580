"""Measurements of tformer and its peers on the same work, in turns: `python benchmarks/run.py --help`.

Each run is a process, which reads a JSON job and prints a line of JSON. The programs run in turn, so that a temporary
slowdown of the machine affects all of them. All results are written to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import corpora
import environments
import machine
import tables
from corpora import HERE, ROOT, WORK
from items import Item, Program, all_items


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    names = [item.name for item in all_items()]
    parser = argparse.ArgumentParser(description="Measure tformer and its peers on the same work, in turns.")
    parser.add_argument("--items", default=",".join(names), help="comma-separated; all: %(default)s")
    parser.add_argument(
        "--programs", default="", help="only programs whose names contain one of these, comma-separated"
    )
    parser.add_argument("--repeats", type=int, default=5, help="runs of each program (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=30, help="training time of a run (default %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=machine.cores(), help="threads per program (default %(default)s)"
    )
    corpora.add_options(parser)
    parser.add_argument("--source", default="en", help="source language (default %(default)s)")
    parser.add_argument("--target", default="de", help="target language (default %(default)s)")
    parser.add_argument("--vocab-size", type=int, default=10_000, help="joint vocabulary size (default %(default)s)")
    parser.add_argument("--weights-tiny", type=Path, help="folder of `tformer export`; default: random weights")
    parser.add_argument("--weights-base", type=Path, help="as --weights-tiny, for the base size")
    parser.add_argument("--name", default="benchmark", help="name of the results, after the date (default %(default)s)")
    parser.add_argument(
        "--setup-only", action="store_true", help="install the peers and prepare the data, measure nothing"
    )
    return parser.parse_args()


def start(program: Program, job: dict[str, Any]) -> dict[str, Any]:
    """Run a program once.

    Returns:
        Its results, and the load of the machine by other processes before it; `{"error": ...}` if it failed.
    """
    busy = machine.busy_percent()
    threads = str(job["threads"])
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",  # all programs compute on the CPU
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False, encoding="utf-8") as file:
        json.dump(job, file)
    try:
        command = [environments.python_of(program.environment), HERE / program.script, file.name]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=3600)
    finally:
        Path(file.name).unlink()
    if done.returncode:
        lines = [line for line in done.stderr.split("\n") if line.strip()]
        return {
            "error": lines[-1] if lines else f"exit status {done.returncode}",
            "stderr": done.stderr[-4000:],
        }
    return {**json.loads(done.stdout), "busy_percent_before": busy}


def job_of(item: Item, program: Program, common: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return the job of a program."""
    job = {**item.job, **common, **program.options}
    if "vocab_size" in common:
        job["shape"] = {**item.job["shape"], "vocab_size": common["vocab_size"]}
    job["seconds"] = options.seconds * job.pop("seconds_factor")
    return job


def choose(item: Item, common: dict[str, Any], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Run each variant of each choice once for half of the time, and keep only the fastest of each choice.

    Returns:
        The results by program.
    """
    probes: dict[str, dict[str, Any]] = {}
    for choice in dict.fromkeys(program.choice for program in item.programs if program.choice):
        variants = [program for program in item.programs if program.choice == choice]
        if len(variants) < 2:
            continue
        for program in variants:
            job = job_of(item, program, common, options)
            probes[program.name] = start(program, {**job, "seconds": job["seconds"] / 2})
            print_run(item, program, probes[program.name], "tried")
        best = max(variants, key=lambda program: probes[program.name].get("rate", 0.0))
        item.programs = [program for program in item.programs if program.choice != choice or program is best]
    return probes


def print_run(item: Item, program: Program, run: dict[str, Any], label: str) -> None:
    """Print a line about a run."""
    outcome = run["error"] if "error" in run else f"{tables.number(run['rate'])} {run['unit']}"
    print(f"{item.name}  {label}  {program.name}: {outcome}", flush=True)


def agreement(path: Path, reference: Path, forced: bool) -> float:
    """Return the share of sentences, in percent, for which two decoders have the same output.

    With forced length the last token is ignored, since the length may or may not include the end of the output.
    """
    outputs, references = (json.loads(p.read_text(encoding="utf-8")) for p in (path, reference))
    if forced:
        ends = {row: min(len(outputs[row]), len(references[row])) for row in references}
        outputs, references = ({row: part[row][: ends[row]] for row in ends} for part in (outputs, references))
    return 100 * sum(outputs[row] == references[row] for row in references) / len(references)


def measure(item: Item, common: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Measure an item: all programs run in turn, `--repeats` times."""
    all_programs = list(item.programs)
    probes = choose(item, common, options)
    runs: dict[str, list[dict[str, Any]]] = {program.name: [] for program in item.programs}
    failures = {name: probe for name, probe in probes.items() if "error" in probe}
    for repeat in range(options.repeats):
        for index, program in enumerate(item.programs):
            if program.name in failures:
                continue
            job = job_of(item, program, common, options)
            if item.job["kind"] == "decode":
                job["outputs"] = str(WORK / f"outputs-{index}.json")
            run = start(program, job)
            print_run(item, program, run, f"run {repeat + 1}/{options.repeats}")
            if "error" in run:
                failures[program.name] = run
            else:
                runs[program.name].append(run)
    return {"programs": collect(item, all_programs, runs, probes, failures)}


def collect(
    item: Item,
    programs: list[Program],
    runs: dict[str, list[dict[str, Any]]],
    probes: dict[str, dict[str, Any]],
    failures: dict[str, dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return the record of each program for the results."""
    ours = {p.name: runs[p.name] for p in item.programs if p.script == "ours.py"}
    first = next(iter(ours.values()), [])
    reference = next((i for i, p in enumerate(item.programs) if p.script.endswith("hf_decode.py")), None)
    entries = []
    for program in programs:
        entry: dict[str, Any] = {"name": program.name, "options": program.options, "goal": program.goal}
        program_runs = runs.get(program.name, [])
        if program.name in probes and "rate" in probes[program.name]:
            entry["probe"] = probes[program.name]
        if program.name in failures:
            entry |= failures[program.name]
        if program_runs:
            entry |= {"runs": program_runs, "summary": tables.summary(program_runs)}
            compared = ours.get(program.against, first)
            if compared and program.script != "ours.py":
                entry["ratio"] = tables.ratios(compared, program_runs)
                entry["against"] = program.against
            if item.job["kind"] == "decode" and reference is not None and program.environment != "joeynmt":
                paths = (WORK / f"outputs-{i}.json" for i in (item.programs.index(program), reference))
                entry["same_as_hf_percent"] = agreement(*paths, item.job["forced_length"])
        entries.append(entry)
    return entries


def rule(item: Item, trained: bool) -> str:
    """Return a description of what is measured, in one or two sentences."""
    job = item.job
    if job["kind"] == "train":
        counted = {
            "target tokens": "Target tokens that are not padding, EOS included,",
            "tokens": "Tokens that the model reads, without padding, special tokens included,",
            "images": f"Images, {job.get('batch_images')} in a batch,",
            "utterance-seconds": "Seconds of audio without padding, in batches of at most "
            f"{job.get('batch_seconds', 0):g} with padding (random batches: {job.get('batch_utterances')} utterances),",
        }
        return (
            f"{counted[job['counted']]} per second of wall time, "
            f"after {job['warm_up']} steps of warm-up; forward, backward, clipping and AdamW, data included."
        )
    if job["kind"] == "infer":
        return (
            f"Images per second of wall time, {job['batch_images']} in a batch; complete passes over the validation "
            "split: from bytes to scores, loss, and the ranks of the correct labels."
        )
    length = (
        "each search ends by itself, or after 1.5 times the batch's longest source + 20 tokens"
        if trained
        else "random weights, every output exactly as long as its batch's longest source"
    )
    return (
        f"Sentences per second of wall time; {job['sentences']} test sentences sorted by length, "
        f"{job['batch']} in a batch; {length}; length penalty 1."
    )


def weights_of(size: str, options: argparse.Namespace, common: dict[str, Any], shape: dict[str, Any]) -> Path:
    """Return the weights that all decoders read: those of the user, or random ones, which are written once."""
    folder = getattr(options, f"weights_{size}")
    if folder:
        return folder.resolve()
    folder = WORK / f"weights-{size}-{common['vocab_size']}"
    if not (folder / "model.safetensors").exists():
        job = {**common, "kind": "weights", "shape": shape, "weights": str(folder)}
        outcome = start(Program("random weights", "ours", "ours.py"), job)
        if "error" in outcome:
            raise SystemExit(f"error: no random weights could be written: {outcome['error']}")
    return folder


def run_item(item: Item, options: argparse.Namespace) -> dict[str, Any]:
    """Prepare and measure one item."""
    size = item.name.split("-")[1]
    decode = item.job["kind"] == "decode"
    weights = getattr(options, f"weights_{size}") if decode else None
    folder, facts = corpora.prepare(item.data, options, weights)
    common = {
        "data": str(folder / "data.npz"),
        "threads": options.threads,
        "seed": 1,
        "work": str(WORK),
    }
    if "vocab_size" in facts:
        common |= {"tokenizer": str(folder / "tokenizer.model"), "vocab_size": facts["vocab_size"]}
    if "rows" in item.job:
        common["corpus"] = str(folder / item.job["rows"])
    else:
        common |= {"corpus": str(corpora.folder_of(item.data, options)), "languages": facts["languages"]}
    if decode:
        shape = {**item.job["shape"], "vocab_size": common["vocab_size"]}
        common["weights"] = str(weights_of(size, options, common, shape))
        item.job["forced_length"] = not weights
    names = [part.strip().lower() for part in options.programs.split(",") if part.strip()]
    item.programs = [p for p in item.programs if not names or any(part in p.name.lower() for part in names)]
    entry = {
        "name": item.name,
        "title": item.title,
        "rule": rule(item, bool(weights)),
        "data": facts,
        "job": {**item.job, **common},
    }
    return entry | measure(item, common, options)


def main() -> None:
    """Install the peers, prepare the data and measure; results are written after each item."""
    options = arguments()
    items_by_name = {item.name: item for item in all_items()}
    names = [name.strip() for name in options.items.split(",")]
    unknown_names = [name for name in names if name not in items_by_name]
    if unknown_names:
        raise SystemExit(f"error: --items {unknown_names[0]}: there are {', '.join(items_by_name)}")
    items = [items_by_name[name] for name in names]
    folders = {item.data: corpora.folder_of(item.data, options) for item in items}
    for name in environments.PEERS:
        if any(program.environment == name for item in items for program in item.programs):
            environments.install(name)
    WORK.mkdir(exist_ok=True)
    if options.setup_only:
        for name in folders:
            corpora.prepare(name, options)
        return
    result: dict[str, Any] = {
        "name": options.name,
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", "benchmarks/run.py", *sys.argv[1:]]),
        "revision": machine.revision(ROOT),
        "machine": machine.describe(),
        "threads": options.threads,
        "repeats": options.repeats,
        "items": [],
    }
    target = HERE / "results" / f"{result['date']}-{options.name}"
    target.parent.mkdir(exist_ok=True)
    for item in items:
        result["items"].append(run_item(item, options))
        text = json.dumps(result, indent=1).replace(str(ROOT), ".")
        for folder in folders.values():
            text = text.replace(str(folder), folder.name)
        target.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
        target.with_suffix(".md").write_text(tables.page(result), encoding="utf-8")
    print(f"written: {target}.json and .md", flush=True)
    uneven = [item["name"] for item in result["items"] if len(set(tables.parameters(item).values())) > 1]
    if uneven:
        raise SystemExit(f"error: {', '.join(uneven)}: the programs train different numbers of parameters")


if __name__ == "__main__":
    main()
