"""Sections of a page that a program writes, between two markers."""


def with_section(page: str, name: str, text: str) -> str:
    """Return the page with `text` as its section `name`, and all else as it was.

    Raises:
        ValueError: the page has not just one pair of this section's markers, in order.
    """
    opening, closing = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begin, rest = page.partition(opening)
    _, end, after = rest.partition(closing)
    if not begin or not end or opening in rest or closing in before + after:
        raise ValueError(f"the page needs {opening} and {closing}, once each")
    return f"{before}{opening}\n{text}\n{closing}{after}"
