"""The first stage of the vmr method: category models, from collections of single pictures."""
