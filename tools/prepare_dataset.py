"""See massm/commands/prepare_dataset.py, or run with --help."""

from massm.cli import tool

if __name__ == '__main__':
    tool('prepare_dataset')
