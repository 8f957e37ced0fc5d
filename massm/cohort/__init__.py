"""From files to a cohort with correspondences: sources, preparation, the manifest, exchange."""
