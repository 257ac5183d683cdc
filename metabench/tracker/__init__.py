"""Trackers: services and files outside the record of a run in which its numbers are shown as well."""
