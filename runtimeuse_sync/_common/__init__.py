"""What all rooms use: validation, deadline, redaction, wakeup."""
