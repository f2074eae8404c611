"""From `spec.prompt` to one Jinja chat template, and rendering through it: in training, in evaluation, when served."""

TEMPLATE_FILE = "chat_template.jinja"
"""Where Transformers and vLLM look for the template, beside a tokenizer."""
