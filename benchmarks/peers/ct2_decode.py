"""Greedy and beam search with CTranslate2, on the same weights as Hugging Face's `generate`."""

from __future__ import annotations

import shutil
from pathlib import Path

import ctranslate2
import torch
from ctranslate2.converters import transformers as converters
from measure import BOS, EOS, PAD, UNKNOWN, decoding_batches, decoding_result, gemm_gflops, report, start
from transformers import AutoModelForSeq2SeqLM, PreTrainedModel

FORMAT = 2  # of the conversion below; raise it to convert again
NAMES = {PAD: "<pad>", UNKNOWN: "<unk>", BOS: "<s>", EOS: "</s>"}


class PlainLoader(converters.BartLoader):
    """A loader of Marian (post-norm) and Pegasus (pre-norm) models for CTranslate2, without changes to the vocabulary.

    CTranslate2's loader of Marian models removes the last row of the vocabulary (in other models the padding that
    Transformers adds) and starts the decoder from a zero vector. Here padding is row 0, every row is a token, and the
    decoder starts from the embedding of a token, as in Hugging Face's implementation.
    """

    def get_model_spec(self, model: PreTrainedModel) -> object:
        """Return the specification as for BART, with the normalisation at the position of the model."""
        model.config.normalize_before = model.config.model_type == "pegasus"
        model.config.normalize_embedding = False
        return super().get_model_spec(model)

    def get_vocabulary(self, model: PreTrainedModel, tokenizer: None) -> list[str]:
        """Return a vocabulary of ids as text; special tokens have their names."""
        return [NAMES.get(index, str(index)) for index in range(model.config.vocab_size)]

    def set_config(self, config: object, model: PreTrainedModel, tokenizer: None) -> None:
        """Set the special tokens by their ids in the model's configuration."""
        start_id = model.config.decoder_start_token_id
        config.bos_token, config.eos_token, config.unk_token = NAMES[BOS], NAMES[EOS], NAMES[UNKNOWN]
        config.decoder_start_token = NAMES.get(start_id, str(start_id))


class Converter(converters.TransformersConverter):
    """A converter of weights without a tokenizer, since sentences are ids."""

    def _load(self) -> object:
        with torch.no_grad():
            model = AutoModelForSeq2SeqLM.from_pretrained(self._model_name_or_path, dtype=torch.float32)
            return PlainLoader()(model, None)


def converted(weights: str) -> str:
    """Return the folder of the converted model, which is written once to the folder of the weights."""
    folder = Path(weights) / "ctranslate2"
    mark = folder / f"format-{FORMAT}"
    source = Path(weights) / "model.safetensors"
    if not mark.exists() or mark.stat().st_mtime < source.stat().st_mtime:
        shutil.rmtree(folder, ignore_errors=True)
        Converter(weights).convert(str(folder))
        mark.touch()
    return str(folder)


def main() -> None:
    """Run `python ct2_decode.py JOB.json`; precision is the `compute_type`, workers are the `inter_threads`."""
    job, output = start()
    before = gemm_gflops()
    workers = job.get("workers", 1)
    translator = ctranslate2.Translator(
        converted(job["weights"]),
        device="cpu",
        compute_type=job["precision"],
        inter_threads=workers,
        intra_threads=max(1, job["threads"] // workers),
    )
    batches = list(decoding_batches(job))

    def send(sources: list[list[int]], least: int, most: int) -> list:
        return translator.translate_batch(
            [[*(NAMES.get(x, str(x)) for x in source), NAMES[EOS]] for source in sources],
            beam_size=job["beam"],
            length_penalty=1,
            min_decoding_length=least,
            max_decoding_length=most,
            max_input_length=0,
            asynchronous=True,
        )

    for pending in send(batches[-1][1], 2, 2):
        pending.result()
    ids = {name: index for index, name in NAMES.items()}

    def decode() -> dict[int, list[int]]:
        sent = [(rows, send(sources, least, most)) for rows, sources, least, most in batches]
        return {
            row: [ids[x] if x in ids else int(x) for x in future.result().hypotheses[0]]
            for rows, pending in sent
            for row, future in zip(rows, pending, strict=True)
        }

    result = decoding_result(job, decode)
    result |= {
        "gemm_gflops": [before, gemm_gflops()],
        "compute_type": translator.compute_type,
        "versions": {"ctranslate2": ctranslate2.__version__},
    }
    report(output, result)


if __name__ == "__main__":
    main()
