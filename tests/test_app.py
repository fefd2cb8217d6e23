"""The web app in a real browser: a picture that passed is shown, one that did not is not."""

import base64
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image, UnidentifiedImageError
from selenium import webdriver
from selenium.common.exceptions import ElementClickInterceptedException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from gen.families import STARTER
from gen.gates import RecipeGate
from gen.pipeline import Painter
from gen.studio import Studio, Watching
from gen.watch import look_steps
from index.ingest import ingest
from index.library import Library
from index.sources import FolderSource
from provenance.check import Checker
from provenance.fingerprint import content_hash
from provenance.images import read_picture
from provenance.label.credentials import read_credentials
from provenance.read import recipe_of
from provenance.recipe import Recipe
from provenance.verdict import Decision, Verdict
from tests.conftest import PHOTOS, hash_policy, hashes_only, labeller, root
from tests.test_images import overlapping
from tests.test_studio import Held
from ui.app import _status, create_app
from ui.server import launch

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER) and "FIRSTHAND_REQUIRE_BROWSER" not in os.environ,
    reason="needs Debian's chromium and chromium-driver",
)

REFUSED = Recipe("a car on the beach", seed=11)  # in the gallery with the app's own settings
STEPS = STARTER.steps  # the app's own
COPIED = Recipe("a castle in the desert at sunset", seed=12, steps=STEPS - 1)


class Recorder:
    """An ASGI wrapper that keeps every byte that the server sends."""

    def __init__(self, app: Any) -> None:
        self.app, self.bodies = app, [b""]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def kept(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.bodies.append(b"")
            elif message["type"] == "http.response.body":
                self.bodies[-1] += message.get("body", b"")
            await send(message)

        await self.app(scope, receive, kept)

    def picture_contents(self) -> set[str]:
        """The content hashes of every picture sent, whole or as a data URI."""
        encoded = b"\n".join(self.bodies)
        inline = re.findall(rb"data:image/\w+;base64,([\w+/=]+)", encoded)
        found = [base64.b64decode(body) for body in inline]
        contents = set()
        for body in (*self.bodies, *found):
            try:
                contents.add(content_hash(Image.open(io.BytesIO(body)).convert("RGB")))
            except (UnidentifiedImageError, OSError):
                continue
        return contents


@pytest.fixture
def studio(tmp_path: Path, starter: Painter) -> Iterator[Studio]:
    """The real studio over a gallery of two of the starter's own pictures."""
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    verdict = Verdict(Decision.CLEAR, (), (), "none", "0", 0)
    for recipe in (REFUSED, COPIED):
        complete = starter.complete(recipe)
        image = starter.paint(complete, lambda done, steps: None)
        (gallery / f"{recipe.seed}.png").write_bytes(labeller()(image, complete, verdict).data)
    with Library.create(tmp_path / "library", hashes_only().specs) as library:
        ingest(FolderSource(gallery), library, hashes_only)
        checker = Checker(hashes_only(), library, hash_policy())
        signs = replace(labeller(), init=starter.begun)
        yield Studio(starter, checker, [RecipeGate(library)], Held(), signs, Watching(), signs)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", "--window-size=1300,1000", f"--user-data-dir={tmp_path / 'c'}",
    ):  # fmt: skip
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


class Page:
    """What a person does on the page, and what a person sees."""

    def __init__(self, driver: webdriver.Chrome, sent: Recorder) -> None:
        self.driver, self.sent = driver, sent
        self.progress: list[str] = []

    def wait(self, seen: Callable[[], Any]) -> Any:
        return WebDriverWait(self.driver, 120, poll_frequency=0.05).until(lambda _: seen())

    def fill(self, element: str, text: str) -> None:
        box = self.driver.find_element(By.CSS_SELECTOR, f"#{element} textarea, #{element} input")
        box.clear()
        box.send_keys(text)

    def choose(self, element: str, words: str) -> None:
        """What begins with these words in a drop-down list."""
        (box,) = self.wait(lambda: self.driver.find_elements(By.CSS_SELECTOR, f"#{element} input"))
        self.wait(box.is_displayed)
        box.click()
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(words)
        found = f"//ul[@role='listbox']/li[starts-with(@aria-label, '{words}')]"
        self.wait(lambda: self.driver.find_elements(By.XPATH, found))
        box.send_keys(Keys.ENTER)

    def text(self, element: str) -> str:
        return str(self.driver.find_element(By.ID, element).get_attribute("innerText"))

    def click_generate(self) -> None:
        """Once nothing lies over the button: the page covers it while it is being set up."""

        def clicked() -> bool:
            try:
                self.driver.find_element(By.ID, "generate").click()
            except ElementClickInterceptedException:
                return False
            return True

        self.wait(clicked)

    def generate(self, recipe: Recipe) -> str:
        """The status after painting; the progress that showed meanwhile is in `progress`."""
        self.fill("prompt", recipe.prompt)
        self.fill("seed", str(recipe.seed))
        self.click_generate()

        def done() -> str | None:
            self.progress.append(self.driver.find_element(By.TAG_NAME, "body").text)
            status = self.text("status")
            return status if f"seed {recipe.seed}" in status else None

        return str(self.wait(done))

    def pictures(self) -> int:
        return len(self.driver.find_elements(By.CSS_SELECTOR, "#gallery .thumbnail-item img"))


@pytest.fixture
def page(studio: Studio, tmp_path: Path, browser: webdriver.Chrome) -> Iterator[Page]:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    blocks = create_app(studio, studio.checker.index, pictures)
    address = launch(blocks, pictures, "127.0.0.1", 0, wait=False)
    sent = Recorder(blocks.app.middleware_stack)
    blocks.app.middleware_stack = sent
    browser.get(address)
    opened = Page(browser, sent)
    opened.wait(lambda: browser.find_elements(By.ID, "generate"))
    yield opened
    blocks.close()


def pixels(painter: Painter, recipe: Recipe) -> Image.Image:
    return painter.paint(painter.complete(recipe), lambda done, steps: None)


def test_generate_see_progress_see_the_picture(page: Page, studio: Studio, tmp_path: Path) -> None:
    recipe = Recipe("a penguin in the snow at night", seed=5)
    status = page.generate(recipe)
    assert status.startswith("clear")
    page.wait(lambda: page.pictures() == 1)
    assert any("painting 1 of 1" in text for text in page.progress)
    (file,) = (tmp_path / "pictures").iterdir()
    shown = pixels(studio.painter, recipe)
    assert Image.open(file).convert("RGB").tobytes() == shown.tobytes()
    page.wait(lambda: content_hash(shown) in page.sent.picture_contents())
    assert "block" not in page.text("evidence")
    page.wait(lambda: file.read_bytes() in page.sent.bodies)  # to the last byte
    credentials = read_credentials(file.read_bytes(), "PNG", root())
    assert credentials
    assert credentials.outcome == "trusted"


def test_a_seed_that_nobody_chose_is_drawn_anew(page: Page, tmp_path: Path) -> None:
    page.fill("prompt", "a penguin in the snow at night")
    for made in (1, 2):
        page.click_generate()
        page.wait(lambda: len(list((tmp_path / "pictures").iterdir())) == made)  # noqa: B023
    seeds = {recipe.seed for file in (tmp_path / "pictures").iterdir()
             if (recipe := recipe_of(read_picture(file)))}  # fmt: skip
    assert len(seeds) == 2


def test_previews_come_before_the_picture(page: Page, tmp_path: Path) -> None:
    page.driver.find_element(By.CSS_SELECTOR, "#previews input").click()
    page.generate(Recipe("a penguin in the snow at night", seed=5))
    page.wait(lambda: page.pictures() == 1)
    for step in look_steps(STEPS):
        assert any(f"step {step} of {STEPS}".encode() in body for body in page.sent.bodies)
    page.wait(lambda: len(list((tmp_path / "pictures").iterdir())) == 1)


def begin_many(page: Page) -> None:
    page.fill("count", "16")
    page.fill("steps", "60")
    page.fill("prompt", "a penguin in the snow at night")
    page.click_generate()
    body = page.driver.find_element(By.TAG_NAME, "body")
    page.wait(lambda: "painting 1 of 16" in body.text)


def test_a_closed_tab_is_painted_for_no_longer(page: Page, tmp_path: Path) -> None:
    begin_many(page)
    page.driver.refresh()
    page.wait(lambda: page.driver.find_elements(By.ID, "generate"))
    assert page.generate(Recipe("a fox", seed=5)).startswith("clear")
    assert len(list((tmp_path / "pictures").iterdir())) < 16


def test_stop_ends_at_the_next_step_and_keeps_what_was_made(page: Page, tmp_path: Path) -> None:
    begin_many(page)
    page.driver.find_element(By.ID, "stop").click()
    page.wait(lambda: "stopped" in page.text("status"))
    made = len(list((tmp_path / "pictures").iterdir()))
    assert made < 16
    page.wait(lambda: page.pictures() == made)
    assert page.generate(Recipe("a fox", seed=5)).startswith("clear")


def test_a_known_recipe_shows_evidence_and_no_picture(page: Page, tmp_path: Path) -> None:
    status = page.generate(REFUSED)
    assert "refused before painting: this is the recipe of 11.png" in status
    assert "same recipe" in page.wait(lambda: page.text("evidence"))
    assert page.pictures() == 0
    assert list((tmp_path / "pictures").iterdir()) == []


def test_a_copy_shows_evidence_and_sends_none_of_its_bytes(
    page: Page, studio: Studio, tmp_path: Path
) -> None:
    asked = COPIED.with_changes(steps=STEPS)
    status = page.generate(COPIED)
    assert "near copy of 12.png" in status
    assert "12.png" in page.wait(lambda: page.text("evidence"))
    references = page.driver.find_elements(By.CSS_SELECTOR, "#evidence img")
    assert len(references) >= 1
    assert page.pictures() == 0
    assert list((tmp_path / "pictures").iterdir()) == []
    sent = page.sent.picture_contents()
    assert sent, "the references' thumbnails were sent"
    assert content_hash(pixels(studio.painter, asked)) not in sent


def test_size_sampler_and_a_picture_to_begin_with(page: Page, tmp_path: Path) -> None:
    begin = tmp_path / "begin.png"
    Image.open(PHOTOS / "ihc.png").convert("RGB").resize((384, 256)).save(begin)
    page.driver.find_element(By.CSS_SELECTOR, "button.label-wrap").click()
    page.choose("size", "landscape")
    page.choose("sampler", "UniPC")
    file_input = "#init input[type=file]"
    page.wait(lambda: page.driver.find_elements(By.CSS_SELECTOR, file_input))[0].send_keys(
        str(begin)
    )
    page.wait(lambda: page.driver.find_elements(By.CSS_SELECTOR, "#init img"))
    page.generate(Recipe("a penguin in the snow at night", seed=5))
    page.wait(lambda: len(list((tmp_path / "pictures").iterdir())) == 1)
    (file,) = (tmp_path / "pictures").iterdir()
    picture = read_picture(file)
    assert picture.image.size == (384, 256)
    recipe = recipe_of(picture)
    assert recipe
    assert (recipe.sampler, recipe.strength) == ("UniPC", 0.6)
    assert recipe.init_hash


def test_a_client_that_says_only_the_prompt_gets_the_usual(page: Page, tmp_path: Path) -> None:
    client = Client(page.driver.current_url, verbose=False)
    gallery, _, status = client.predict("a penguin in the snow at night", api_name="/generate")
    assert status.startswith("<strong>clear</strong>")
    assert len(gallery) == 1
    (file,) = (tmp_path / "pictures").iterdir()
    assert read_picture(file).image.size == (256, 256)


def test_a_wrong_prompt_says_what_is_wrong(page: Page) -> None:
    page.click_generate()
    page.wait(lambda: "the prompt is empty" in page.driver.find_element(By.TAG_NAME, "body").text)
    assert page.pictures() == 0


def test_no_check_no_picture(page: Page, studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "library" / "catalog.sqlite").unlink()
    page.fill("prompt", "a penguin in the snow at night")
    page.click_generate()
    body = page.driver.find_element(By.TAG_NAME, "body")
    page.wait(lambda: "removed or replaced while it was in use" in body.text)
    assert page.pictures() == 0
    assert list((tmp_path / "pictures").iterdir()) == []
    assert studio.checker


def test_the_page_asks_no_other_host(page: Page) -> None:
    script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    asked = page.driver.execute_script(script)
    assert [url for url in asked if "//127.0.0.1" not in url and "//localhost" not in url] == []


def test_only_an_upload_can_be_begun_with(page: Page, tmp_path: Path) -> None:
    """Not another file of the server's, whether or not the client calls it an upload."""
    secret = tmp_path / "secret.png"
    Image.open(PHOTOS / "grass.png").save(secret)
    address = f"{page.driver.current_url.rstrip('/')}/gradio_api/call/generate"
    for told in ({}, {"meta": {"_type": "gradio.FileData"}}):
        for path in (str(secret), "http://127.0.0.1:9/x.png"):
            data = ["a", "", 1, 3, 2, 4.0, 0, False, "", "", {"path": path, **told}, 0.05]
            body = json.dumps({"data": data}).encode()
            asked = Request(address, body, {"Content-Type": "application/json"})
            try:
                with urlopen(asked, timeout=60) as answer:
                    event = json.load(answer)["event_id"]
            except HTTPError:
                continue
            with urlopen(f"{address}/{event}", timeout=60) as answer:
                said = answer.read()
            assert b"event: error" in said
            assert b"event: complete" not in said
    assert not list((tmp_path / "pictures").iterdir())


def test_an_upload_that_is_no_picture_is_said_to_be_none(page: Page, tmp_path: Path) -> None:
    begun = tmp_path / "begun.png"
    begun.write_bytes(b"this is no picture")
    client = Client(page.driver.current_url, verbose=False)
    with pytest.raises(AppError, match=r"the picture to begin with, begun\.png: not an image"):
        client.predict("a fox", init=handle_file(begun), api_name="/generate")


def test_an_upload_is_opened_by_nobody_before_it_is_known_to_be_harmless(
    page: Page, tmp_path: Path
) -> None:
    begun = tmp_path / "begun.tif"
    begun.write_bytes(overlapping(2000, 500_000))
    client = Client(page.driver.current_url, verbose=False)
    with pytest.raises(AppError, match="too much to decode"):
        client.predict("a fox", init=handle_file(begun), api_name="/generate")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompt": None}, "Prompt: this cannot be taken: None|needs a prompt"),
        ({"count": None}, "Pictures: this cannot be taken: None"),
        ({"count": 1.7}, "pictures must be a whole number from 1 to 16, got 1.7"),
        ({"steps": "4"}, "Steps: this cannot be taken: '4'"),
        ({"steps": 1.9}, "steps must be a whole number, got 1.9"),
        ({"retries": 0.5}, "retries must be a whole number from 0 to 5, got 0.5"),
        ({"sampler": ["Euler"]}, "sampler must be text"),
        ({"size": ["portrait"]}, "size must be the name of a preset"),
        ({"sampler": "Eulerish"}, "Eulerish"),
    ],
)
def test_what_the_page_would_not_send_is_said_to_be_wrong(
    page: Page, given: dict[str, Any], message: str
) -> None:
    client = Client(page.driver.current_url, verbose=False)
    with pytest.raises(AppError, match=message):
        client.predict(**{"prompt": "a fox", **given}, api_name="/generate")


def test_the_queue_is_the_only_way_in_and_nothing_is_fetched(page: Page) -> None:
    for path in ("run/generate", "file=http://127.0.0.1:9/x.png"):
        asked = Request(f"{page.driver.current_url.rstrip('/')}/gradio_api/{path}")
        if path.startswith("run"):
            asked.data, asked.headers = b'{"data": ["a fox"]}', {"Content-type": "application/json"}
        with pytest.raises(HTTPError) as refused:
            urlopen(asked, timeout=60)
        assert refused.value.code in (403, 404)


def test_the_page_tells_of_the_library_as_it_is(page: Page, studio: Studio, tmp_path: Path) -> None:
    assert "compared with 2 known pictures" in page.text("status")
    assert isinstance(studio.checker.index, Library)
    for name in ("11.png", "12.png"):
        assert studio.checker.index.remove(uri=(tmp_path / "gallery" / name).as_uri()) == 1
    page.driver.refresh()
    page.wait(lambda: "The library is empty" in page.text("status"))


def test_an_upload_with_transparency_is_the_file_itself(
    page: Page, studio: Studio, tmp_path: Path
) -> None:
    begun = tmp_path / "begun.png"
    picture = Image.open(PHOTOS / "grass.png").convert("RGBA").resize((256, 256))
    picture.putalpha(128)
    picture.save(begun)
    client = Client(page.driver.current_url, verbose=False)
    client.predict(
        "a fox", seed=1, steps=2, init=handle_file(begun), strength=0.9, api_name="/generate"
    )
    (file,) = (tmp_path / "pictures").iterdir()
    recipe = recipe_of(read_picture(file))
    asked = studio.painter.complete(Recipe("a fox", seed=1, init=str(begun), strength=0.9))
    assert recipe
    assert recipe.init_hash == asked.init_hash


def test_names_of_references_are_text_in_the_status() -> None:
    row = {"decision": "block", "seed": 1, "attempts": [], "reasons": ["near <img src=x> **a**"]}
    assert _status([row]) == "<strong>block</strong> · seed 1 · near &lt;img src=x&gt; **a**"
