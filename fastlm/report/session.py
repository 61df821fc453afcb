"""Executes lines of Python and writes them as a session of the interpreter."""

from __future__ import annotations

import ast
import contextlib
import io
import traceback
from typing import Any

from fastlm.text.escapes import escaped


def executed(source: str, names: dict[str, Any] | None = None) -> str:
    """Executes source and returns a session: each statement after a prompt, then its output.

    The value of an expression is shown by its repr, and an error by its last line. Control characters are escaped.

    Args:
        source: Statements.
        names: Global names of the statements, which are changed.

    Example:
        >>> executed("x = 2\\nx + 1\\n1 / 0").splitlines()[2:]
        ['3', '>>> 1 / 0', 'ZeroDivisionError: division by zero']
    """
    names = {} if names is None else names
    lines: list[str] = []
    for statement in ast.parse(source).body:
        first, *others = (ast.get_source_segment(source, statement) or "").splitlines()
        lines += [f">>> {first}", *(f"... {line}" for line in others)]
        lines += _output(statement, names)
    return "\n".join(lines)


def _output(statement: ast.stmt, names: dict[str, Any]) -> list[str]:
    """The lines that a statement prints."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            if isinstance(statement, ast.Expr):
                value = eval(compile(ast.Expression(statement.value), "<report>", "eval"), names)
                if value is not None:
                    print(repr(value))
            else:
                exec(compile(ast.Module([statement], []), "<report>", "exec"), names)
    except Exception as error:  # noqa: BLE001 - the error is the result
        printed.write("".join(traceback.format_exception_only(error)))
    return [escaped(line) for line in printed.getvalue().split("\n") if line]
