"""``python -m stilt_dagster.cli``."""

from stilt_dagster.cli import main

if __name__ == "__main__":
    main()
