"""Greedy and beam search with JoeyNMT, on random weights and with forced length.

Names and layout of its parameters differ, so it does not use the weights of the other programs. With forced length this
does not change the amount of work.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
from pathlib import Path

import torch
from joeynmt.batch import Batch
from joeynmt.config import parse_global_args
from joeynmt.prediction import prepare
from joeynmt.search import search
from joeynmt_job import SPECIALS, configuration, write_data
from measure import EOS, PAD, UNKNOWN, decoding_batches, decoding_result, gemm_gflops, padded, report, start

OURS = {UNKNOWN: SPECIALS["unk_id"], PAD: SPECIALS["pad_id"]}


def main() -> None:
    """Run `python joeynmt_decode.py JOB.json`."""
    job, output = start()
    job |= {"forced_length": True}
    before = gemm_gflops()
    with tempfile.TemporaryDirectory() as name:
        folder = write_data(job, Path(name), limit=100)
        (folder / "model").mkdir()
        arguments = parse_global_args(configuration(job, folder), mode="train")
        model = prepare(arguments, rank=0, mode="train")[0].eval()
    pad = SPECIALS["pad_id"]

    def decode(rows: list[int], sources: list[list[int]], least: int, most: int) -> dict[int, list[int]]:
        inputs = padded([[OURS.get(x, x) for x in [*source, EOS]] for source in sources], pad)
        batch = Batch(
            src=inputs,
            src_length=(inputs != pad).sum(1),
            src_prompt_mask=None,
            trg=None,
            trg_prompt_mask=None,
            indices=torch.arange(len(rows)),
            device=torch.device("cpu"),
            pad_index=pad,
            eos_index=EOS,
            is_train=False,
        )
        order = batch.sort_by_src_length()
        outputs, _, _ = search(
            model=model,
            batch=batch,
            beam_size=job["beam"],
            beam_alpha=1.0,
            n_best=1,
            max_output_length=most,
            min_output_length=least,
        )
        return dict(zip(rows, outputs[order].tolist(), strict=True))

    batches = list(decoding_batches(job))
    decode(batches[-1][0], batches[-1][1], 2, 2)
    result = decoding_result(job, lambda: {k: v for batch in batches for k, v in decode(*batch).items()})
    result |= {
        "gemm_gflops": [before, gemm_gflops()],
        "versions": {"joeynmt": importlib.metadata.version("joeynmt"), "torch": torch.__version__},
    }
    report(output, result)


if __name__ == "__main__":
    main()
