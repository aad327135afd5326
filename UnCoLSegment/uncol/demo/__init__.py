"""The whole loop on one volume, with a report. Only the command line may enter."""
