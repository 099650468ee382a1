"""Cells for a notebook (Jupyter opens this form with jupytext, VS Code and PyCharm as it is)."""

# %% One session for the whole notebook. A running event loop, as notebooks have one, is no obstacle.
import os
from contextlib import ExitStack

from runtimeuse_sync import AssistantMessageInterface, Client, CommandInterface, InvocationMessage, QueryOptions

client = Client(os.environ.get("RUNTIME_URL", "ws://localhost:8080"))
client.wait_until_ready()
blocks = ExitStack()  # a `with` block that reaches over cells
session = blocks.enter_context(client.session())

# %% Prepare the sandbox. `check=True` raises if a command fails.
done = session.execute_commands([CommandInterface(command="echo prepared")], check=True)
print(done.results[0].stdout)

# %% Ask. The stop button (an interrupt) cancels the remote run, and leaves the session usable.
answer = session.query("What is here?", QueryOptions(system_prompt="Be brief.", timeout=600))
print(answer.data)

# %% Watch it work.
with session.stream(InvocationMessage(system_prompt="Be brief.", user_prompt="And now?")) as run:
    for message in run:
        if isinstance(message, AssistantMessageInterface):
            print(*message.text_blocks)

# %% At the end: close the connection.
blocks.close()
