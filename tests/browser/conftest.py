"""A Chromium and the application, both for all tests, and an agent for each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from runtimeuse_sync import Client
from runtimeuse_sync.local import LocalRuntime

from .support import PATIENCE, Agent, Server, Stage, served
from .way import Way

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("there is no chromium with its chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(DRIVER)) as chrome:
        chrome.set_page_load_timeout(PATIENCE)
        yield chrome


@attrs.frozen
class Browser:
    """The page, as who looks at it sees it."""

    driver: webdriver.Chrome
    url: str

    def ask(self, question: str) -> str:
        """Begin a run; its id."""
        self.driver.get(self.url)
        self.driver.find_element(By.ID, "question").send_keys(question)
        self.driver.find_element(By.CSS_SELECTOR, "form button").click()
        self.wait_for("question", question)
        return str(self.driver.current_url.rpartition("/")[2])

    def shown(self, kind: str) -> list[str]:
        """The texts of the blocks of a kind, in their order."""
        script = "return [...document.getElementsByClassName(arguments[0])].map((block) => block.textContent)"
        return list(self.driver.execute_script(script, kind))

    def wait_for(self, kind: str, *texts: str) -> None:
        self._wait(lambda: self.shown(kind) == list(texts), lambda: self.shown(kind))

    def wait_for_state(self, name: str) -> None:
        self._wait(lambda: self.state() == name, self.state)

    def state(self) -> str:
        return str(self.driver.find_element(By.ID, "state").text)

    def stop(self) -> None:
        self.driver.find_element(By.ID, "stop").click()

    def new_tab(self) -> str:
        """A second tab with the same page; the handle of the first."""
        first, url = str(self.driver.current_window_handle), self.driver.current_url
        self.driver.switch_to.new_window("tab")
        self.driver.get(url)
        return first

    def _wait(self, is_so: Any, look: Any) -> None:
        try:
            WebDriverWait(self.driver, PATIENCE, 0.05).until(lambda _: is_so())
        except Exception as error:
            raise AssertionError(f"the page shows {look()!r}") from error


@pytest.fixture(scope="session")
def stage() -> Stage:
    return Stage()


@pytest.fixture
def agent(stage: Stage) -> Agent:
    stage.agent = Agent()
    return stage.agent


@pytest.fixture(scope="session")
def runtime(stage: Stage) -> Iterator[LocalRuntime]:
    with LocalRuntime(stage, settle_seconds=0.2, heartbeat_interval=0.2) as runtime:
        Client(runtime.url).execute_commands(["true"])  # what it keeps for commands would look left behind
        yield runtime


@pytest.fixture(scope="session")
def application(runtime: LocalRuntime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Way]]:
    with served(tmp_path_factory.mktemp("runs"), runtime.url) as (server, way):
        yield server, way


@pytest.fixture
def server(application: tuple[Server, Way]) -> Server:
    return application[0]


@pytest.fixture
def way(application: tuple[Server, Way]) -> Way:
    return application[1]


@pytest.fixture
def browser(driver: webdriver.Chrome, way: Way, agent: Agent) -> Iterator[Browser]:
    yield Browser(driver, f"http://127.0.0.1:{way.port}/")
    first, *others = driver.window_handles
    for handle in others:
        driver.switch_to.window(handle)
        driver.close()
    driver.switch_to.window(first)
    driver.get("about:blank")
    driver.get_log("browser")
    way.cut()
    way.mend()
