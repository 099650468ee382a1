"""A stand-in for the Node runtime: takes its command line, says on which port it listens, and speaks the protocol."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from runtimeuse_sync.local import LocalRuntime


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--agent", default="openai")
    parser.add_argument("--pid-file", type=Path)
    parser.add_argument("--mute", action="store_true")
    options = parser.parse_args()
    if options.pid_file:
        options.pid_file.write_text(f"{os.getpid()}\n")
    if options.mute:
        time.sleep(1000)
    with LocalRuntime(lambda invocation, sender: f"{options.agent}: {invocation.user_prompt}", port=options.port) as it:
        print(f"RuntimeUse server listening on port {options.port}", flush=True)
        it.serve_forever()


if __name__ == "__main__":
    main()
