"""What notebooks show: results, commands and runs as tables, tracebacks without this library's frames."""
