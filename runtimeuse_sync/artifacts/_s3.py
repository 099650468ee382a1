"""Buckets of S3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, Optional

from ._stored import EXPIRES, Artifacts, State


class S3Artifacts(Artifacts):
    """Artifacts in a bucket of S3, or of a service with its interface; extra ``s3``. One object for each run.

    Pass it as ``on_artifact_upload_request``. Leaving its ``with`` block closes its connections.

    Args:
        bucket (str): its name.
        prefix (str): what all keys begin with. ``{source_id}`` in it is the run's.
        source_id (str or None): your name for the run; default: a new one. Pass ``artifacts.source_id`` on as the
            ``source_id`` of the call, and both have the same.
        client: of boto3, with an endpoint and credentials of your own. Default: ``boto3.client("s3")``, which reads the
            environment.
        expires (float): seconds that a URL can be used in. Default 3600. (Temporary credentials may end before.)

    Raises:
        ImportError: the extra is not installed.
        ValueError: for a prefix or ``expires`` that cannot be meant.

    >>> S3Artifacts("bucket", prefix="runs/{run}")
    Traceback (most recent call last):
    ...
    ValueError: prefix may have {source_id} in it, and no other brace
    """

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        source_id: Optional[str] = None,
        client: Any = None,
        expires: float = EXPIRES,
    ) -> None:
        super().__init__(prefix, source_id, expires)
        self._bucket = bucket
        self._is_ours = client is None
        self._client = _s3_client() if client is None else client

    def __enter__(self) -> S3Artifacts:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_ours:
            self._client.close()

    def _signed(self, key: str, content_type: str) -> str:
        what = {"Bucket": self._bucket, "Key": key, "ContentType": content_type}
        return str(self._client.generate_presigned_url("put_object", Params=what, ExpiresIn=int(self._expires)))

    def _state(self, key: str) -> Optional[State]:
        try:
            found = self._client.head_object(Bucket=self._bucket, Key=key)
        except self._client.exceptions.ClientError as error:
            # Without the permission to list the bucket, S3 answers 403 for a missing key.
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (403, 404):
                return None
            raise
        return State(found["ContentLength"], (found.get("VersionId"), found["ETag"], found["LastModified"]))

    def _read(self, key: str) -> Iterator[Any]:
        with closing(self._client.get_object(Bucket=self._bucket, Key=key)["Body"]) as body:
            yield from body.iter_chunks(256 * 1024)


def _s3_client() -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise ImportError('S3Artifacts needs boto3: pip install "runtimeuse-sync[s3]"', name="boto3") from error
    # By default it signs in an old way, which is good for some regions only.
    return boto3.client("s3", config=Config(signature_version="s3v4"))
