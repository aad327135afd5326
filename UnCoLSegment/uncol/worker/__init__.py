"""The panel's process, `python -m uncol.worker`: requests in, events out, models kept loaded. Only `cli` may enter."""
