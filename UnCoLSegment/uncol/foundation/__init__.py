"""The frozen foundation model and what it is prompted for on a volume. Inference, training and above may enter."""
