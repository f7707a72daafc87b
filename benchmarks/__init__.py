"""How fast zocelery is, and whether it is right: `uv run python -m benchmarks --help`.

Not part of the package. Beside DIALS where that is installed; everything is printed as
ratios of times taken in turn, because bare times say more of the machine.
"""
