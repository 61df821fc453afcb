"""A whole run from a corpus to a report, in stages that are skipped while nothing that they depend on has changed."""
