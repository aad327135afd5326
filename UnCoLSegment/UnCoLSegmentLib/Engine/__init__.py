"""The engine's process and the runs it is asked for. `Logic` and the panel may enter."""
