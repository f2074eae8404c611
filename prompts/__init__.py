"""From `spec.prompt` to one Jinja chat template, and rendering through it: in training, in evaluation, when served."""
