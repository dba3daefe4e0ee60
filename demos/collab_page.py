"""The person's part of `collab`, played through the page of the session in a headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from .collab_review import APPROVAL, DATED, REQUEST

if TYPE_CHECKING:
    from broker_plane.testing.browser import Browser, BrowserPage

_SECONDS = 60.0
_BROWSER = "chromium-headless-shell"


def has_browser() -> bool:
    """Whether a browser for the page is installed."""
    return shutil.which(_BROWSER) is not None


@asynccontextmanager
async def opened_browser() -> AsyncIterator[Browser]:
    """A browser for the block."""
    from broker_plane.testing.browser import running_browser  # only this story needs it

    async with running_browser(_BROWSER) as browser:
        yield browser


async def play_page(browser: Browser, url: str) -> str:
    """Review the draft as it grows, ask for a change, approve and confirm; return what went wrong, or nothing."""
    async with browser.page() as page:
        await page.open(url)
        try:
            await page.until("!document.getElementById('room').hidden", _SECONDS)
            await page.click("#tab-notes")
            await page.until("document.body.innerText.includes('The draft is complete')", _SECONDS)
            await _say(page, "request-changes", REQUEST)
            await page.until(_has_text(DATED.strip()), _SECONDS)
            await page.until("document.body.innerText.includes('I have named both')", _SECONDS)
            await _say(page, "approve", APPROVAL)
            await _say(page, "confirm")
            await page.until("!document.getElementById('closed').hidden", _SECONDS)
        except TimeoutError as error:
            return f"The page did not show it: {error}; {await page.text_of('body')}"
        return "; ".join(page.console)


async def _say(page: BrowserPage, button: str, comment: str = "") -> None:
    """Press a button of the page, and confirm the dialog that it opens."""
    await page.until(f"!document.getElementById({button!r}).hidden", _SECONDS)
    await page.click(f"#{button}")
    await page.until("document.getElementById('ask').open", _SECONDS)
    if comment:
        await page.type(comment)
    await page.click("#ask-confirm")
    await page.until("!document.getElementById('ask').open", _SECONDS)


def _has_text(text: str) -> str:
    """The expression that is true if the artifact on the page has this text, in an editor or as plain text."""
    place = "document.getElementById('artifact')"
    return f"({place}.querySelector('textarea')?.value ?? {place}.innerText).includes({text!r})"
