"""The shell scripts of transfers, which run in the sandbox by ``Sandbox.ask``."""

from __future__ import annotations

import posixpath

from .packing import ROOT
from .sandbox import quoted, received

# Moves what is in the folder $1 to the folder $2: a folder that is there already gets what is in the other, a file
# takes the place of another at once. A folder at a time, since each program that is started costs a millisecond.
_MERGING = """\
merge() (
  cd "$1" || exit
  for p in ./* ./.[!.]* ./..?*; do
    if [ -d "$p" ] && [ -d "$2/$p" ]; then merge "$p" "$2/$p" && rm -rf "$p" || exit; fi
  done
  find . ! -name . -prune -exec sh -c 't=$1; shift; exec mv -f "$@" "$t"' sh "$2" {} + 2>&1
)
"""

_CHECKSUM = """\
checksum() { if command -v sha256sum >/dev/null 2>&1; then sha256sum; else shasum -a 256; fi | cut -d' ' -f1; }
"""

_NEEDS_CHECKSUM = "command -v shasum >/dev/null 2>&1 || need sha256sum\n"


def preparing_upload(stage: str) -> str:
    """Makes the folder, or says why nothing can be uploaded there."""
    return f"""\
need tar head cut mkdir mv rm find
{_NEEDS_CHECKSUM}
e=$( (mkdir -p {quoted(posixpath.dirname(stage))} && umask 077 && mkdir {quoted(stage)}) 2>&1) || fail "$e"
say
"""


def finishing_upload(stage: str, target: str, size: int, checksum: str) -> str:
    """Adds the last ``size`` bytes to the archive, checks it, unpacks it and puts what it holds in its place."""
    return f"""\
{_MERGING}{_CHECKSUM}
t={quoted(target)}
cd {quoted(stage)} || fail "its folder is gone"
{received(stage, size)} >>archive || fail "the disk did not take it"
[ "$(checksum <archive)" = {checksum} ] || fail "what arrived is not what was sent: its checksum is another"
rm -f transit
e=$(tar -xpof archive 2>&1) || fail "tar: $e"
if [ -d "$t" ] && [ -d {ROOT} ]; then
  e=$(merge "$PWD/{ROOT}" "$t") || fail "$e"
else
  [ -d "$t" ] && fail "$t is a folder there"
  [ -e "$t" ] && [ -d {ROOT} ] && fail "$t is a file there"
  e=$(mv -f {ROOT} "$t" 2>&1) || fail "$e"
fi
cd / && rm -rf {quoted(stage)}
say
"""


def preparing_download(stage: str, source: str) -> str:
    """Packs what is at ``source``, and tells what it is, the size of the archive, and its checksum."""
    folder, name = posixpath.split(source.rstrip("/") or "/")
    return f"""\
need tar tail head base64 cut mkdir rm wc
{_NEEDS_CHECKSUM}{_CHECKSUM}
s={quoted(source)}
[ -e "$s" ] || fail "there is no $s"
e=$( (umask 077; mkdir {quoted(stage)}) 2>&1) || fail "$e"
cd {quoted(stage)} || fail "its folder is gone"
if [ -d "$s" ]; then
  kind=folder; e=$(tar -cf archive -C "$s" . 2>&1)
else
  kind=file; e=$(tar -cf archive -C {quoted(folder)} {quoted(f"./{name}")} 2>&1)
fi || fail "tar: $e"
say "$kind $(($(wc -c <archive))) $(checksum <archive)"
"""
