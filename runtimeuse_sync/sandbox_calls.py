"""Methods of ``Client`` and ``Session`` that run a program in the sandbox, and transfer files to it and from it.

The implementation is in ``commands`` and ``files``, which are imported when one of them is called.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from ._call.generics import Unpack
from .calls import Calls
from .keywords import ExecuteCommandsKeywords, execute_commands_options
from .options import OnCommandOutputCallback

if TYPE_CHECKING:
    from .messages import CompletedCommand


class SandboxCalls(Calls):
    """``run``, ``upload`` and ``download``, beside the calls of ``Calls``."""

    def run(
        self,
        command: Union[str, Sequence[str]],
        *,
        cwd: Optional[str] = None,
        env: Optional[dict[str, str]] = None,
        input: Optional[bytes] = None,  # noqa: A002 - subprocess's name
        check: bool = False,
        on_output: Optional[OnCommandOutputCallback] = None,
        max_output: int = 256 * 2**20,
        **keywords: Unpack[ExecuteCommandsKeywords],
    ) -> CompletedCommand:
        """Run one command in the sandbox, as ``subprocess.run`` does here (since runtime 0.8).

        Its output comes whole, however long it is, with its two streams apart. The sandbox needs a POSIX shell and
        its usual programs.

        Args:
            command (str or list of str): a line for the shell, or a program and its arguments.
            cwd (str or None): where to run it. Default: the runtime's own directory.
            env (dict[str, str] or None): environment variables to add.
            input (bytes or None): what it reads from its standard input. Default None: nothing.
            check (bool): raise ``CommandFailedError`` if it fails. Default False.
            on_output: called with pieces of output, as ``CommandOutputMessageInterface``: the first 900,000 bytes of
                each stream as they come, the rest at the end. Before runtime 0.14 what comes early is all told to
                be ``stdout``. A process that the command leaves in the background then has to close its streams.
            max_output (int): bytes that it may print, as they are held in memory. Default 256 MiB.
            keywords: fields of ``ExecuteCommandsOptions``. ``timeout`` covers all that the call does.

        Returns:
            CompletedCommand: its ``exit_code``, ``stdout``, ``stderr`` and ``duration``.

        Raises:
            CommandFailedError: with ``check``.
            SandboxError: the sandbox lacks a program, sent what is not acceptable, or more than ``max_output``.
            Otherwise what ``execute_commands`` raises.

        >>> done = client.run("tr a-z A-Z; echo oh >&2; exit 3", input=b"hello", timeout=30)
        >>> done.exit_code, done.stdout, done.stderr
        (3, 'HELLO', 'oh\\n')
        """
        from . import commands

        options = execute_commands_options(self._defaults(), None, keywords)
        return commands.run(
            self,  # type: ignore[arg-type]
            command,
            options,
            cwd=cwd,
            env=env,
            input=input,
            check=check,
            on_output=on_output,
            max_output=max_output,
        )

    def upload(
        self,
        source: Union[str, os.PathLike[str]],
        target: str,
        *,
        ignore: str = "",
        on_progress: Optional[Callable[[int, int], Any]] = None,
        **keywords: Unpack[ExecuteCommandsKeywords],
    ) -> None:
        """Send a file or folder to the sandbox, over the connection of a call (since runtime 0.8).

        Modes and empty folders are kept. It goes in several messages, so that its size has no limit and memory
        stays bounded, and gets its name when a checksum has proved that it arrived as it was. Into a folder that is
        there already, what the source has is added file by file. The sandbox needs ``tar`` and ``sha256sum``.

        Args:
            source (str or os.PathLike): a file or folder here. A link in a folder is refused, unless ``ignore``
                names it.
            target (str): its absolute path in the sandbox. A file goes into the folder that ends in a slash.
            ignore (str): gitignore lines of what is left out.
            on_progress: called with the bytes that have gone and those of all, of the archive that it travels in.
            keywords: fields of ``ExecuteCommandsOptions``. ``timeout`` covers all that the call does.

        Raises:
            SandboxError: the sandbox lacks a program, or could not take it.
            OSError, ValueError: the source cannot be read, or holds what is neither file nor folder.
            Otherwise what ``execute_commands`` raises.

        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.txt").write_text("hello")
        ...     client.upload(Path(folder, "a.txt"), f"{folder}/there/b.txt", timeout=30)
        ...     client.run(["cat", f"{folder}/there/b.txt"]).stdout
        'hello'
        """
        from . import files

        options = execute_commands_options(self._defaults(), None, keywords)
        files.upload(self, source, target, options, ignore=ignore, on_progress=on_progress)  # type: ignore[arg-type]

    def download(
        self,
        source: str,
        target: Union[str, os.PathLike[str]],
        *,
        max_size: int = 10 * 2**30,
        max_files: int = 100_000,
        on_progress: Optional[Callable[[int, int], Any]] = None,
        **keywords: Unpack[ExecuteCommandsKeywords],
    ) -> None:
        """Fetch a file or folder from the sandbox, over the connection of a call (since runtime 0.8).

        As ``upload``, the other way round. The sandbox is not trusted: paths that lead out, links, devices, and more
        than was allowed are refused, and nothing half-written gets the final name.

        Args:
            source (str): its absolute path in the sandbox.
            target (str or os.PathLike): its path here. A file goes into the folder that ends in a slash.
            max_size (int): bytes that it may have, as an archive. Default 10 GiB.
            max_files (int): files and folders that it may hold. Default 100,000.
            on_progress, keywords: as in ``upload``.

        Raises:
            SandboxError: the sandbox lacks a program, or sent what is not acceptable.
            OSError: it cannot be written here.
            Otherwise what ``execute_commands`` raises.

        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = client.run(["sh", "-c", "echo hello >report.txt"], cwd=folder)
        ...     client.download(f"{folder}/report.txt", f"{folder}/here/", timeout=30)
        ...     Path(folder, "here", "report.txt").read_text()
        'hello\\n'
        """
        from . import files

        options = execute_commands_options(self._defaults(), None, keywords)
        files.download(
            self,  # type: ignore[arg-type]
            source,
            target,
            options,
            max_size=max_size,
            max_files=max_files,
            on_progress=on_progress,
        )
