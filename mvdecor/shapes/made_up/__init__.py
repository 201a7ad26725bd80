"""Parametrised chairs, tables and lamps with fine-grained part labels; `mvdecor.shapes.generate` writes them."""
