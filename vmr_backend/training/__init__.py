"""Stage 1 of vmr: what a category model is trained on, and how."""
