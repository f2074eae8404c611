"""EXAONE 3.5's layers, by their names and sizes alone: what LG's own code brings beside the weights computes with them.

It is enough to count weights and to look for the layers that an adapter names. It answers nothing.
"""

from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel


class ExaoneConfig(PreTrainedConfig):
    """The sizes."""

    model_type = "exaone"
    attribute_map = {"num_hidden_layers": "num_layers"}  # noqa: RUF012 - as Transformers declares it

    def __init__(self, **sizes: Any) -> None:
        for name, value in sizes.items():
            setattr(self, name, value)
        super().__init__(**sizes)


class Attention(nn.Module):
    """Of one layer."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        hidden, heads, pairs = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        self.q_proj = nn.Linear(hidden, heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(hidden, pairs * config.head_dim, bias=False)
        self.v_proj = nn.Linear(hidden, pairs * config.head_dim, bias=False)
        self.out_proj = nn.Linear(heads * config.head_dim, hidden, bias=False)


class Layer(nn.Module):
    """One of them."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        hidden, wide = config.hidden_size, config.intermediate_size
        self.ln_1, self.ln_2 = nn.RMSNorm(hidden), nn.RMSNorm(hidden)
        self.attn = nn.ModuleDict({"attention": Attention(config)})
        self.mlp = nn.ModuleDict(
            {
                "c_fc_0": nn.Linear(hidden, wide, bias=False),
                "c_fc_1": nn.Linear(hidden, wide, bias=False),
                "c_proj": nn.Linear(wide, hidden, bias=False),
            }
        )


class ExaoneForCausalLM(PreTrainedModel):
    """All of them, with the head."""

    config_class = ExaoneConfig
    base_model_prefix = "transformer"
    _tied_weights_keys = {"lm_head.weight": "transformer.wte.weight"}  # noqa: RUF012 - as Transformers declares it

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        layers = nn.ModuleList([Layer(config) for _ in range(config.num_layers)])
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.hidden_size),
                "h": layers,
                "ln_f": nn.RMSNorm(config.hidden_size),
            }
        )
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the embeddings."""
        return self.transformer["wte"]

    def get_output_embeddings(self) -> nn.Module:
        """Return the head."""
        return self.lm_head
