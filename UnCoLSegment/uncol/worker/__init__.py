"""The panel's process: requests in, events out, models kept loaded. Only the command line may enter."""
