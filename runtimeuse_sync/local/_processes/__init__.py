"""Processes: commands, their output, and the end of their descendants."""
