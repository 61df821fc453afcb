"""Runs the command line: `python -m fastlm`."""

import sys

from fastlm.cli import main

sys.exit(main())
