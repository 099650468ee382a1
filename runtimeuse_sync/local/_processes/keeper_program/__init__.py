"""The program of a keeper: a small process that starts commands, learns how they end, and ends all that they started.

It runs in an interpreter of its own, started by the module ``keeper`` beside this folder, because three things are only
to be had in a process that is not the user's:

- **Exit codes.** Where a program ignores SIGCHLD, or collects its children itself, the system forgets how they
  ended. A keeper has the signals' default dispositions, whatever it inherits.
- **Descendants.** A process whose parent has ended goes to the nearest ancestor that asked for such orphans
  (``PR_SET_CHILD_SUBREAPER``). That is the keeper, so nothing that its commands started gets out of its tree.
- **The end.** However the user's program ends, by SIGKILL too, the keeper sees the end of its channel, and ends
  the tree.

A keeper can make another one below itself, by forking: each request has its own, so that its tree can be ended
alone. Nothing outside this folder is imported here but a few modules of the standard library, and ``typing`` is not
among them, since starting has to be fast.
"""
