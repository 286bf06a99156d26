"""The command line: one file per command, rendering apart. Nothing here is imported before it is needed."""
