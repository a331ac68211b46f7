"""`python -m ctrestoration` is the same as the `ctrestoration` command."""

import sys

from ctrestoration.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
