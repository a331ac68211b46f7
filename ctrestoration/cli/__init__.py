"""The command line: one file a command.

A command module defines `COMMAND` (its words, e.g. "segment metal"), `HELP` (one sentence), `EXAMPLE` (a line that
works), `configure(parser)` and `run(arguments) -> int`. `main` finds it by its presence in this folder.
"""
