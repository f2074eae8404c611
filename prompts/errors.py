"""Why a prompt cannot be made; apart, so that who renders nothing needs no jinja2."""

__all__ = ["PromptError"]


class PromptError(Exception):
    """A prompt cannot be made, or a template does not take these messages; the message says why."""
