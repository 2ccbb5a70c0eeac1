"""LASR: shape, bones, motion, camera and colours of one clip, from a sphere (Yang et al., CVPR 2021)."""
