"""A page that shows how a tokenizer encodes a text. `view_page` makes it."""

from fastlm.view.page import view_page

__all__ = ["view_page"]
