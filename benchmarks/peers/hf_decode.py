"""Greedy and beam search with Hugging Face's `generate`."""

from __future__ import annotations

import torch
import transformers
from measure import EOS, PAD, decoding_batches, decoding_result, gemm_gflops, padded, report, start
from transformers import AutoModelForSeq2SeqLM, GenerationConfig


def main() -> None:
    """Run `python hf_decode.py JOB.json`."""
    job, output = start()
    before = gemm_gflops()
    dtype = torch.bfloat16 if job["precision"] == "bf16" else torch.float32
    model = AutoModelForSeq2SeqLM.from_pretrained(job["weights"], dtype=dtype).eval()
    # The library's default settings, and not those of the model's folder: suppressed tokens would take time.
    model.generation_config = GenerationConfig(
        pad_token_id=PAD, eos_token_id=EOS, decoder_start_token_id=model.config.decoder_start_token_id
    )
    batches = list(decoding_batches(job))

    def decode(rows: list[int], sources: list[list[int]], least: int, most: int) -> dict[int, list[int]]:
        inputs = padded([[*source, EOS] for source in sources], PAD)
        lengths = {"max_new_tokens": most} | ({"min_new_tokens": least} if least else {})
        with torch.inference_mode():
            ids = model.generate(
                input_ids=inputs,
                attention_mask=(inputs != PAD).long(),
                num_beams=job["beam"],
                do_sample=False,
                length_penalty=1.0,
                **lengths,
            )
        return dict(zip(rows, ids[:, 1:].tolist(), strict=True))

    decode(batches[-1][0], batches[-1][1], 2, 2)
    result = decoding_result(job, lambda: {k: v for batch in batches for k, v in decode(*batch).items()})
    result |= {
        "gemm_gflops": [before, gemm_gflops()],
        "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
    }
    report(output, result)


if __name__ == "__main__":
    main()
