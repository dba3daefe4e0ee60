"""Runs in an environment with boto3 and moto: makes a bucket with one object, and prints presigned URLs for it."""

import json
import sys
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-not-found]  # in its own environment

asked = json.loads(sys.stdin.read())
s3 = boto3.client(
    "s3",
    endpoint_url=asked["url"],
    aws_access_key_id="test",
    aws_secret_access_key="test",
    region_name="us-east-1",
)
s3.create_bucket(Bucket="bucket")
s3.put_object(Bucket="bucket", Key="body", Body=Path(asked["file"]).read_bytes())
upload = s3.create_multipart_upload(Bucket="bucket", Key="parts")["UploadId"]


def presigned(operation: str, key: str, **more: Any) -> Any:
    return s3.generate_presigned_url(operation, Params={"Bucket": "bucket", "Key": key, **more}, ExpiresIn=300)


numbered = [
    presigned("upload_part", "parts", UploadId=upload, PartNumber=number) for number in range(1, asked["parts"] + 1)
]
print(
    json.dumps(
        {
            "get": presigned("get_object", "body"),
            "put": presigned("put_object", "single"),
            "got_single": presigned("get_object", "single"),
            "parts": numbered,
            "complete": presigned("complete_multipart_upload", "parts", UploadId=upload),
            "got_parts": presigned("get_object", "parts"),
        }
    )
)
