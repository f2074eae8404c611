"""Made for the tests, and not LG's file: the architecture of EXAONE 3.5 with the names of its own modules.

Transformers does not know it, so a base brings it as remote code, as EXAONE 3.5 brings its own; vLLM does know it, and
reads weights by these names. What it computes is a Llama, built from Transformers' own parts.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import (
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
    eager_attention_forward,
)


class ExaoneConfig(PreTrainedConfig):  # type: ignore[misc]
    model_type = "exaone"
    attribute_map = {"num_hidden_layers": "num_layers", "hidden_act": "activation_function"}  # noqa: RUF012 - as there
    vocab_size: int = 102400
    hidden_size: int = 2048
    intermediate_size: int = 7168
    num_layers: int = 24
    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    head_dim: int = 64
    activation_function: str = "silu"
    max_position_embeddings: int = 32768
    rope_parameters: dict[str, Any] | None = None
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    attention_dropout: float = 0.0
    use_cache: bool = True
    tie_word_embeddings: bool = False
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None


class ExaoneSelfAttention(nn.Module):  # type: ignore[misc]
    def __init__(self, config: ExaoneConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx, self.head_dim = config, layer_idx, config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling, self.is_causal = config.head_dim**-0.5, True
        width, kept = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kept, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kept, bias=False)
        self.out_proj = nn.Linear(width, config.hidden_size, bias=False)

    def forward(self, states: torch.Tensor, mask: Any, rotary: Any, past_key_values: Any, **kwargs: Any) -> Any:
        shape = (*states.shape[:-1], -1, self.head_dim)
        query, key, value = (
            layer(states).view(shape).transpose(1, 2) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = apply_rotary_pos_emb(query, key, *rotary)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation,  # noqa: SLF001 - where transformers keeps it
            eager_attention_forward,
        )
        dropout = self.config.attention_dropout if self.training else 0.0
        found, _ = attend(self, query, key, value, mask, dropout=dropout, scaling=self.scaling, **kwargs)
        return self.out_proj(found.reshape(*states.shape[:-1], -1))


class ExaoneAttention(nn.Module):  # type: ignore[misc]
    def __init__(self, config: ExaoneConfig, layer_idx: int) -> None:
        super().__init__()
        self.attention = ExaoneSelfAttention(config, layer_idx)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.attention(*args, **kwargs)


class ExaoneGatedMLP(nn.Module):  # type: ignore[misc]
    def __init__(self, config: ExaoneConfig) -> None:
        super().__init__()
        self.c_fc_0 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.c_fc_1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.c_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.act = nn.SiLU()

    def forward(self, states: torch.Tensor) -> Any:
        return self.c_proj(self.act(self.c_fc_0(states)) * self.c_fc_1(states))


class ExaoneBlock(GradientCheckpointingLayer):  # type: ignore[misc]
    def __init__(self, config: ExaoneConfig, layer_idx: int) -> None:
        super().__init__()
        self.ln_1 = LlamaRMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.attn = ExaoneAttention(config, layer_idx)
        self.ln_2 = LlamaRMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.mlp = ExaoneGatedMLP(config)

    def forward(self, states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        states = states + self.attn(self.ln_1(states), *args, **kwargs)
        return states + self.mlp(self.ln_2(states))


class ExaonePreTrainedModel(PreTrainedModel):  # type: ignore[misc]
    config_class = ExaoneConfig
    base_model_prefix = "transformer"
    supports_gradient_checkpointing = True
    _no_split_modules = ["ExaoneBlock"]  # noqa: RUF012 - as transformers declares it
    _input_embed_layer = "wte"
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_attention_backend = True


class ExaoneModel(ExaonePreTrainedModel):
    def __init__(self, config: ExaoneConfig) -> None:
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.h = nn.ModuleList([ExaoneBlock(config, number) for number in range(config.num_layers)])
        self.ln_f = LlamaRMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.rotary = LlamaRotaryEmbedding(config)
        self.gradient_checkpointing = False
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        states = self.wte(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = torch.arange(seen, seen + states.shape[1], device=states.device)[None]
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=states,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        rotary = self.rotary(states, position_ids=position_ids)
        for block in self.h:
            states = block(states, mask, rotary, past_key_values, position_ids=position_ids, **kwargs)
        return BaseModelOutputWithPast(last_hidden_state=self.ln_f(states), past_key_values=past_key_values)


class ExaoneForCausalLM(ExaonePreTrainedModel, GenerationMixin):  # type: ignore[misc]
    _tied_weights_keys = {"lm_head.weight": "transformer.wte.weight"}  # noqa: RUF012 - as transformers declares it

    def __init__(self, config: ExaoneConfig) -> None:
        super().__init__(config)
        self.transformer = ExaoneModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        found = self.transformer(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
        )
        logits = self.lm_head(found.last_hidden_state[:, -logits_to_keep:])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=found.past_key_values)
