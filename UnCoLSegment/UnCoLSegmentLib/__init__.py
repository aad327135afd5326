"""The Slicer side of UnCoL: panel, logic, scene and the process in which the engine runs. Needs no torch."""
