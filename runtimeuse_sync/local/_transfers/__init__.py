"""Transfers: downloads, archives and uploads."""
