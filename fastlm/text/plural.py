"""Numbers with their nouns."""


def plural(number: int, noun: str, separator: str = "") -> str:
    """A number and its noun.

    Args:
        number: The number.
        noun: The noun, whose plural ends with an s.
        separator: "," to group the digits of the number.

    Example:
        >>> plural(1, "document"), plural(2000, "document", ",")
        ('1 document', '2,000 documents')
    """
    return f"{number:{separator}} {noun}{'' if number == 1 else 's'}"
