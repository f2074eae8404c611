"""The chat page as people have it: a real browser, before the router's real nginx, a played model and the recorder."""

import json
import math
import re
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from serving_runtime.plan import bucket
from tests.support.browser import browsing
from tests.support.recorder import recorder, shipping

from .speaker import LOGPROB, Speaker, speaker
from .stand import SALT, Stand, standing, table

ARM, VERSION = ("stable", "one") if bucket(SALT, "u1") < 5000 else ("tuned", "two")
SURE = f"Confidence {100 * math.exp(LOGPROB):.0f} %"
_PATIENCE_MS = 20_000


@pytest.fixture(scope="module")
def spoken() -> Iterator[Speaker]:
    with speaker() as played:
        yield played


@pytest.fixture(scope="module")
def stand(spoken: Speaker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("router")
    with ExitStack() as stack:
        router = stack.enter_context(standing(folder, routes=table(spoken.port, 1)))
        address = stack.enter_context(recorder(folder))
        (folder / "address").write_text(address)
        stack.enter_context(shipping(folder))
        yield router


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as made:
        yield made


@pytest.fixture
def page(browser: Browser, stand: Stand) -> Iterator[Page]:
    """The page, at a browser that has never seen it; its scripts and styles give no cause for complaint."""
    complaints: list[str] = []
    with browser.new_context() as context:
        made = context.new_page()
        made.set_default_timeout(_PATIENCE_MS)
        made.on("pageerror", lambda error: complaints.append(str(error)))
        made.on("console", lambda told: complaints.append(told.text) if "Policy" in told.text else None)
        made.goto(f"http://127.0.0.1:{stand.port}/ui")
        expect(made.get_by_label("Model", exact=True)).to_have_value("alike")
        yield made
    assert complaints == []


def _ask(page: Page, question: str, *, model: str = "split") -> Locator:
    """Ask it, and return the turn."""
    page.get_by_label("Model", exact=True).first.fill(model)
    page.get_by_label("Message", exact=True).fill(question)
    page.get_by_role("button", name="Send").click()
    return page.get_by_role("article").last


def _name(page: Page, user: str) -> None:
    page.get_by_text("Settings").click()
    page.get_by_label("Your name").fill(user)


def test_an_answer_comes_with_its_variant_and_how_sure_the_model_was_and_can_be_rated(page: Page) -> None:
    _name(page, "u1")
    turn = _ask(page, "hello there")
    expect(turn.locator(".answer")).to_have_text("hello there ")
    expect(turn.locator(".facts")).to_contain_text(f"Variant {ARM} · Version {VERSION} · {SURE} · First words after")
    expect(turn.locator(".facts")).to_contain_text("2 tokens in")
    four = turn.get_by_role("button", name="4", exact=True)
    four.click()
    expect(turn.get_by_role("status")).to_have_text(re.compile("^(Recorded|Counts once the answer is recorded)$"))
    expect(four).to_have_attribute("aria-pressed", "true")


def test_what_would_count_nowhere_is_not_offered_to_be_rated(page: Page) -> None:
    """Who names a version, or nobody to be, takes part in nothing."""
    _name(page, "u1")
    turn = _ask(page, "hello", model="plain@2")
    expect(turn.locator(".facts")).to_contain_text("Version two")
    expect(turn.locator(".rating")).to_be_hidden()
    page.get_by_label("Your name").fill("")
    turn = _ask(page, "hello")
    expect(turn.locator(".facts")).to_contain_text("Version one")
    expect(turn.locator(".rating")).to_be_hidden()


def test_the_model_is_told_the_conversation_and_its_instructions_until_a_new_one_begins(
    page: Page, spoken: Speaker
) -> None:
    page.get_by_text("Settings").click()
    page.get_by_label("Instructions for the model").fill("be brief")
    expect(_ask(page, "one").locator(".facts")).not_to_be_empty()
    expect(_ask(page, "two").locator(".facts")).not_to_be_empty()
    said = [(message["role"], message["content"]) for message in spoken.bodies[-1]["messages"]]
    assert said == [("system", "be brief"), ("user", "one"), ("assistant", "one "), ("user", "two")]
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_role("article")).to_have_count(0)
    expect(_ask(page, "three").locator(".facts")).not_to_be_empty()
    assert len(spoken.bodies[-1]["messages"]) == 2


def test_two_versions_answer_the_same_question_beside_each_other(page: Page) -> None:
    page.get_by_role("button", name="Compare two").click()
    page.get_by_label("Model", exact=True).last.fill("plain@2")
    _ask(page, "hello", model="plain@1")
    first, second = page.get_by_role("article").all()
    expect(first.locator(".facts")).to_contain_text("Version one")
    expect(second.locator(".facts")).to_contain_text("Version two")
    assert [turn.locator(".answer").text_content() for turn in (first, second)] == ["hello ", "hello "]
    page.get_by_role("button", name="Compare two").click()
    expect(page.get_by_label("Model", exact=True)).to_have_count(1)


def test_the_keyboard_alone_asks_in_korean_and_rates(page: Page, spoken: Speaker) -> None:
    """Enter ends a syllable that is being composed, and sends nothing then."""
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.keyboard.insert_text("안녕하세요 세계")
    asked = sum(spoken.asked.values())
    composing = "new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true})"
    page.evaluate(f"document.activeElement.dispatchEvent({composing})")
    page.keyboard.press("Shift+Enter")
    page.keyboard.insert_text("둘째 줄")
    assert sum(spoken.asked.values()) == asked
    page.keyboard.press("Enter")
    turn = page.get_by_role("article").last
    expect(turn.locator(".answer")).to_have_text("안녕하세요 세계 둘째 줄 ")
    three = turn.get_by_role("button", name="3", exact=True)
    for _ in range(12):
        page.keyboard.press("Shift+Tab")
        if three.evaluate("button => button === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(turn.get_by_role("status")).not_to_be_empty()


def test_what_goes_wrong_is_told_in_the_router_s_words_and_the_next_question_goes_without_it(
    page: Page, spoken: Speaker
) -> None:
    turn = _ask(page, "hello", model="nobody")
    expect(turn.get_by_role("alert")).to_contain_text("nobody")
    expect(_ask(page, "429").get_by_role("alert")).to_have_text("no more")
    expect(_ask(page, "again").locator(".facts")).not_to_be_empty()
    assert [message["content"] for message in spoken.bodies[-1]["messages"]] == ["again"]


def test_an_answer_that_takes_long_can_be_stopped(page: Page) -> None:
    turn = _ask(page, "silence")
    page.get_by_role("button", name="Stop").click()
    expect(turn.get_by_role("alert")).to_contain_text("Stopped")
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_nothing_is_wider_than_a_narrow_screen(page: Page) -> None:
    page.set_viewport_size({"width": 340, "height": 640})
    page.get_by_role("button", name="Compare two").click()
    page.get_by_text("Settings").click()
    _ask(page, "x" * 400)
    expect(page.get_by_role("article").last.locator(".facts")).not_to_be_empty()
    assert page.evaluate("document.documentElement.scrollWidth") <= 340


def test_settings_are_there_again_and_what_was_said_is_not(page: Page) -> None:
    _name(page, "u7")
    expect(_ask(page, "hello").locator(".facts")).not_to_be_empty()
    page.reload()
    page.get_by_text("Settings").click()
    expect(page.get_by_label("Your name")).to_have_value("u7")
    kept = json.loads(page.evaluate("localStorage.getItem('anneal-chat')"))
    assert (kept["user"], list(kept)) == ("u7", _settings(page))
    assert page.evaluate("localStorage.length") == 1


def _settings(page: Page) -> list[str]:
    names: list[str] = page.evaluate("[...document.getElementById('settings').elements].map(field => field.name)")
    return names


def test_its_files_may_load_nothing_from_elsewhere_and_nothing_else_is_there(stand: Stand) -> None:
    for name in ("", "chat.css", "chat.js", "client.js"):
        answer = stand.ask(f"/ui/{name}")
        assert answer.status == 200
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert answer.headers["content-type"].endswith("; charset=utf-8")
    assert stand.ask("/ui/router.lua").error.startswith("there is nothing at this path")
    with urllib.request.urlopen(f"http://127.0.0.1:{stand.port}/ui?from=a-link", timeout=10) as page:
        assert page.url == f"http://127.0.0.1:{stand.port}/ui/"
    folder = Path(__file__).parents[2] / "serving_runtime/router/ui"
    assert not re.search(r"https?://", "".join(file.read_text() for file in folder.iterdir()))


def test_a_setting_that_cannot_be_is_shown_where_it_would_keep_a_question_from_being_asked(page: Page) -> None:
    page.get_by_text("Settings").click()
    longest = page.get_by_label("Longest answer")
    longest.fill("")
    page.get_by_text("Settings").click()
    expect(longest).to_be_hidden()
    page.get_by_label("Message", exact=True).fill("hello")
    page.get_by_role("button", name="Send").click()
    expect(longest).to_be_focused()


def test_the_keyboard_stays_where_it_is_as_an_answer_ends(page: Page) -> None:
    page.get_by_text("Settings").click()
    turn = _ask(page, "silence")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.get_by_label("Instructions for the model").focus()
    page.evaluate("document.getElementById('stop').click()")
    expect(turn.get_by_role("alert")).not_to_be_empty()
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(page.get_by_label("Instructions for the model")).to_be_focused()


def test_a_conversation_that_is_closed_is_waited_for_no_longer(page: Page) -> None:
    page.get_by_role("button", name="Compare two").click()
    page.get_by_label("Model", exact=True).last.fill("split")
    first = page.get_by_role("article").first
    _ask(page, "silence", model="nobody")
    expect(first.get_by_role("alert")).to_contain_text("nobody")
    with page.expect_event("requestfailed"):
        page.get_by_role("button", name="Compare two").click()
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_a_browser_that_keeps_nothing_has_the_page_all_the_same(page: Page) -> None:
    page.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new DOMException() }})")
    page.reload()
    expect(page.get_by_label("Model", exact=True)).to_have_value("alike")
    expect(_ask(page, "hello").locator(".answer")).to_have_text("hello ")
