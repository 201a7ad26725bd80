"""Parametrised chairs, tables and lamps with fine-grained part labels, and pictures of parametrised birds.

`mvdecor.made_up.generate` writes them.
"""
