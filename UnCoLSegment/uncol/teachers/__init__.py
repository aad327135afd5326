"""The two teachers: a frozen, promptable foundation model and the student's own moving average."""
