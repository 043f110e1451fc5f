"""Headless Chromium, driven through its debugging pipe: no driver package, no port."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-extensions "
    "--disable-background-networking --disable-component-update --disable-sync --remote-debugging-pipe "
    "--host-resolver-rules='MAP * ~NOTFOUND' --hide-scrollbars"
)
_KEYS = {"Enter": ("\r", 13), "Tab": ("", 9), "Escape": ("", 27), " ": (" ", 32)}


class Browser:
    """One page of a browser without network, as a context; ``requested`` collects every address that it asked for.

    Args:
        folder: for the profile of the browser.
        size: width and height of the window in CSS pixels.
        dark: whether the page is told that the user prefers dark colours.
    """

    def __init__(self, folder, size=(1280, 900), dark=False):
        self.folder, self.size, self.dark = folder, size, dark
        self.requested, self.faults = [], []
        self._numbers, self._buffer, self._session = itertools.count(1), b"", None

    def __enter__(self):
        commands, self._write = os.pipe()
        self._read, replies = os.pipe()
        # The browser reads commands from descriptor 3 and replies on 4, which must not be in use already.
        line = f"exec '{PROGRAM}' {_OPTIONS} --user-data-dir='{self.folder}' about:blank 3<&{commands} 4>&{replies}"
        self._process = subprocess.Popen(
            ["bash", "-c", line],
            pass_fds=(commands, replies),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(self.folder)},
        )
        os.close(commands)
        os.close(replies)
        (page,) = [t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        attached = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.send(f"{domain}.enable")
        self.send("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
        self.resize(*self.size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self.dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def open(self, address):
        """Load a page, or only its fragment where the rest is open already."""
        self.send("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def evaluate(self, expression):
        """Value of a JavaScript expression."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"]["exception"].get("description", expression))
        return found["result"].get("value")

    def until(self, expression):
        """Wait until an expression is true."""
        while not self.evaluate(expression):
            time.sleep(0.05)

    def press(self, key, modifiers=0):
        """Press a key with the focus where it is."""
        text, code = _KEYS.get(key, (key, ord(key[0].upper())))
        keys = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        self.send("Input.dispatchKeyEvent", type="keyDown", **keys, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **keys)

    def type(self, text):
        """Type a text with the focus where it is."""
        self.send("Input.insertText", text=text)

    def click(self, selector):
        """Click on the middle of an element, wherever it has to be scrolled to."""
        place = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center', "
            "behavior: 'instant'}); const r = e.getBoundingClientRect(); return [r.x + r.width / 2, "
            "r.y + r.height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def resize(self, width, height):
        """Set the size of the window in CSS pixels."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, file):
        """Picture of what the window shows."""
        file.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))

    def pdf(self):
        """The page as it prints, as bytes."""
        return base64.b64decode(self.send("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])

    def send(self, method, **parameters):
        """A command of the DevTools protocol; returns its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._receive(method)
            self._note(reply)
            if reply.get("id") == number:
                assert "error" not in reply, f"{method}: {reply['error']}"
                return reply["result"]

    def _note(self, event):
        if event.get("method") == "Network.requestWillBeSent":
            self.requested.append(event["params"]["request"]["url"])
        if event.get("method") == "Runtime.exceptionThrown":
            self.faults.append(event["params"]["exceptionDetails"])

    def _receive(self, method):
        while b"\0" not in self._buffer:
            received = os.read(self._read, 1 << 20)
            assert received, f"{method}: the browser ended"
            self._buffer += received
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)
