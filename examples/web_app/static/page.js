// Shows a run. Whatever comes from the agent becomes text (textContent), never HTML.
"use strict";

const log = document.getElementById("log");
const state = document.getElementById("state");
const detail = document.getElementById("detail");
const stop = document.getElementById("stop");
const files = document.getElementById("files");

// Pieces of output in one block: beyond them a page gets slow.
const MOST_PIECES = 2000;
// Milliseconds until the next try where the browser has given up.
const RETRY = 2000;

// What a run has been that ended with such an error; with any other, it has failed.
const OUTCOMES = { CancelledException: "stopped", Interrupted: "interrupted" };

let seen = ""; // the id of the last event
let source = null;
let output = null; // the block that output goes into
let outcome = "done"; // what the run will have been when it ends

function show(name, more = "") {
  state.textContent = name;
  state.dataset.state = name;
  detail.textContent = more;
  stop.hidden = !["running", "reconnecting", "stopping"].includes(name);
  stop.disabled = name === "stopping";
}

// Who reads further up is left there; who is at the end stays at the end.
function append(parent, child) {
  const isAtEnd = window.innerHeight + window.scrollY >= document.body.scrollHeight - 40;
  parent.append(child);
  if (isAtEnd) window.scrollTo(0, document.body.scrollHeight);
}

function add(kind, text) {
  const block = document.createElement(kind === "output" ? "pre" : "article");
  block.className = kind;
  block.textContent = text;
  append(log, block);
  return block;
}

function addOutput(text, stream) {
  if (output === null || log.lastElementChild !== output) output = add("output", "");
  const piece = document.createElement("span");
  piece.className = stream;
  piece.textContent = text;
  append(output, piece);
  if (output.childElementCount > MOST_PIECES) output.firstElementChild.remove();
  output.scrollTop = output.scrollHeight;
}

function addFile(name, path) {
  const link = document.createElement("a");
  link.textContent = name;
  link.href = `${log.dataset.files}?${new URLSearchParams({ path })}`;
  const item = document.createElement("li");
  item.append(link);
  files.hidden = false;
  append(document.getElementById("file-list"), item);
}

function answerOf(data) {
  return data.type === "text" ? data.text : JSON.stringify(data.structured_output, null, 2);
}

const actions = {
  assistant_message: (event) => event.text_blocks.filter(Boolean).forEach((text) => add("said", text)),
  command_output_message: (event) => addOutput(event.text, event.stream === "stderr" ? "stderr" : "stdout"),
  heartbeat_message: (event) => show(state.dataset.state, `${event.phase}, ${Math.round(event.elapsed_ms / 1000)} s`),
  result_message: (event) => add("answer", answerOf(event.data)),
  artifact_upload_request_message: (event) => addFile(event.filename, event.filepath),
  failed: (event) => {
    outcome = OUTCOMES[event.error] || "failed";
    if (outcome !== "stopped") add("failure", event.message);
  },
  end: () => {
    source.close();
    source = null;
    show(outcome);
  },
};

function connect() {
  source = new EventSource(`${log.dataset.events}?after=${seen}`);
  source.onopen = () => { if (state.dataset.state !== "stopping") show("running"); };
  for (const [type, act] of Object.entries(actions)) source.addEventListener(type, (event) => take(event, act));
  source.addEventListener("error", (event) => (event.data ? take(event, actions.failed) : lost()));
}

function take(event, act) {
  seen = event.lastEventId;
  act(JSON.parse(event.data));
}

function lost() {
  show("reconnecting");
  if (source.readyState === EventSource.CLOSED) setTimeout(connect, RETRY);
}

stop.addEventListener("click", async () => {
  show("stopping");
  try {
    const response = await fetch(log.dataset.stop, { method: "POST" });
    if (!response.ok) throw new Error(response.statusText);
  } catch {
    if (source !== null) show("running", "could not be stopped: try again");
  }
});

window.addEventListener("pagehide", () => source && source.close());
window.addEventListener("pageshow", (event) => { if (event.persisted && source !== null) connect(); });
connect();
