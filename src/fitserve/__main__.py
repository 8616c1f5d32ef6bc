"""`python -m fitserve` is the same as the `fitserve` command."""

from fitserve.cli.main import run

if __name__ == "__main__":
    run()
