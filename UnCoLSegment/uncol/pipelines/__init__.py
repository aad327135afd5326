"""Whole jobs from files to files: segment, fine-tune, evaluate. Worker, demo and command line may enter."""
