"""The computation of one trial: load, split, scale, build, fit, evaluate. No side effects but a callback."""
