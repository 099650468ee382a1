"""A page that shows an agent live: ``cd examples/web_app && gunicorn app:app``.

A run belongs to the process that began it, and to nobody's request: pages come and go, any process shows it and stops
it, and a page whose connection was cut goes on where it was. The page knows no user: keep it on this machine, or put
what asks for a password in front of it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import threading
from pathlib import Path
from typing import Any

import flask
from runs import RunFolder, latest

from runtimeuse_sync import (
    ArtifactUploadRequestMessageInterface,
    ArtifactUploadResult,
    Client,
    CommandInterface,
    QueryOptions,
    RuntimeUseError,
)
from runtimeuse_sync.journal import record
from runtimeuse_sync.web import SSE_HEADERS, sse_journal

ROOT = Path(os.environ.get("RUNS_DIR", "runs")).resolve()
HOSTS = os.environ.get("APP_HOSTS", "localhost,127.0.0.1").split(",")

# Of one process. Each takes a thread, and money.
MOST_RUNS = 20
# Seconds, of a run, and of the end of all of a process's runs.
TIMEOUT, END_WAIT = 3600, 8.0

PROMPT = "Be brief. Files for the user go into the folder {}."
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

app = flask.Flask(__name__)
app.config["TRUSTED_HOSTS"] = HOSTS  # or a page elsewhere could pretend, by its DNS, to be this one
client = Client(os.environ.get("RUNTIME_URL", "ws://localhost:8080"), defaults=QueryOptions(timeout=TIMEOUT))
threads: set[threading.Thread] = set()
ending = threading.Event()


# --- the run, in a thread ---------------------------------------------------------------------------------


def work(run: RunFolder, recorded: contextlib.ExitStack, recorder: Client, base_url: str) -> None:
    """Run to the end. What happens is in the journal, failures too; there the pages read it."""

    def place(request: ArtifactUploadRequestMessageInterface) -> ArtifactUploadResult:
        url = f"{base_url}runs/{run.id}/uploads/{run.new_ticket(request.filepath)}"
        return ArtifactUploadResult(presigned_url=url, content_type="application/octet-stream")

    folder = f"/tmp/runtimeuse-web-app/{run.id}"
    with recorded, contextlib.suppress(RuntimeUseError):
        try:
            recorder.query(
                run.question,
                system_prompt=PROMPT.format(folder),
                pre_agent_invocation_commands=[CommandInterface(f"mkdir -p {folder}")],
                artifacts_dirs=[folder],
                on_artifact_upload_request=place,
                is_cancelled=lambda: run.is_stopped() or ending.is_set(),
            )
        finally:
            threads.discard(threading.current_thread())


@atexit.register
def end_all() -> None:
    """When the server stops or reloads: the agents are told, and the pages."""
    ending.set()
    for thread in list(threads):
        thread.join(END_WAIT)


# --- the views --------------------------------------------------------------------------------------------


@app.before_request
def refuse_other_sites() -> None:
    """A form of another site cannot start or stop anything."""
    if flask.request.method == "POST" and flask.request.headers.get("Sec-Fetch-Site", "none") not in (
        "same-origin",
        "none",
    ):
        flask.abort(403)


@app.after_request
def secure(response: flask.Response) -> flask.Response:
    """Whatever an agent writes, the page runs no script but its own, and loads nothing from elsewhere."""
    response.headers.update(SECURITY)
    return response


@app.errorhandler(FileNotFoundError)
def not_there(error: FileNotFoundError) -> tuple[str, int]:
    """A journal that was not begun, a file that has not arrived, a ticket that was used."""
    return "It is not there.", 404


def found(run_id: str) -> RunFolder:
    """The run of that id; if there is none, 404."""
    run = RunFolder(ROOT / run_id)
    if not re.fullmatch("[0-9a-f]{16}", run_id) or not run.path.is_dir():
        flask.abort(404)
    return run


@app.get("/")
def index() -> str:
    """The form, and the last runs."""
    return flask.render_template("index.html", runs=latest(ROOT, 20))


@app.post("/runs")
def start() -> Any:
    """Begin a run, and show it."""
    question = flask.request.form.get("question", "").strip()
    if not question:
        return flask.redirect(flask.url_for("index"), 303)
    if len(threads) >= MOST_RUNS:
        flask.abort(503, "Too many runs: try again when one has ended.")
    run = RunFolder.create(ROOT, question)
    recorded = contextlib.ExitStack()  # entered here, so that there is a journal when the page asks for it
    recorder = recorded.enter_context(record(client, run.journal))
    base_url = os.environ.get("APP_URL", flask.request.host_url)  # where the runtime reaches this application
    thread = threading.Thread(target=work, args=(run, recorded, recorder, base_url), name=f"run-{run.id}", daemon=True)
    threads.add(thread)
    thread.start()
    return flask.redirect(flask.url_for("show", run_id=run.id), 303)


@app.get("/runs/<run_id>")
def show(run_id: str) -> str:
    """The page of a run. All that is on it comes as events."""
    return flask.render_template("run.html", run=found(run_id))


@app.get("/runs/<run_id>/events")
def events(run_id: str) -> flask.Response:
    """What happens, as it happens; after what the page has seen, if it says so."""
    last = flask.request.headers.get("Last-Event-ID") or flask.request.args.get("after")
    return flask.Response(sse_journal(found(run_id).journal, last), headers=SSE_HEADERS)


@app.post("/runs/<run_id>/stop")
def stop(run_id: str) -> tuple[str, int]:
    """Ask for its end; the run sees it within a quarter of a second, in whichever process it is."""
    found(run_id).stop()
    return "", 204


@app.put("/runs/<run_id>/uploads/<ticket>")
def upload(run_id: str, ticket: str) -> tuple[str, int]:
    """Take a file from the runtime."""
    if not re.fullmatch(r"[\w-]{22}", ticket):
        flask.abort(404)
    found(run_id).receive(ticket, flask.request.stream)
    return "", 201


@app.get("/runs/<run_id>/files")
def artifact(run_id: str) -> flask.Response:
    """A file of the agent's: to be saved, never to be shown, whatever is in it."""
    path = flask.request.args.get("path", "")
    name = re.sub(r"[^\w .-]", "_", path.rpartition("/")[2])
    return flask.send_file(
        found(run_id).file(path), mimetype="application/octet-stream", as_attachment=True, download_name=name
    )
