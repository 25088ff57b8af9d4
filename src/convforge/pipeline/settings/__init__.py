"""The typed config, group by group."""
