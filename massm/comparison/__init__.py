"""Several methods on one cohort: the same patients, the same time, one table."""
