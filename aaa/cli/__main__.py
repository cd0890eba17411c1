"""`python -m aaa.cli`, where the console script is not installed."""

from aaa.cli import main

main()
