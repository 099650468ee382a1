"""Where artifacts go: a bucket, by URLs that are signed for one file each, with a proof of what has arrived."""

from __future__ import annotations

from ._obstore import ObstoreArtifacts
from ._s3 import S3Artifacts
from ._stored import ArtifactsMissingError, StoredArtifact

__all__ = ["ArtifactsMissingError", "ObstoreArtifacts", "S3Artifacts", "StoredArtifact"]
