"""The gate that every model passes on its way to, and from, another library: a rule for each setting.

The outputs of a model depend on its weights and on its settings. A setting that is lost on the way changes them
without an error, so each one is declared: `carried` (it has a counterpart), `irrelevant` (the outputs do not depend on
it), or `only` some of its values pass. A model with a setting that no rule names does not pass; the tests compare the
rules with the fields of our configurations and of theirs.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from tformer_cli.config.schema import Combine
from tformer_cli.errors import ConfigError

Say = Callable[[str], None]
"""Takes a line that the user must see."""


def warn(line: str) -> None:
    """Give a line to whoever calls the Python functions; the command line prints it instead."""
    warnings.warn(line, stacklevel=2)


@dataclasses.dataclass(frozen=True)
class Rule:
    """What happens to one setting on the way.

    Attributes:
        kind: carried, irrelevant or only.
        about: its name there; why it is irrelevant; or what the other side has in its place.
        values: those that pass; None: all.
    """

    kind: str
    about: str
    values: tuple[Any, ...] | None = None

    def allows(self, value: Any) -> bool:
        """Whether the setting may have this value."""
        return self.values is None or any(value is one or value == one for one in self.values)


Rules = Mapping[str, Rule]


def carried(name: str = "", values: Collection[Any] | None = None) -> Rule:
    """Declare a setting that the other side has too.

    Args:
        name: what it is called there, or where it stands; of a setting with `values`: what the other side has.
        values: those with a counterpart; None: all.
    """
    return Rule("carried", name, None if values is None else tuple(values))


def irrelevant(why: str) -> Rule:
    """Declare a setting on which the outputs in use do not depend."""
    return Rule("irrelevant", why)


def only(values: Collection[Any], what: str) -> Rule:
    """Declare a setting of which only these values have the same meaning on the other side.

    Args:
        values: those that pass.
        what: what the other side has or does: it ends the error's sentence.
    """
    return Rule("only", what, tuple(values))


TRAINING = irrelevant("acts in training alone")
HERE = irrelevant("says how this program computes, not what")

CORE: Rules = {
    "family": irrelevant("names the architecture"),
    "dim": carried("width"),
    "heads": carried("heads"),
    "ffn_dim": carried("inner width"),
    "combine": only({Combine.add}, "adds positions to embeddings"),
    "bias": only({True}, "has a bias in every layer"),
    "dropout": TRAINING,
    "attention_dropout": TRAINING,
    "ffn_dropout": TRAINING,
    "stochastic_depth": TRAINING,
    "layer_scale": only({0.0}, "has no factors of a sub-layer's output"),
    "relative_distance": irrelevant("belongs to positions that do not pass"),
}
"""Of `TransformerConfig`; norm, activation, positions and norm_eps are each architecture's own."""


def check_export(config: Any, rules: Rules, target: str, prefix: str = "model.") -> None:
    """Refuse a configuration with a setting that the target does not have.

    Args:
        config: a dataclass of the schema.
        rules: one for each of its fields.
        target: what an error calls the other side.
        prefix: of the settings' names on the command line.

    Raises:
        ConfigError: naming the first setting that does not pass, or that has no rule.
    """
    for field in dataclasses.fields(config):
        value, rule = getattr(config, field.name), rules.get(field.name)
        shown = getattr(value, "name", str(value).lower())
        if rule is None:
            raise ConfigError(f"{prefix}{field.name}: {shown} cannot be exported: {target} is not known to have it")
        if not rule.allows(value):
            raise ConfigError(f"{prefix}{field.name}: {shown} cannot be exported: {target} {rule.about}")


EMPTY = (None, False, 0, "", [], {})
"""Values by which a setting is usually off."""


def check_import(found: Mapping[str, Any], rules: Rules, where: str, say: Say | None = warn) -> None:
    """Refuse another library's configuration with a setting that tformer does not have.

    A setting without a rule may be one of a newer version, or of its author's own: unless it is off, it is said, as
    nothing here reads it.

    Args:
        found: the content of its `config.json`.
        rules: by the names of its settings.
        where: what an error calls the file.
        say: takes the line on settings without a rule; None: they do not pass.

    Raises:
        ConfigError: naming the first setting that does not pass.
    """
    unknown = []
    for name, value in found.items():
        rule = rules.get(name)
        if rule is None:
            if value not in EMPTY and not name.startswith("_"):
                unknown.append(f"{name} = {str(value)[:60]}")
        elif not rule.allows(value):
            raise ConfigError(f"{where}: {name} {str(value)[:60]!r} is not supported", f"tformer {rule.about}")
    if unknown and say is None:
        raise ConfigError(f"{where}: {unknown[0]} is not supported", "tformer does not know that setting")
    if unknown and say is not None:
        say(f"warning: {where}: tformer does not know and does not read {'; '.join(unknown)}")


def all_of(names: Iterable[str], rule: Rule) -> dict[str, Rule]:
    """The same rule for many settings."""
    return dict.fromkeys(names, rule)


FOREIGN: Rules = {
    **all_of(("model_type", "architectures"), carried("chooses the reader")),
    **all_of(
        ("transformers_version", "_name_or_path", "torch_dtype", "dtype", "torchscript", "return_dict",
         "output_hidden_states", "output_attentions", "output_past", "use_cache", "use_bfloat16", "tf_legacy_loss",
         "chunk_size_feed_forward", "gradient_checkpointing", "attn_implementation", "_attn_implementation"),
        irrelevant("says how transformers computes or answers, not what"),
    ),
    **all_of(
        ("id2label", "label2id", "num_labels", "_num_labels", "problem_type", "finetuning_task",
         "task_specific_params", "tokenizer_class", "prefix"),
        irrelevant("names labels and tasks; the recipe has its own"),
    ),
    **all_of(
        ("initializer_range", "init_std", "classifier_dropout", "classif_dropout", "encoder_layerdrop",
         "decoder_layerdrop", "summary_first_dropout", "embd_pdrop", "qa_dropout", "seq_classif_dropout"),
        TRAINING,
    ),
    **all_of(
        ("max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups",
         "diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty",
         "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences",
         "output_scores", "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id",
         "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens"),
        irrelevant("is of their search; a recipe has its own"),
    ),
    **all_of(
        ("bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id", "unk_token_id",
         "pad_token_id", "decoder_start_token_id"),
        irrelevant("stands in the tokenizer too, which is read"),
    ),
    "vocab_size": irrelevant("is the number of rows of the embedding"),
    "is_encoder_decoder": only({False, None}, "reads this architecture as one stack"),
    "is_decoder": only({False, None}, "reads this architecture without a causal mask"),
    "add_cross_attention": only({False, None}, "reads this architecture without cross-attention"),
    "cross_attention_hidden_size": only({None}, "reads this architecture without cross-attention"),
    "tie_encoder_decoder": only({False, None}, "has weights of its own in encoder and decoder"),
    "pruned_heads": only(({}, None), "has all heads in every block"),
    "quantization_config": only(({}, None), "reads weights of 16 or 32 bits"),
}  # fmt: skip
"""Of every `config.json` of transformers, old and new."""
