"""Looking at shapes, labelling them and fine-tuning on the labels, in a browser (scripts/view.py)."""
