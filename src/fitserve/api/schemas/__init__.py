"""Schemas of what the REST interface takes and gives."""
