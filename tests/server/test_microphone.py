"""The page of the docs in a real browser, whose microphone plays a recording."""

from __future__ import annotations

import functools
import json
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from .conftest import RunningService
from .test_rooms import DOCS

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
WAIT_S = 60

PAGE = """
let last = Promise.resolve();  // one after another, so that they come in order
const tell = message => {
  last = last.then(() => fetch("/told", {method: "POST", body: JSON.stringify(message)}));
};
const [url, key] = location.hash.slice(1).split("|");
let stop;
speak(url, key, message => {
  tell(message);
  if (message.type === "event" && message.time_s >= 3) stop();
}).then(found => { stop = found; }, error => tell({type: "failed", error: String(error)}));
"""


class Site:
    """A web site that remembers what its pages tell it."""

    def __init__(self, folder: Path) -> None:
        self.told: queue.Queue[dict[str, Any]] = queue.Queue()
        site = self

        class Handler(SimpleHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                site.told.put(json.loads(body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        handler = functools.partial(Handler, directory=str(folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/index.html"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    worklet, page = re.findall(r"```js\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "microphone.js").write_text(worklet, encoding="utf-8")
    (folder / "index.html").write_text(f"<script>{page}{PAGE}</script>", encoding="utf-8")
    found = Site(folder)
    yield found
    found.stop()


@pytest.mark.long
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_microphone_is_heard(
    service: RunningService, site: Site, samples: dict[str, Path], tmp_path: Path
) -> None:
    sound, rate = soundfile.read(samples["synthetic_espeak_1"])
    soundfile.write(tmp_path / "mic.wav", np.tile(sound, 3), rate, subtype="PCM_16")
    address = service.url.replace("http", "ws") + "/v1/streams"
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        "--autoplay-policy=no-user-gesture-required",
        f"--use-file-for-fake-audio-capture={tmp_path / 'mic.wav'}",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"{site.url}#{address}|{service.key('submit')}",
    ]
    told = []
    with subprocess.Popen([str(BROWSER), *options], stderr=subprocess.DEVNULL) as browser:
        try:
            while not told or told[-1]["type"] not in ("closed", "failed"):
                told.append(site.told.get(timeout=WAIT_S))
        finally:
            browser.terminate()
    assert told[-1]["type"] == "closed", told[-1]
    [report] = [message["report"] for message in told if message["type"] == "report"]
    assert report["p_synthetic"] > 0.5
    assert report["input"]["speech_s"] > 2
    assert "lost_audio" not in report["warnings"]
