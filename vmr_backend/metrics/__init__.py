"""Figures that say how good a reconstruction is: region and contour of masks, keypoint transfer, surface distance."""
