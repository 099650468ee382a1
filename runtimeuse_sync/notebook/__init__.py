"""Display in notebooks: live runs, results and commands as tables, tracebacks without this library's frames.

>>> watch(client.stream("hi", system_prompt="Be brief.")).text
You said: hi
'hi'
"""

from ._watching import watch

__all__ = ["watch"]
