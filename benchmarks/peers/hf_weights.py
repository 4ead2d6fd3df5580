"""Writes random weights of the job's shape as a Hugging Face model folder, for every decoder to read."""

from __future__ import annotations

from hf_model import build
from measure import report, start


def main() -> None:
    """`python hf_weights.py JOB.json`."""
    job, output = start()
    model = build(job["shape"])
    model.save_pretrained(job["weights"])
    report(output, {"weights": job["weights"], "parameters": sum(p.numel() for p in model.parameters())})


if __name__ == "__main__":
    main()
