"""A volume through a student or through the prompted foundation model. Training, report and above may enter."""
