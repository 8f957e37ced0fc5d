"""``python -m massm COMMAND ...``."""

from massm.cli import main

if __name__ == '__main__':
    main()
