"""Image collections of an animated object: posed, lit and rendered in a Blender of its own (`../blend_program.py`)."""
