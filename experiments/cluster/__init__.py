"""Where trials run: Dask workers, embedded or of the user's own cluster, and what they do with a trial."""
