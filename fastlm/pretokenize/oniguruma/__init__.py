"""The regular expressions of tokenizer.json: Oniguruma's syntax and semantics, as Hugging Face's `tokenizers` uses it.

`parser` reads an expression into the nodes of `nodes`, `program` compiles the nodes, and `_backtrack` matches.
"""

from fastlm.pretokenize.oniguruma.expression import Expression, compile_expression
from fastlm.pretokenize.oniguruma.splitter import OnigurumaSplitter

__all__ = ["Expression", "OnigurumaSplitter", "compile_expression"]
