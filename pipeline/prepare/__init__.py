"""A data set becomes parts: cut first, then everything that is fitted sees the training part alone."""
