"""What can be fitted: bodies that the fitter poses and compares with a clip, one file each."""
