"""``runtime_cassette``, as the tests of an example project use it; and the switch that refuses connections."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import InvocationMessage
from runtimeuse_sync.local import LocalRuntime

from ..support import port_without_listener

Local = Callable[..., LocalRuntime]

pytestmark = pytest.mark.timeout(180)

CODE = """
    # summary.py
    import os

    from runtimeuse_sync import Client, QueryOptions, RuntimeUseError

    # Made when the module is imported: before any fixture.
    client = Client(os.environ["AGENT_URL"], headers={"Authorization": "Bearer top-secret-token"})


    def summarise(text, key="the-agents-key"):
        options = QueryOptions(system_prompt="Be brief.", agent_env={"KEY": key}, secrets_to_redact=["hunter2"])
        return client.query(text, options).data.text


    def view(text):
        try:
            return 200, summarise(text)
        except RuntimeUseError:
            return 502, None
"""

TESTS = """
    # test_summary.py
    import threading

    import pytest
    from summary import client, summarise, view

    from runtimeuse_sync import AgentRuntimeError, CommandInterface, InvocationMessage


    def test_one(runtime_cassette):
        assert summarise("one, hunter2") == "one, [REDACTED]!"


    @pytest.mark.parametrize("text", ["a/b", "a b"])
    def test_each(runtime_cassette, text):
        assert summarise(text) == f"{text}!"


    class TestGroup:
        def test_an_error(self, runtime_cassette):
            with pytest.raises(AgentRuntimeError, match="told to fail"):
                summarise("fail")
            assert view("again")[0] == 200


    def test_threads_and_a_session_and_commands(runtime_cassette):
        found = {}
        threads = [threading.Thread(target=lambda n=n: found.update({n: summarise(f"n{n}")})) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {n: f"n{n}!" for n in range(4)}
        with client.session() as session:
            assert session.query("x").output == "x!"
            assert session.execute_commands([CommandInterface(command="echo hi")]).results[0].stdout == "hi\\n"
"""


class Project:
    """A folder with code and tests, for another pytest: in this process, where that is enough."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self._pytester = pytester
        self._monkeypatch = monkeypatch
        self.path = pytester.path
        for text in (CODE, TESTS):
            self.write(text)

    def write(self, text: str) -> None:
        text = textwrap.dedent(text).lstrip()
        (self.path / text.partition("\n")[0].lstrip("# ")).write_text(text, encoding="utf-8")

    def run(self, url: str, *options: str, as_users_do: bool = False) -> pytest.RunResult:
        self._monkeypatch.setenv("AGENT_URL", url)
        usual = ("-W", "error", "-p", "no:cacheprovider")
        if as_users_do:
            return self._pytester.runpytest_subprocess(*usual, *options)
        # The plugins that this process has imported already.
        return self._pytester.runpytest_inprocess(*usual, "-W", "ignore::pytest.PytestAssertRewriteWarning", *options)

    @property
    def cassettes(self) -> list[str]:
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*.jsonl*"))


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(pytester, monkeypatch)


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A URL at which nobody listens."""
    with port_without_listener() as port:
        yield f"ws://127.0.0.1:{port}"


def agent(invocation: InvocationMessage, sender: Any) -> str:
    if "fail" in invocation.user_prompt:
        raise ValueError("told to fail")
    sender.assistant("working")
    return f"{invocation.user_prompt}!"


def noting(prompts: list[str]) -> Callable[..., str]:
    """The agent; it notes what it was asked."""

    def handler(invocation: InvocationMessage, sender: Any) -> str:
        prompts.append(invocation.user_prompt)
        return agent(invocation, sender)

    return handler


@pytest.mark.slow
def test_a_project_is_recorded_once_and_played_ever_after(project: Project, local_runtime: Local, nowhere: str) -> None:
    prompts: list[str] = []
    url = local_runtime(noting(prompts)).url
    project.run(url, "--runtimeuse-record=new", as_users_do=True).assert_outcomes(passed=5)
    assert len(prompts) == 10
    assert [name.partition("-")[0] for name in project.cassettes] == [
        "cassettes/test_summary/TestGroup.test_an_error.jsonl",
        "cassettes/test_summary/test_each",
        "cassettes/test_summary/test_each",
        "cassettes/test_summary/test_one.jsonl",
        "cassettes/test_summary/test_threads_and_a_session_and_commands.jsonl",
    ]
    for options in ([], ["--runtimeuse-block-network"], ["-n", "2"], ["--runtimeuse-record=new"]):
        project.run(nowhere, *options, as_users_do=True).assert_outcomes(passed=5)
    assert len(prompts) == 10
    text = "".join((project.path / name).read_text(encoding="utf-8") for name in project.cassettes)
    for secret in ("hunter2", "the-agents-key", "top-secret-token"):
        assert secret not in text


@pytest.mark.slow
def test_workers_record_beside_each_other(project: Project, local_runtime: Local, nowhere: str) -> None:
    url = local_runtime(agent).url
    project.run(url, "-n", "2", "--runtimeuse-record=new", as_users_do=True).assert_outcomes(passed=5)
    project.run(nowhere).assert_outcomes(passed=5)


def test_what_is_missing_is_named(project: Project, local_runtime: Local, nowhere: str) -> None:
    project.write("""
        # test_summary.py
        import threading
        from summary import summarise, view

        def test_that_would_handle_it(runtime_cassette):
            view("first")

        def test_on_a_thread(runtime_cassette):
            thread = threading.Thread(target=view, args=["second"])
            thread.start()
            thread.join()

        def test_that_fails_itself(runtime_cassette):
            assert view("third")[0] == 200

        def test_that_raises(runtime_cassette):
            summarise("hunter2")
    """)
    result = project.run(nowhere)
    result.assert_outcomes(failed=4)
    text = result.stdout.str()
    for call in ("first", "second", "third", "[REDACTED]"):
        assert f"  invoke: {call}" in text
    assert "test_that_would_handle_it.jsonl" in text
    assert "To record this test: pytest --runtimeuse-record=new" in text

    url = local_runtime(agent).url
    project.run(url, "--runtimeuse-record=new").assert_outcomes(passed=4)
    tests = project.path / "test_summary.py"
    tests.write_text(tests.read_text(encoding="utf-8").replace("third", "fourth"), encoding="utf-8")
    for mode in ("none", "new"):
        result = project.run(nowhere, f"--runtimeuse-record={mode}")
        result.assert_outcomes(passed=3, failed=1)
        result.stdout.fnmatch_lines(["*invoke: fourth", "*--runtimeuse-record=all", "*- 'third'*", "*+ 'fourth'*"])
    project.run(url, "--runtimeuse-record=all").assert_outcomes(passed=4)
    project.run(nowhere).assert_outcomes(passed=4)


def test_a_test_that_fails_leaves_no_cassette_and_keeps_the_one_it_had(project: Project, local_runtime: Local) -> None:
    test = """
        # test_summary.py
        from summary import summarise

        def test_it(runtime_cassette):
            assert runtime_cassette.is_recording
            assert summarise("one") == "{answer}"
    """
    url = local_runtime(agent).url
    project.write(test.format(answer="another"))
    project.run(url, "--runtimeuse-record=new").assert_outcomes(failed=1)
    assert project.cassettes == []
    project.write(test.format(answer="one!"))
    project.run(url, "--runtimeuse-record=new").assert_outcomes(passed=1)
    (name,) = project.cassettes
    before = (project.path / name).read_bytes()
    project.write(test.format(answer="another"))
    project.run(url, "--runtimeuse-record=all").assert_outcomes(failed=1)
    assert project.cassettes == [name]
    assert (project.path / name).read_bytes() == before


@pytest.mark.slow
def test_a_marker_says_how_it_is_played(project: Project, local_runtime: Local, nowhere: str, tmp_path: Path) -> None:
    project.write(
        """
        # test_summary.py
        import pytest
        from summary import client, summarise, view

        from runtimeuse_sync.journal import Fault

        @pytest.mark.runtime_cassette(fields=["system_prompt"])
        def test_fields(runtime_cassette):
            import os
            assert summarise(f"process {os.getpid()}").startswith("process")

        @pytest.mark.runtime_cassette(fields=[])
        def test_files_of_now(runtime_cassette, tmp_path):
            (tmp_path / "here").write_text("something")
            there = "{there}"
            client.upload(tmp_path / "here", there)
            assert client.run(["cat", there]).stdout == "something"
            client.download(there, tmp_path / "again")
            assert (tmp_path / "again").read_text() == "something"

        @pytest.mark.runtime_cassette(faults=[Fault.cut(after=1)])
        def test_faults(runtime_cassette):
            assert view("one") == ((200, "one!") if runtime_cassette.is_recording else (502, None))
    """.replace("{there}", str(tmp_path / "there"))
    )
    url = local_runtime(agent).url
    project.run(url, "--runtimeuse-record=new", as_users_do=True).assert_outcomes(passed=3)
    project.run(nowhere, as_users_do=True).assert_outcomes(passed=3)


# In this process it would know the runtime that this test has started.
@pytest.mark.slow
def test_the_switch_refuses_connections_but_those_of_the_fixtures(
    project: Project, local_runtime: Local, nowhere: str
) -> None:
    project.write("""
        # test_summary.py
        import threading
        from summary import summarise, view

        from runtimeuse_sync import Client
        from runtimeuse_sync.testing import Reply, generation

        def test_refused():
            summarise("one")

        def test_refused_though_handled_elsewhere():
            def run():
                try:
                    view("two")
                except BaseException:
                    pass

            thread = threading.Thread(target=run)
            thread.start()
            thread.join()

        def test_no_cassette_and_no_connection_either(runtime_cassette):
            view("three")

        def test_local(local_runtime):
            assert Client(local_runtime(lambda *_: "yes").url).query("x").output == "yes"

        def test_scripted(scripted_runtime):
            url = scripted_runtime(generation("0.15", Reply(result="yes"))).url
            assert Client(url.replace("ws", "http").replace("127.0.0.1", "localhost")).query("x").output == "yes"
    """)
    prompts: list[str] = []
    url = local_runtime(noting(prompts)).url
    result = project.run(url, "--runtimeuse-block-network", as_users_do=True)
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines([f"connections refused by --runtimeuse-block-network: {url}"] * 2)
    assert prompts == []
    done = project.run(url, "--runtimeuse-record=new", "--runtimeuse-block-network", as_users_do=True)
    done.assert_outcomes(passed=3, failed=2)
    assert prompts == ["three"]
    project.run(url).assert_outcomes(passed=5)
