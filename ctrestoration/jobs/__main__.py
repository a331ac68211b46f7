"""`python -m ctrestoration.jobs JOB.json` runs one command for a front end; see `ctrestoration.jobs.child`."""

import sys

from ctrestoration.jobs.child import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
