"""Cells for a notebook (Jupyter opens this form with jupytext, VS Code and PyCharm as it is)."""

# %% One session for the whole notebook. A running event loop, as notebooks have one, is no obstacle.
import os
from contextlib import ExitStack

from runtimeuse_sync import Client, QueryOptions
from runtimeuse_sync.notebook import watch

client = Client(
    os.environ.get("RUNTIME_URL", "ws://localhost:8080"), defaults=QueryOptions(system_prompt="Be brief.", timeout=600)
)
client.wait_until_ready()
blocks = ExitStack()  # a `with` block that reaches over cells
session = blocks.enter_context(client.session())

# %% Prepare the sandbox. `check=True` raises if the command fails. The last value of a cell is shown as a table.
session.run("echo prepared", check=True)

# %% Ask. The stop button (an interrupt) cancels the remote run, and leaves the session usable.
session.query("What is here?")

# %% Watch it work: one display, which is renewed in its place.
answer = watch(session.stream("And now?"))
print(answer.text)

# %% At the end: close the connection.
blocks.close()
