"""See massm/commands/export_model.py, or run with --help."""

from massm.cli import tool

if __name__ == '__main__':
    tool('export_model')
