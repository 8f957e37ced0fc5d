"""Files at the border. Everything inside the package is RAS+ mm; LPS is converted here only."""
