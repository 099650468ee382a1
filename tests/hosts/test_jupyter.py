"""Cells in a Jupyter kernel, and its stop button."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Callable

from .support import PATIENCE, Agent, environment

# In a process of its own: ZeroMQ has threads that live on. Interrupts a cell that prints, or shows by
# ``watch``, "You said: wait". Of what ``watch`` shows, the first word is told, once the run has ended.
NOTEBOOK = """
from jupyter_client.manager import start_new_kernel

manager, client = start_new_kernel(kernel_name="python3")

interrupted = set()

def hear(message):
    content = message["content"]
    if message["msg_type"] == "stream":
        print(content["text"], end="")
        if "You said: wait" in content["text"]:
            manager.interrupt_kernel()
    elif message["msg_type"] == "update_display_data":
        picture = content["data"]["text/plain"]
        if not picture.startswith("running"):
            print(picture.partition(",")[0])
        elif "You said: wait" in picture and content["transient"]["display_id"] not in interrupted:
            interrupted.add(content["transient"]["display_id"])
            manager.interrupt_kernel()
    elif message["msg_type"] == "error":
        print(content["ename"])
    elif message["msg_type"] == "execute_result":
        print(content["data"]["text/plain"])

def run(cell):
    client.execute_interactive(cell, output_hook=hear, timeout=PATIENCE)

run('''
import asyncio, os
from runtimeuse_sync import Client, QueryOptions

assert asyncio.get_running_loop().is_running()
client = Client(os.environ["RUNTIME_URL"])
session = client.session()
session.__enter__()

def ask(prompt, speaker=session):
    hear = lambda message: print(*message.text_blocks)
    return speaker.query(prompt, QueryOptions(system_prompt="Be brief.", on_assistant_message=hear)).data.text
''')
run('ask("hello")')
run('ask("wait")')
run('ask("still there?")')
run('from runtimeuse_sync.notebook import watch; watch(session.stream("wait", system_prompt=""))')
run('watch(session.stream("and now?", system_prompt="")).text')
run('ask("wait", client)')
run('ask("alone", client)')
manager.shutdown_kernel()
client.stop_channels()
"""

EXPECTED = """\
You said: hello
'hello'
You said: wait
KeyboardInterrupt
You said: still there?
'still there?'
cancelled
KeyboardInterrupt
done
'and now?'
You said: wait
KeyboardInterrupt
You said: alone
'alone'
"""


def test_cells_and_interrupts(local_runtime: Callable[..., Any]) -> None:
    agent = Agent()
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK.replace("PATIENCE", str(PATIENCE))],
        env=environment(local_runtime(agent).url),
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout == EXPECTED
    assert agent.was_cancelled.is_set()
