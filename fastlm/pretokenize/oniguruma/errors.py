"""The errors of expressions. They name the expression, the position of the error, and whether fastlm lacks it."""

from __future__ import annotations

_SHOWN = 120


def shown(expression: str) -> str:
    """The expression as messages show it."""
    return repr(expression) if len(expression) <= _SHOWN else f"{expression[:_SHOWN]!r}..."


def invalid(expression: str, reason: str, position: int) -> ValueError:
    """The error for an expression that Oniguruma refuses too."""
    return ValueError(f"expression {shown(expression)} is not valid: {reason} at position {position}")


def unsupported(expression: str, feature: str, position: int) -> ValueError:
    """The error for an expression that only Oniguruma supports."""
    return ValueError(f"expression {shown(expression)} uses {feature} at position {position}, which is not supported")
