"""Category models: the image collections that they are trained on, and the training."""
