"""Endpoints under /api/v1/."""
