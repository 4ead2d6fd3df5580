"""Training of BERT and GPT with Hugging Face's `Trainer`, with its defaults or with other options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hf_loop import train
from measure import BOS, EOS, MASK, PAD, UNKNOWN, Texts, gemm_gflops, report, start
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    default_data_collator,
)

Work = tuple[PreTrainedModel, list[dict[str, Any]], Callable[[list[Any]], Any]]


def tokenizer_of(shape: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Return a tokenizer for the library's collators, which need the special tokens and the size of the vocabulary."""
    special = {"pad_token": PAD, "unk_token": UNKNOWN, "cls_token": BOS, "sep_token": EOS, "mask_token": MASK}
    words = {str(index): index for index in range(shape["vocab_size"])}
    model = Tokenizer(WordLevel(words, unk_token=str(UNKNOWN)))
    return PreTrainedTokenizerFast(tokenizer_object=model, **{name: str(index) for name, index in special.items()})


def bert_config(job: dict[str, Any]) -> BertConfig:
    """Return the configuration of the job's encoder; other settings have the library's defaults."""
    shape = job["shape"]
    return BertConfig(
        vocab_size=shape["vocab_size"],
        hidden_size=shape["dim"],
        num_hidden_layers=shape["depth"],
        num_attention_heads=shape["heads"],
        intermediate_size=shape["ffn_dim"],
        max_position_embeddings=shape["max_length"],
        hidden_dropout_prob=shape["dropout"],
        attention_probs_dropout_prob=shape["dropout"],
        pad_token_id=PAD,
    )


def built(model_class: type[PreTrainedModel], config: Any, job: dict[str, Any]) -> PreTrainedModel:
    """Return a model with random weights, with the job's attention or the library's default."""
    extra = {"attn_implementation": job["attention"]} if "attention" in job else {}
    return model_class._from_config(config, **extra)


def masked_language_model(job: dict[str, Any]) -> Work:
    """Return blocks of [CLS], running text and [SEP], which the library's collator masks for each batch."""
    size = job["shape"]["max_length"]
    masks = {"attention_mask": [1] * size, "special_tokens_mask": [1, *[0] * (size - 2), 1]}
    rows = [{"input_ids": [BOS, *block, EOS], **masks} for block in Texts.load(job).blocks(size - 2)]
    collate = DataCollatorForLanguageModeling(tokenizer_of(job["shape"]))
    return built(BertForMaskedLM, bert_config(job), job), rows, collate


def text_classification(job: dict[str, Any]) -> Work:
    """Return sentences as [CLS] text [SEP] with their labels; long ones are truncated."""
    texts, size = Texts.load(job), job["shape"]["max_length"]
    rows = []
    for index, label in enumerate(texts.labels.tolist()):
        ids = [BOS, *texts.text(index)[: size - 2], EOS]
        rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "label": label})
    collate = DataCollatorWithPadding(tokenizer_of(job["shape"]))
    return built(BertForSequenceClassification, bert_config(job), job), rows, collate


def language_model(job: dict[str, Any]) -> Work:
    """Return blocks of running text, which are inputs and labels."""
    shape = job["shape"]
    config = GPT2Config(
        vocab_size=shape["vocab_size"],
        n_embd=shape["dim"],
        n_layer=shape["depth"],
        n_head=shape["heads"],
        n_inner=shape["ffn_dim"],
        n_positions=shape["max_length"],
        embd_pdrop=shape["dropout"],
        resid_pdrop=shape["dropout"],
        attn_pdrop=shape["dropout"],
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    rows = [{"input_ids": block, "labels": block} for block in Texts.load(job).blocks(shape["max_length"])]
    return built(GPT2LMHeadModel, config, job), rows, default_data_collator


def read_sizes(batch: dict[str, torch.Tensor]) -> tuple[int, int]:
    """Return the number of input tokens, without and with padding."""
    cells = batch["input_ids"].numel()
    return (int(batch["attention_mask"].sum()) if "attention_mask" in batch else cells), cells


TASKS = {
    "masked_language_model": masked_language_model,
    "text_classification": text_classification,
    "language_model": language_model,
}


def main() -> None:
    """Run `python hf_text.py JOB.json`."""
    job, output = start()
    before = gemm_gflops()
    model, rows, collate = TASKS[job["task"]](job)
    # The masking collator is faster with the mask of special tokens, which the trainer would otherwise remove.
    result = train(job, model, rows, collate, read_sizes, remove_unused_columns=False)
    report(output, result | {"gemm_gflops": [before, gemm_gflops()]})


if __name__ == "__main__":
    main()
