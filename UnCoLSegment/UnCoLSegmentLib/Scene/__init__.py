"""What runs read from the scene and put into it: MRML and VTK, no Qt. Every room above may enter."""
