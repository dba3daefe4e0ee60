"""A headless Chromium, driven over the DevTools protocol: what a person sees of a page, and types into it.

Everything that a page writes to the console is kept, with violations of its Content-Security-Policy, so that a test can
show that there was none.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.testing.processes import until

PROGRAM = "chromium-headless-shell"

_START_SECONDS = 60
_ANSWER_SECONDS = 60
_MOST_MESSAGE_BYTES = 64 << 20
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--remote-debugging-port=0",
)
_KEYS: Mapping[str, tuple[str, int, str]] = {
    "Enter": ("Enter", 13, "\r"),
    "Tab": ("Tab", 9, ""),
    "Escape": ("Escape", 27, ""),
    "Backspace": ("Backspace", 8, ""),
    "Space": ("Space", 32, " "),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
    "End": ("End", 35, ""),
    "Home": ("Home", 36, ""),
}
"""By name: the code, the number of the key, and what it types."""
_MODIFIERS = {"Alt": 1, "Ctrl": 2, "Meta": 4, "Shift": 8}


class PageError(BrokerPlaneError):
    """A page, or the browser, refused what was asked of it."""

    code = "page"


class BrowserPage:
    """One page, in a context of its own: it shares no storage with others."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.console: list[str] = []
        """Errors and warnings: of scripts, of loading, and of the Content-Security-Policy."""
        self.requested: list[str] = []
        """The address of each request that the page has made."""

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol. Raises PageError."""
        return await self._browser.send(method, session=self._session, **parameters)

    async def open(self, url: str) -> None:
        """Go to an address; the page may still be loading after it."""
        await self.send("Page.navigate", url=url)

    async def see(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page. Raises PageError."""
        answer = await self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise PageError(f"The page could not evaluate it: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def until(self, expression: str, seconds: float = 10) -> Any:
        """Wait until a JavaScript expression is true, and return its value. One that throws is not true yet.

        Raises:
            TimeoutError: it was not true after `seconds`; names the expression.
        """
        quiet = f"(() => {{ try {{ return {expression} }} catch {{ return false }} }})()"
        return await until(lambda: self.see(quiet), expression, seconds)

    async def text_of(self, selector: str) -> str:
        """The text of the first element that a selector finds; empty without one."""
        return str(await self.see(f"document.querySelector({_quoted(selector)})?.innerText ?? ''"))

    async def click(self, selector: str) -> None:
        """Click on the middle of the first element that a selector finds. Raises PageError."""
        found = await self.see(
            f"(() => {{ const found = document.querySelector({_quoted(selector)}); if (!found) return null;"
            "found.scrollIntoView({block: 'center'}); const box = found.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        if not found:
            raise PageError(f"The page has no {selector}")
        at = {"x": found[0], "y": found[1], "button": "left", "clickCount": 1}
        await self.send("Input.dispatchMouseEvent", type="mousePressed", **at)
        await self.send("Input.dispatchMouseEvent", type="mouseReleased", **at)

    async def type(self, text: str) -> None:
        """Type into whatever has the focus, as an input method does."""
        await self.send("Input.insertText", text=text)

    async def press(self, keys: str) -> None:
        """Press a key, with modifiers such as in `Alt+Shift+A`."""
        *held, name = keys.split("+")
        modifiers = sum(_MODIFIERS[each] for each in held)
        code, number, text = _KEYS.get(name) or (f"Key{name.upper()}", ord(name.upper()), "")
        event = {"key": name, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers}
        typed = {"text": text} if text and not modifiers & ~_MODIFIERS["Shift"] else {}
        await self.send("Input.dispatchKeyEvent", type="keyDown" if typed else "rawKeyDown", **event, **typed)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    async def prefer(self, scheme: str) -> None:
        """Prefer the colours `light` or `dark`."""
        await self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def resize(self, width: int, height: int) -> None:
        """Set the size of the window, in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.send("Emulation.setDeviceMetricsOverride", **size)

    async def picture(self) -> bytes:
        """A PNG of what the window shows."""
        answer = await self.send("Page.captureScreenshot", format="png")
        return base64.b64decode(answer["data"])

    def heard(self, method: str, event: Mapping[str, Any]) -> None:
        """Keep what an event of the protocol says."""
        if method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.console.append(f"{details['text']} {details.get('exception', {}).get('description', '')}")
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
            self.console.append(" ".join(str(each.get("value", each.get("description"))) for each in event["args"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.console.append(f"{event['entry']['text']} {event['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requested.append(event["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requested.append(event["url"])


class Browser:
    """The connection to one running browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, BrowserPage] = {}
        self._next = 0

    async def send(self, method: str, *, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol. Raises PageError."""
        self._next += 1
        number = self._next
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        try:
            await self._connection.send(orjson.dumps(message).decode())
            async with asyncio.timeout(_ANSWER_SECONDS):
                found: dict[str, Any] = await answer
                return found
        finally:
            del self._answers[number]

    @asynccontextmanager
    async def page(self, width: int = 1200, height: int = 800) -> AsyncIterator[BrowserPage]:
        """An empty page, for the block."""
        context = (await self.send("Target.createBrowserContext"))["browserContextId"]
        target = (await self.send("Target.createTarget", url="about:blank", browserContextId=context))["targetId"]
        session = (await self.send("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = self._pages[session] = BrowserPage(self, session)
        try:
            for domain in ("Page", "Runtime", "Log", "Network"):
                await page.send(f"{domain}.enable")
            await page.resize(width, height)
            yield page
        finally:
            del self._pages[session]
            await self.send("Target.disposeBrowserContext", browserContextId=context)

    async def hear(self) -> None:
        """Read answers and events until the browser ends."""
        try:
            async for raw in self._connection:
                self._sort(orjson.loads(raw))
        except ConnectionClosed:
            pass
        finally:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(PageError("The browser has ended"))

    def _sort(self, message: Mapping[str, Any]) -> None:
        if "id" in message:
            answer = self._answers.get(message["id"])
            if answer is None or answer.done():
                return
            if "error" in message:
                answer.set_exception(PageError(f"The browser refused it: {message['error'].get('message')}"))
            else:
                answer.set_result(message["result"])
        elif (page := self._pages.get(message.get("sessionId", ""))) is not None:
            page.heard(message["method"], message["params"])


@asynccontextmanager
async def running_browser(program: str | Path = PROGRAM) -> AsyncIterator[Browser]:
    """Run a browser with an empty profile for the block.

    Raises:
        PageError: the program is not installed.
    """
    path = shutil.which(program)
    if path is None:
        raise PageError(f"{program} is not installed; `bash .ci/system` installs it")
    with TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            path,
            *_OPTIONS,
            f"--user-data-dir={profile}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            address = await until(lambda: _address(Path(profile)), "the browser's port", _START_SECONDS)
            async with connect(address, max_size=_MOST_MESSAGE_BYTES, proxy=None) as connection:
                browser = Browser(connection)
                hearing = asyncio.create_task(browser.hear())
                try:
                    yield browser
                finally:
                    await cancel_and_forget(hearing)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the command may be a script that waits for the browser
            await process.wait()


def _address(profile: Path) -> str:
    """The address of the protocol, which the browser writes to a file of its profile; empty until then."""
    try:
        port, path = (profile / "DevToolsActivePort").read_text().split()
    except (OSError, ValueError):
        return ""
    return f"ws://127.0.0.1:{port}{path}"


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()
