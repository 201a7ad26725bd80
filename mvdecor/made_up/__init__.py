"""Parametrised chairs, tables and lamps with fine-grained part labels; `mvdecor.made_up.generate` writes them."""
