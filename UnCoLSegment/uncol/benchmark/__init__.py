"""Methods beside each other on public data, in runs that can be interrupted. Only the command line may enter."""
