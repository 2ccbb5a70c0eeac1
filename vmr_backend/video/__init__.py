"""Clip in, arrays out: decoding, masks, crops that follow the subject, optical flow."""
