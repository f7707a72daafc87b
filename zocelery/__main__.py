"""`python -m zocelery` is `zocelery`."""

from zocelery.cli import main

main()
