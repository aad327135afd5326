"""The commands of `uncol`: arguments in, exit codes out. Nobody may enter."""
