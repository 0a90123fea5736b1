"""The command ``edgead``: one module per subcommand that needs the runtime alone."""
