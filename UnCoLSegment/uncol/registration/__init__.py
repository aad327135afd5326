"""Motion between neighboring slices, and contours that follow it. Inference, training and above may enter."""
