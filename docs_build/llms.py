"""`llms.txt`: the site as a list of links with a sentence each (llmstxt.org), made from the navigation."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

_SENTENCE = re.compile(r"^(?![#|!<`:>-])([^\n]+(?:\n[^\n#|]+)*)", re.MULTILINE)
_MARKUP = re.compile(r"\[([^\]]*)\]\([^)]*\)|[*`]")


def text(nav: Navigation, description: str) -> str:
    """The file's text: title, description, and a list for each section of the navigation."""
    lines = ["# broker_plane", "", f"> {description}", ""]
    for item in nav.items:
        pages = list(_pages(item))
        lines += [f"## {item.title or 'Home'}", "", *map(_line, pages), ""]
    return "\n".join(lines)


def _pages(item: object) -> Iterator[Page]:
    if isinstance(item, Page):
        yield item
    for child in getattr(item, "children", None) or ():
        yield from _pages(child)


def _line(page: Page) -> str:
    return f"- [{page.title}]({page.url}){_first_sentence(page.markdown or '')}"


def _first_sentence(markdown: str) -> str:
    found = _SENTENCE.search(re.sub(r"<!--.*?-->", "", markdown, flags=re.DOTALL))
    if found is None:
        return ""
    plain = _MARKUP.sub(lambda match: match[1] or "", " ".join(found[1].split()))
    return ": " + re.split(r"(?<=[.:])\s", plain, maxsplit=1)[0]
