"""The review page in a real browser; skipped where there is none."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")
pytest.importorskip("selenium")

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from deepfake_audio.server import keys, reviews
from deepfake_audio.server.routes import page

from .conftest import MakeSettings, RunningService, running
from .history import two_weeks

pytestmark = pytest.mark.long

Samples = dict[str, Path]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
HOSTILE = "<img src=x onerror=alert(1)>.wav"
POLICY = """
version = "2026-11"
[surfaces.upload]
label_from = 0.2
review_from = "recall"
block_from = 0.95

[surfaces.message]
review_from = "recall"
"""


class Browser:
    """A headless browser, and what a person does with it."""

    def __init__(self, driver: Any, pictures: Path) -> None:
        self.driver = driver
        self._pictures = pictures

    def open(self, url: str) -> None:
        self.driver.get(url)

    def go(self, fragment: str) -> None:
        """Open another view and wait for it."""
        self.driver.execute_script(
            "document.querySelector('.view').dataset.old = 1; location.hash = arguments[0]",
            fragment,
        )
        self.find(".view:not([data-old])")

    def click(self, selector: str) -> None:
        def clicked() -> bool:
            self.find(selector).click()
            return True

        self.until(clicked)

    def find(self, selector: str) -> Any:
        """Wait until something is there and return it."""
        return self.until(lambda: self.driver.find_elements(By.CSS_SELECTOR, selector))[0]

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return found

    def until(self, truth: Callable[[], Any]) -> Any:
        # What was found may just be drawn anew.
        ignored = [StaleElementReferenceException]
        wait = WebDriverWait(self.driver, 20, poll_frequency=0.05, ignored_exceptions=ignored)
        return wait.until(lambda _: truth())

    def until_text(self, selector: str, text: str) -> None:
        self.until(lambda: any(text in each.text for each in self.all(selector)))

    def press(self, *pressed: str) -> None:
        for key in pressed:
            self.driver.switch_to.active_element.send_keys(key)

    def sign_in(self, url: str, secret: str) -> None:
        self.open(url)
        self.find("#key").send_keys(secret, Keys.ENTER)
        self.find(".view h1")

    def upload(self, path: Path) -> None:
        self.find("#file").send_keys(str(path))
        self.until_text(".results li", ":")
        self.until(lambda: not self.find("#file").get_attribute("value"))

    def look(self, *, dark: bool = False, width: int = 1280, height: int = 860) -> None:
        media = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def picture(self, name: str) -> None:
        self.driver.save_screenshot(str(self._pictures / f"{name}.png"))

    def complaints(self) -> list[str]:
        """Return what the console says: errors, and breaches of the content security policy.

        That there is no key before one is given is no complaint.
        """
        told = [entry["message"] for entry in self.driver.get_log("browser")]
        return [message for message in told if "/v1/me" not in message or "401" not in message]


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    chromedriver = shutil.which("chromedriver")
    if program is None or chromedriver is None:
        pytest.skip("no Chromium and its driver here")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument("--hide-scrollbars")
    options.add_argument("--autoplay-policy=no-user-gesture-required")
    options.add_argument("--lang=en-US")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Driver(chromedriver))
    yield started
    started.quit()


@pytest.fixture
def browser(driver: Any, tmp_path: Path) -> Iterator[Browser]:
    """A browser that knows nobody; pictures go to DEEPFAKE_AUDIO_PICTURES, if it is set."""
    pictures = Path(os.environ.get("DEEPFAKE_AUDIO_PICTURES", tmp_path))
    pictures.mkdir(parents=True, exist_ok=True)
    opened = Browser(driver, pictures)
    opened.look()
    opened.complaints()
    yield opened
    driver.execute_script("localStorage.clear(); sessionStorage.clear()")
    driver.get("about:blank")


@pytest.fixture
def site(make_settings: MakeSettings, tmp_path: Path) -> Iterator[RunningService]:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    with running(make_settings(model="default", policy_file=policy)) as found:
        yield found


def secret_of(service: RunningService, name: str, *scopes: str) -> tuple[str, str]:
    with service.database.write() as session:
        key, secret = keys.create(
            session,
            tenant="acme",
            name=name,
            scopes=frozenset(map(keys.Scope, scopes or ("submit", "read", "review"))),
        )
        return key.id, secret


def test_an_upload_is_decided_with_the_keyboard(
    site: RunningService, browser: Browser, samples: Samples
) -> None:
    _, secret = secret_of(site, "Ada")
    browser.sign_in(site.url, secret)
    browser.upload(samples["synthetic_espeak_1"])
    browser.until_text("table.list th", "synthetic_espeak_1.flac")
    browser.until_text("table.list td", "likely synthetic")
    browser.press("j", Keys.ENTER)
    browser.find("canvas")
    with site.client("read") as client:
        (found,) = client.get("/v1/detections").json()["detections"]
    shown = f"p(synthetic) {found['report']['p_synthetic']:.3f}"
    browser.until_text(".headline", shown)
    assert "under a prior of 0.50" in browser.find(".headline").text
    assert "in 100 genuine clips" in browser.find(".headline").text
    assert "%" not in browser.find(".headline").text
    browser.press("n")
    browser.press("Every pause is alike. gsue?")  # keys in a note are letters
    browser.press(Keys.ESCAPE)
    browser.picture("detection-open")
    browser.press("s")
    browser.until_text("#case", "closed: synthetic")
    browser.until_text("#status", "Recorded: synthetic")
    browser.until_text(".said-by", "Every pause is alike. gsue?")
    client = site.client("read", "review")
    (record,) = client.get("/v1/detections").json()["detections"]
    assert record["review"] == {"state": "closed", "decision": "synthetic"}
    (said,) = client.get(f"/v1/detections/{record['id']}/reviews").json()["reviews"]
    assert (said["reviewer"]["name"], said["decision"]) == ("Ada", "synthetic")
    browser.press("g")  # closed: the key does nothing
    browser.press("e")
    browser.until_text("#case", "escalated")
    assert browser.complaints() == []


def test_sound_is_drawn_and_played(
    site: RunningService, browser: Browser, samples: Samples
) -> None:
    _, secret = secret_of(site, "Ada")
    browser.sign_in(site.url, secret)
    browser.upload(samples["synthetic_espeak_2"])
    browser.click("table.list a")
    canvas = browser.find("canvas")
    browser.until(lambda: canvas.get_attribute("width") == "1000")
    colours = browser.driver.execute_script(
        "const c = arguments[0];"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "const seen = new Set(); for (let i = 0; i < d.length; i += 4) seen.add(d[i]); "
        "return seen.size",
        canvas,
    )
    assert colours > 50
    assert "0 to 8 kHz" in canvas.get_attribute("aria-label")
    assert browser.find("path.step").get_attribute("d").startswith("M")
    rate = "return document.getElementById('player').currentTime"
    browser.press(Keys.SPACE)
    browser.until(lambda: browser.driver.execute_script(rate) > 0.1)
    browser.press(Keys.SPACE)
    browser.until(
        lambda: browser.driver.execute_script("return document.getElementById('player').paused")
    )
    browser.click(".strip")  # in the middle
    duration = browser.driver.execute_script("return document.getElementById('player').duration")
    browser.until(lambda: abs(browser.driver.execute_script(rate) - duration / 2) < 0.05 * duration)
    assert browser.complaints() == []


def test_each_channel_has_its_own_score(
    site: RunningService, browser: Browser, samples: Samples, tmp_path: Path
) -> None:
    heard = [
        soundfile.read(samples[name])[0][: 6 * 16_000]
        for name in ("genuine_librivox_1", "synthetic_espeak_1")
    ]
    soundfile.write(tmp_path / "call.wav", np.stack(heard, axis=1), 16_000)
    _, secret = secret_of(site, "Ada")
    browser.sign_in(site.url, secret)
    browser.upload(tmp_path / "call.wav")
    browser.click(".results a")
    canvas = browser.find("canvas")
    assert len(browser.all("path.step")) == 2
    assert "channel 2" in canvas.get_attribute("aria-label")  # the one that decided
    first = canvas.screenshot_as_png
    browser.find("#channel").send_keys("1")
    browser.until(lambda: "channel 1" in canvas.get_attribute("aria-label"))
    assert canvas.screenshot_as_png != first
    browser.click("summary")
    assert len(browser.all("details[open] tbody tr")) >= 2


def test_names_are_text(
    site: RunningService, browser: Browser, samples: Samples, tmp_path: Path
) -> None:
    _, secret = secret_of(site, "<b>Eve</b>")
    hostile = tmp_path / HOSTILE
    hostile.write_bytes(samples["synthetic_espeak_1"].read_bytes())
    browser.sign_in(site.url, secret)
    browser.upload(hostile)
    browser.until_text("table.list th", HOSTILE)
    assert HOSTILE in browser.find(".results li").text
    browser.click("table.list a")
    browser.find("canvas")
    assert browser.find("h1").text == HOSTILE
    browser.press("n")
    browser.press("<script>alert(2)</script>")
    browser.press(Keys.ESCAPE, "s")
    browser.until_text(".said-by", "<script>alert(2)</script>")
    browser.until_text(".said-by", "<b>Eve</b>")
    browser.go("#/search?search=%3Cimg")
    browser.until_text("table.list th", HOSTILE)
    browser.go("#/dashboard")
    browser.until_text("table", "<b>Eve</b>")
    assert browser.all("main img, main script, main b") == []
    assert browser.complaints() == []  # no policy was breached, and no dialog stopped us


def test_a_name_cannot_turn_its_letters_round(
    site: RunningService, browser: Browser, samples: Samples
) -> None:
    client = site.client("submit")
    content = samples["synthetic_espeak_1"].read_bytes()
    answer = client.post(
        "/v1/detections",
        files={"file": ("x.wav", content)},
        data={"name": "voice\u202evaw.exe"},
        headers={"Prefer": "wait=30"},
    )
    assert answer.status_code < 300
    _, secret = secret_of(site, "Ada")
    browser.sign_in(site.url, secret)
    browser.until(lambda: browser.all("table.list a"))
    assert "\u202e" not in browser.find("table.list").text


def test_both_languages(site: RunningService, browser: Browser, samples: Samples) -> None:
    _, secret = secret_of(site, "Ada")
    browser.sign_in(site.url, secret)
    browser.upload(samples["synthetic_espeak_1"])
    browser.click("table.list a")
    browser.find("canvas")
    browser.click("#language")
    browser.until_text(".headline", "疑似合成")
    assert browser.driver.execute_script("return document.documentElement.lang") == "zh-CN"
    browser.press("u")
    browser.until_text("#case", "已结案")
    assert "拿不准" in browser.find("#case").text
    browser.picture("detection-chinese")
    browser.go("#/queue")
    browser.until_text("nav", "待审队列")
    browser.driver.refresh()
    browser.until_text("nav", "待审队列")  # it is remembered
    browser.click("#language")
    browser.until_text("nav", "Queue")
    assert browser.complaints() == []


def test_every_word_is_there_twice() -> None:
    text = page.FILES["strings.js"].decode("utf-8")
    words = text[text.index("const WORDS") : text.index("\n};")]
    assert words.count('", "') + words.count('",\n') >= words.count("[") - 1
    assert "% fake" not in words


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    pairs = [c * 2 for c in digits] if len(digits) == 3 else [digits[i : i + 2] for i in (0, 2, 4)]
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (int(pair, 16) / 255 for pair in pairs)
    ]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_words_can_be_read_on_their_ground() -> None:
    """WCAG 2.2 AA: 4.5 to 1 for text, in both themes."""
    sheet = page.FILES["style.css"].decode()
    colours = dict(re.findall(r"--(\w+): light-dark\((#\w+, #\w+)\)", sheet))
    assert len(colours) >= 10
    for theme in (0, 1):
        of = {name: pair.split(", ")[theme] for name, pair in colours.items()}
        for ground in ("ground", "raised"):
            for ink in ("ink", "quiet", "link", "synthetic", "uncertain", "authentic"):
                assert contrast(of[ink], of[ground]) >= 4.5, (ink, ground, theme)
        assert contrast("#fff", of["main"]) >= 4.5
        assert contrast(of["ink"], of["ground"]) >= 4.5  # the status line, reversed


def test_dark_and_light(site: RunningService, browser: Browser) -> None:
    _, secret = secret_of(site, "Ada")
    ground = "return getComputedStyle(document.documentElement).backgroundColor"
    browser.sign_in(site.url, secret)
    light = browser.driver.execute_script(ground)
    browser.look(dark=True)
    browser.until(lambda: browser.driver.execute_script(ground) != light)
    browser.click("#theme")  # from the system's to light
    browser.until(lambda: browser.driver.execute_script(ground) == light)
    browser.click("#theme")
    browser.until(lambda: browser.driver.execute_script(ground) != light)
    browser.look(dark=False)
    assert browser.driver.execute_script(ground) != light


@pytest.mark.parametrize("view", ["#/queue", "#/search", "#/dashboard", "detection"])
def test_a_narrow_screen_needs_no_scrolling_sideways(
    site: RunningService, browser: Browser, samples: Samples, view: str
) -> None:
    _, secret = secret_of(site, "Ada")
    browser.look(width=360, height=740)
    browser.sign_in(site.url, secret)
    browser.upload(samples["synthetic_espeak_1"])
    browser.until(lambda: browser.all("table.list a"))
    if view == "detection":
        browser.click("table.list a")
        browser.find("canvas")
    else:
        browser.go(view)
    browser.find(".view")
    wide = browser.driver.execute_script("return document.documentElement.scrollWidth")
    browser.picture(f"narrow-{view.strip('#/')}")
    assert wide <= 360


def test_a_key_is_asked_for_and_forgotten(site: RunningService, browser: Browser) -> None:
    browser.open(site.url)
    browser.find("#key").send_keys("dfa_wrong", Keys.ENTER)
    browser.until_text("[role=alert]", "no valid API key")
    _, secret = secret_of(site, "Ada", "read")
    browser.find("#key").send_keys(secret, Keys.ENTER)
    browser.until_text("[role=alert]", "scope review")  # the queue is not for readers
    browser.go("#/search")
    browser.until_text("h1", "Search")
    assert browser.driver.execute_script("return localStorage.length") == 0
    browser.click(".tools button:last-child")
    browser.find("#key")
    assert browser.driver.execute_script("return sessionStorage.length") == 0


def test_everything_has_a_name(site: RunningService, browser: Browser, samples: Samples) -> None:
    _, secret = secret_of(site, "Ada")
    browser.sign_in(site.url, secret)
    browser.upload(samples["synthetic_espeak_1"])
    browser.until(lambda: browser.all("table.list a"))
    identifier = browser.find("table.list tr[data-id]").get_attribute("data-id")
    for view in ("#/queue", "#/search", f"#/d/{identifier}", "#/dashboard"):
        browser.go(view)
        if "/d/" in view:
            browser.find("canvas")
        for element in browser.all("a, button, input, select, textarea, canvas, svg[role], audio"):
            what = f"{view}: {element.tag_name}"
            assert element.accessible_name or not element.is_displayed(), what
        assert len(browser.all("h1")) == 1
        assert browser.all("header, main, nav")
    browser.press("?")
    browser.find("dialog[open]")
    browser.press(Keys.ESCAPE)
    browser.until(lambda: browser.all("dialog[open]") == [])


def test_pictures(site: RunningService, browser: Browser, samples: Samples, tmp_path: Path) -> None:
    """The queue, a recording and the dashboard as people see them, kept for the documentation."""
    people = [secret_of(site, name) for name in ("Ada", "Bo", "Chen")]
    two_weeks(site.database, "acme", [key for key, _ in people[:2]])
    joined = tmp_path / "joined.wav"
    names = ("genuine_librivox_1", "synthetic_espeak_1", "genuine_librivox_2")
    soundfile.write(joined, np.concatenate([soundfile.read(samples[n])[0] for n in names]), 16_000)
    client = site.client("submit", "read")
    for surface in ("upload", "message"):
        for path in (joined, *samples.values()):
            client.post(
                "/v1/detections",
                files={"file": (path.name, path.read_bytes())},
                data={"surface": surface},
                headers={"Prefer": "wait=30"},
            ).raise_for_status()
    with site.database.read() as session:
        found, _ = reviews.queue(
            session,
            keys.Principal("key_x", "x", "acme", frozenset()),
            reviews.Order.OLDEST,
            two_person=False,
            cursor=None,
            limit=9,
        )
    httpx.post(
        f"{site.url}/v1/detections/{found[-1].id}/reviews",
        json={"decision": "escalate", "note": "Is this a voice of ours?"},
        headers={"Authorization": f"Bearer {people[1][1]}"},
    ).raise_for_status()
    browser.look(height=470)
    browser.sign_in(site.url, people[2][1])
    browser.until_text("table.list", "escalated")
    assert all(cell.text[0].isdigit() for cell in browser.all("table.list td:nth-child(4)"))
    browser.picture("queue")
    browser.look(height=1130)
    browser.go(f"#/d/{found[0].id}")
    browser.find("canvas")
    browser.picture("detection")
    browser.look(height=1000)
    browser.go("#/dashboard")
    browser.until_text(".tiles", "agree")
    browser.picture("dashboard")
    browser.look(dark=True, height=1000)
    browser.picture("dashboard-dark")
    browser.look(dark=True, height=1130)
    browser.go(f"#/d/{found[0].id}")
    browser.find("canvas")
    browser.picture("detection-dark")
    assert browser.complaints() == []


def test_the_files_are_few_and_small_and_nothing_else_is_served(service: RunningService) -> None:
    assert sum(map(len, page.FILES.values())) < 60 * 1024
    for name in page.NAMES:
        answer = httpx.get(f"{service.url}/static/{name}")
        assert answer.status_code == 200
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in answer.text
        assert "innerHTML" not in answer.text
    start = httpx.get(service.url)
    assert start.headers["Content-Type"] == "text/html; charset=utf-8"
    assert " style=" not in start.text
    for path in ("nothing.js", "..%2Fapp.py", "../app.py", "%2e%2e/app.py", "", "index.html%00"):
        assert httpx.get(f"{service.url}/static/{path}").status_code == 404
