"""Between Blender's datablocks and results: one file per kind of datablock."""
