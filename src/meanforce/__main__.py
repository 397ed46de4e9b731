"""`python -m meanforce` is the command line."""

from meanforce.cli import main

main()
