"""The benchmark: all methods on the same cases with the same budget, resumable, with intervals over cases and seeds."""
