"""The template method: a rigged body that follows the clip."""
