"""examples/web_app in a real Chromium: its runs go on without the page, and the page without its connection."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from runtimeuse_sync import CancelledException
from runtimeuse_sync.journal import load
from runtimeuse_sync.local import LocalRuntime

from .conftest import Browser
from .support import PATIENCE, Agent, Server, served
from .way import Way


def test_what_the_agent_says_is_there_as_it_says_it(browser: Browser, agent: Agent) -> None:
    browser.ask("How many?")
    browser.wait_for_state("running")
    agent.say("I look.")
    browser.wait_for("said", "I look.")
    agent.say("I count.", "Four.")
    browser.wait_for("said", "I look.", "I count.", "Four.")
    agent.answer("4 files")
    browser.wait_for("answer", "4 files")
    browser.wait_for_state("done")


def test_stop_reaches_the_run_in_whichever_process_it_is(browser: Browser, agent: Agent) -> None:
    browser.ask("Take your time.")
    agent.say("I begin.")
    browser.wait_for("said", "I begin.")
    browser.stop()
    browser.wait_for_state("stopped")
    assert agent.cancelled.wait(PATIENCE)
    assert browser.shown("failure") == []


def test_a_page_that_is_loaded_again_in_mid_run_goes_on(browser: Browser, agent: Agent) -> None:
    browser.ask("Go on.")
    agent.say("one")
    browser.wait_for("said", "one")
    browser.driver.refresh()
    browser.wait_for("said", "one")
    agent.say("two")
    browser.wait_for("said", "one", "two")
    agent.answer("done")
    browser.wait_for_state("done")
    browser.driver.refresh()
    browser.wait_for_state("done")
    assert browser.shown("said") == ["one", "two"]


def test_two_tabs_show_the_same_and_one_stops_both(browser: Browser, agent: Agent) -> None:
    browser.ask("For two.")
    first = browser.new_tab()
    agent.say("both")
    browser.wait_for("said", "both")
    browser.stop()
    browser.wait_for_state("stopped")
    browser.driver.switch_to.window(first)
    browser.wait_for_state("stopped")
    assert browser.shown("said") == ["both"]


def test_a_connection_that_is_cut_is_made_again_and_nothing_is_lost_or_said_twice(
    browser: Browser, agent: Agent, way: Way
) -> None:
    browser.ask("Hold on.")
    agent.say("before")
    browser.wait_for("said", "before")
    way.cut()
    browser.wait_for_state("reconnecting")
    agent.say("meanwhile")
    way.mend()
    browser.wait_for("said", "before", "meanwhile")
    browser.wait_for_state("running")
    agent.answer("done")
    browser.wait_for_state("done")
    assert browser.shown("said") == ["before", "meanwhile"]


def test_a_killed_worker_is_told_and_what_it_had_written_is_kept(
    browser: Browser, agent: Agent, server: Server
) -> None:
    run_id = browser.ask("Do not die.")
    agent.say("I live.")
    browser.wait_for("said", "I live.")
    server.kill_worker_of(run_id)
    browser.wait_for_state("interrupted")
    assert browser.shown("said") == ["I live."]
    assert agent.cancelled.wait(PATIENCE)  # its connection is gone, and so is its work
    browser.driver.refresh()
    browser.wait_for_state("interrupted")
    assert browser.shown("said") == ["I live."]


def test_files_of_the_agent_can_be_saved(browser: Browser, agent: Agent) -> None:
    browser.ask("Write.")
    agent.leave("<b>report.csv", "a,b\n")
    agent.answer("written")
    browser.wait_for_state("done")
    link = browser.driver.find_element(By.CSS_SELECTOR, "#file-list a")
    assert link.text == "<b>report.csv"
    with urllib.request.urlopen(str(link.get_attribute("href")), timeout=PATIENCE) as response:
        assert response.read() == b"a,b\n"
        assert response.headers["Content-Disposition"] == "attachment; filename=_b_report.csv"


def test_a_failure_is_shown(browser: Browser, agent: Agent) -> None:
    browser.ask("Fail.")
    agent.fail("the disk is full")
    browser.wait_for_state("failed")
    assert "the disk is full" in browser.shown("failure")[0]


def test_output_of_commands_is_one_block_and_its_errors_stand_out(
    browser: Browser, agent: Agent, server: Server
) -> None:
    run_id = browser.ask("Test it.")
    agent.say("I test.")
    browser.wait_for("said", "I test.")
    journal = server.folder / run_id / "journal.jsonl"
    line = {**json.loads(journal.read_bytes().splitlines()[-1]), "event": "received"}
    for stream, text in (("stdout", "1 "), ("stdout", "passed\n"), ("stderr", "<b>no\n")):
        message = {"message_type": "command_output_message", "stream": stream, "text": text, "command": "make"}
        with journal.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({**line, "message": message}, separators=(",", ":")) + "\n")
    browser.wait_for("output", "1 passed\n<b>no\n")
    assert browser.shown("stderr") == ["<b>no\n"]
    agent.answer("done")
    browser.wait_for_state("done")


def test_a_server_that_ends_tells_its_agents_and_its_pages(tmp_path: Path, agent: Agent, runtime: LocalRuntime) -> None:
    with served(tmp_path, runtime.url) as (server, way):
        form = urllib.parse.urlencode({"question": "Take your time."}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{way.port}/runs", form, timeout=PATIENCE) as response:
            run_id = response.url.rpartition("/")[2]
        agent.say("I begin.")
        for line in server.events(run_id):
            if b"I begin." in line:
                break
    assert agent.cancelled.wait(PATIENCE)
    (run,) = load(tmp_path / run_id / "journal.jsonl")
    assert isinstance(run.error, CancelledException)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/runs", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("GET", "/", {"Host": "attacker.example"}, 400),
        ("GET", "/runs/..%2f..%2fetc", {}, 404),
        ("GET", "/runs/0123456789abcdef", {}, 404),
        ("GET", "/runs/{run_id}/files?path=..%2fjournal.jsonl", {}, 404),
        ("PUT", "/runs/{run_id}/uploads/0123456789012345678901", {}, 404),
    ],
)
def test_what_is_not_the_pages_is_refused(
    browser: Browser, agent: Agent, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    run_id = browser.ask("Guard it.")
    request = urllib.request.Request(browser.url + path.format(run_id=run_id)[1:], b"", headers, method=method)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=PATIENCE)
    caught.value.close()
    assert caught.value.code == status
    agent.answer("done")
    browser.wait_for_state("done")


HOSTILE = [
    "<script>document.title = 'taken'</script>",
    "<img src=x onerror=\"document.title = 'taken'\">",
    "</article></main>\u2028\x00data: {}\n\nevent: end\ndata: {}\n\n",
    "javascript:alert(1)",
]


def test_hostile_text_is_text(browser: Browser, agent: Agent) -> None:
    browser.ask("<script>document.title = 'taken'</script>")
    agent.say(*HOSTILE)
    browser.wait_for("said", *HOSTILE)
    agent.answer(HOSTILE[1])
    browser.wait_for_state("done")
    assert browser.driver.title.startswith("Run ")
    assert browser.driver.find_elements(By.CSS_SELECTOR, "#log script, #log img") == []
    assert browser.driver.get_log("browser") == []


@pytest.mark.parametrize("width", [420, 1280])
def test_nothing_is_wider_than_the_page(browser: Browser, agent: Agent, width: int) -> None:
    browser.driver.set_window_size(width, 800)
    browser.ask("w" * 200)
    agent.say("x" * 2000)
    agent.answer("y" * 2000)
    browser.wait_for_state("done")
    assert browser.driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth") <= 0
