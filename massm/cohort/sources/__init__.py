"""Source folders in the layouts that cohorts come in: one small reader each, behind
:class:`massm.cohort.sources.subject.SourceSubject`."""
