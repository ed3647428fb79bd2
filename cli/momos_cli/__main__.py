"""``python -m momos_cli``."""

from momos_cli.app import main

if __name__ == "__main__":
    main()
