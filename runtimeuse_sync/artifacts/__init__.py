"""Artifacts in object stores: signs an upload URL for each file, and checks which files have arrived."""

from __future__ import annotations

from ._obstore import ObstoreArtifacts
from ._s3 import S3Artifacts
from ._stored import ArtifactsMissingError, StoredArtifact

__all__ = ["ArtifactsMissingError", "ObstoreArtifacts", "S3Artifacts", "StoredArtifact"]
