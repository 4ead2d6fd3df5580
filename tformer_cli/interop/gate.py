"""Rules for each setting on import from and export to another library.

The outputs of a model depend on its weights and settings, and a lost setting changes them without an error. Each
setting is therefore declared: `carried` (it has a counterpart), `irrelevant` (the outputs do not depend on it), or
`only` (some values are accepted). `check_export` refuses an undeclared setting. `check_import` warns about one, or
refuses it on request. The tests compare the rules with the fields of tformer's configurations and with the settings of
the other libraries.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from tformer_cli.config.schema import Combine
from tformer_cli.errors import ConfigError

Say = Callable[[str], None]
"""A function that receives a line for the user."""


def warn(line: str) -> None:
    """Issue a line as a Python warning; the command line prints it instead."""
    warnings.warn(line, stacklevel=2)


@dataclasses.dataclass(frozen=True)
class Rule:
    """The rule for one setting.

    Attributes:
        kind: carried, irrelevant or only.
        about: for `carried`, its name in the other library; for `irrelevant`, the reason. For a rule with `values`, the
            end of the error message, after the name of the library.
        values: accepted values; None: all.
    """

    kind: str
    about: str
    values: tuple[Any, ...] | None = None

    def allows(self, value: Any) -> bool:
        """Return whether the setting may have this value."""
        return self.values is None or any(value is one or value == one for one in self.values)


Rules = Mapping[str, Rule]


def carried(name: str = "", values: Collection[Any] | None = None) -> Rule:
    """Declare a setting that the other library has too.

    Args:
        name: its name or path in the other library; with `values`, the end of the error message.
        values: values with a counterpart; None: all.
    """
    return Rule("carried", name, None if values is None else tuple(values))


def irrelevant(why: str) -> Rule:
    """Declare a setting on which the outputs do not depend at inference."""
    return Rule("irrelevant", why)


def only(values: Collection[Any], what: str) -> Rule:
    """Declare a setting for which the other library supports these values only.

    Args:
        values: accepted values.
        what: end of the error message, after the name of the library, such as "is pre-norm".
    """
    return Rule("only", what, tuple(values))


TRAINING = irrelevant("acts in training alone")
HERE = irrelevant("affects speed only, not the outputs")

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
    "scale_attention": only({True}, "divides the scores of attention by the root of the head width"),
    "residual": only({True}, "has residual connections"),
}
"""Rules for `TransformerConfig`, except norm, activation, positions and norm_eps, which depend on the architecture."""


def check_export(config: Any, rules: Rules, target: str, prefix: str = "model.") -> None:
    """Refuse a configuration with a setting that the target does not support.

    Args:
        config: a dataclass of the schema.
        rules: a rule for each of its fields.
        target: name of the other library in error messages.
        prefix: prefix of the settings' names on the command line.

    Raises:
        ConfigError: if a setting is refused or has no rule; names the first.
    """
    for field in dataclasses.fields(config):
        value, rule = getattr(config, field.name), rules.get(field.name)
        shown = getattr(value, "name", str(value).lower())
        if rule is None:
            raise ConfigError(f"{prefix}{field.name}: {shown} cannot be exported: {target} is not known to have it")
        if not rule.allows(value):
            raise ConfigError(f"{prefix}{field.name}: {shown} cannot be exported: {target} {rule.about}")


EMPTY = (None, False, 0, "", [], {})
"""Values that usually mean that a setting is off."""


def check_import(settings: Mapping[str, Any], rules: Rules, where: str, say: Say | None = warn) -> None:
    """Refuse another library's configuration with a setting that tformer does not support.

    A setting without a rule may come from a newer version or from the author of the model. tformer does not read it,
    and warns unless the setting is off (`EMPTY`) or its name begins with an underscore.

    Args:
        settings: the content of its `config.json`.
        rules: rules by the names of its settings.
        where: name of the file in error messages.
        say: receives the warning about settings without a rule; None: they are refused.

    Raises:
        ConfigError: if a setting is refused; names the first.
    """
    unknown = []
    for name, value in settings.items():
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
    """Return the same rule for many settings."""
    return dict.fromkeys(names, rule)


FOREIGN: Rules = {
    **all_of(("model_type", "architectures"), carried("chooses the reader")),
    "id2label": carried("rows of a head go to labels by their names"),
    **all_of(
        ("transformers_version", "_name_or_path", "torch_dtype", "dtype", "torchscript", "return_dict",
         "output_hidden_states", "output_attentions", "output_past", "use_cache", "use_bfloat16", "tf_legacy_loss",
         "chunk_size_feed_forward", "gradient_checkpointing", "attn_implementation", "_attn_implementation"),
        irrelevant("affects speed, rounding or the form of the outputs only"),
    ),
    **all_of(
        ("label2id", "num_labels", "_num_labels", "problem_type", "finetuning_task", "task_specific_params",
         "tokenizer_class", "prefix"),
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
"""Rules for the common settings of every `config.json` of transformers, old and new."""
