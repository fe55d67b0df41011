"""From the records of a study to a comparison, its figures and the report."""
