"""The method: stage 1, stage 2 and what they need; read `train.py` first. Pipelines, benchmark and above may enter."""
