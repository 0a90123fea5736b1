"""One module per command that needs the runtime alone."""
