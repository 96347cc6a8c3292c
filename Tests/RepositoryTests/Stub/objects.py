"""A server on loopback that answers as S3 does when something is wrong: each bucket has a trouble of its own. `objects.py PORT`"""

import base64
import hashlib
import http.server
import json
import re
import sys
import threading
import time

asked = {}
lock = threading.Lock()


def error(code, message="", more=""):
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=(), cut=0):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:len(body) - cut])
        if cut:
            self.close_connection = True

    def times(self):
        """How often this bucket was asked before."""
        with lock:
            asked[self.bucket] = asked.get(self.bucket, 0) + 1
            return asked[self.bucket] - 1

    def handle_any(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        parts = self.path.lstrip("/").split("?")[0].split("/", 1)
        self.bucket, self.key = parts[0], parts[1] if len(parts) > 1 else ""
        if self.bucket == "latest":
            return self.metadata()
        handler = getattr(self, "bucket_" + self.bucket.replace("-", "_"), None)
        if handler is None:
            return self.answer(404, error("NoSuchBucket"))
        handler()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    @property
    def region(self):
        found = re.search(r"Credential=[^/]*/[0-9]*/([^/]*)/s3", self.headers.get("Authorization", ""))
        return found.group(1) if found else ""

    @property
    def key_id(self):
        found = re.search(r"Credential=([^/]*)/", self.headers.get("Authorization", ""))
        return found.group(1) if found else ""

    # The troubles.

    def part(self):
        first, last = re.match(r"bytes=([0-9]+)-([0-9]+)", self.headers["Range"]).groups()
        return int(first), int(last)

    def bucket_lax(self):
        """Gives a part as a success like any other, and says which."""
        first, last = self.part()
        whole = bytes(range(100))
        part = whole[first:last + 1]
        self.answer(200, part, [("Content-Range", f"bytes {first}-{first + len(part) - 1}/100")])

    def bucket_whole(self):
        """Gives all, whatever part is asked for."""
        self.answer(200, bytes(range(100)) * (2000 if self.key.endswith("large") else 1))

    def bucket_astray(self):
        """Gives another part of the same length."""
        first, last = self.part()
        self.answer(206, bytes(last - first + 1), [("Content-Range", f"bytes {first + 1}-{last + 1}/100")])

    def bucket_hesitant(self):
        """An error after the answer began, at first; then it is done."""
        first = self.times() % 2 == 0
        if self.command == "POST":
            busy = "<Error><Key>firn/b</Key><Code>SlowDown</Code></Error>" if first else ""
            return self.answer(200, f"<DeleteResult>{busy}</DeleteResult>".encode())
        self.answer(200, error("InternalError") if first else b"<CopyObjectResult><ETag>x</ETag></CopyObjectResult>")

    # Tests run beside each other, and requests are counted for each bucket.
    bucket_reluctant = bucket_hesitant

    def bucket_careful(self):
        """Accepts requests with a checksum, as AWS does for locked buckets."""
        if self.command == "HEAD":
            return self.answer(404)
        wanted = base64.b64encode(hashlib.sha256(self.body).digest()).decode()
        if self.headers.get("x-amz-checksum-sha256") != wanted or "x-amz-checksum-sha256" not in self.headers.get("Authorization"):
            return self.answer(400, error("InvalidRequest", "a checksum is required"))
        self.answer(200, headers=[("ETag", '"of something else"'), ("x-amz-checksum-sha256", wanted)])

    def bucket_old(self):
        """Knows MD5 alone, wants it, and refuses what it does not know."""
        if self.command == "HEAD":
            return self.answer(404)
        if self.command == "GET":
            return self.answer(200, str(self.times()).encode())
        self.times()
        if self.headers.get("x-amz-checksum-sha256"):
            return self.answer(400, error("InvalidArgument", "Unsupported header 'x-amz-checksum-sha256' received for this API call."))
        wanted = base64.b64encode(hashlib.md5(self.body).digest()).decode()
        if self.headers.get("Content-MD5") != wanted:
            return self.answer(400, error("InvalidRequest", "Content-MD5 is required"))
        self.answer(200, headers=[("ETag", f'"{hashlib.md5(self.body).hexdigest()}"')])

    def bucket_silent(self):
        """Ignores unknown checksums, checks MD5, and returns neither: it encrypts what it stores."""
        if self.command == "GET":
            return self.answer(200, str(self.times()).encode())
        if self.command != "HEAD":
            self.times()
        if self.command == "HEAD" or not self.headers.get("Content-MD5"):
            return self.answer(404 if self.command == "HEAD" else 200, headers=[("ETag", '"of something else"')])
        good = self.headers.get("Content-MD5") == base64.b64encode(hashlib.md5(self.body).digest()).decode()
        self.answer(200 if good else 400, headers=[("ETag", '"of something else"')])

    def bucket_simple(self):
        """Passes over what it does not know."""
        if self.command == "HEAD":
            return self.answer(404)
        self.answer(200, headers=[("ETag", f'"{hashlib.md5(self.body).hexdigest()}"')])

    def bucket_elsewhere(self):
        if self.region == "eu-north-1":
            return self.answer(200, b"found")
        self.answer(301, error("PermanentRedirect", "elsewhere", "<Endpoint>elsewhere</Endpoint>"), [("x-amz-bucket-region", "eu-north-1")])

    def bucket_malformed(self):
        if self.region == "ap-south-1":
            return self.answer(200, b"found")
        self.answer(400, error("AuthorizationHeaderMalformed", "the region is wrong", "<Region>ap-south-1</Region>"))

    def bucket_lost(self):
        self.answer(301, error("PermanentRedirect"))

    def bucket_skewed(self):
        self.answer(403, error("RequestTimeTooSkewed", "too far"))

    def bucket_expired(self):
        if self.headers.get("x-amz-security-token") == "token-1":
            return self.answer(400, error("ExpiredToken", "it is over"))
        self.answer(200, (self.headers.get("x-amz-security-token") or "").encode())

    def bucket_busy(self):
        if self.times() < 2:
            return self.answer(503, error("SlowDown"), [("Retry-After", "0")])
        self.answer(200, b"found")

    def bucket_waiting(self):
        if self.times() == 0:
            return self.answer(503, error("SlowDown"), [("Retry-After", "2")])
        self.answer(200, b"found")

    def bucket_cutting(self):
        count = self.times()
        self.answer(200, b"x" * 1000, cut=500 if count < 2 else 0)

    def bucket_failing(self):
        self.answer(500, error("InternalError"))

    def bucket_full(self):
        self.answer(507, error("XMinioStorageFull", "no room"))

    def bucket_quota(self):
        self.answer(403, error("QuotaExceeded", "no room"))

    def bucket_liar(self):
        """Says of what it stores that it is something else."""
        self.answer(200, b"", [("ETag", '"0123456789abcdef0123456789abcdef"')])

    def bucket_other_liar(self):
        self.answer(200, b"", [("x-amz-checksum-sha256", base64.b64encode(hashlib.sha256(b"other").digest()).decode())])

    def bucket_locked(self):
        keys = re.findall(rb"<Key>([^<]*)</Key>", self.body)
        kept = [key.decode() for key in keys if key.endswith(b"locked")]
        errors = "".join(
            f"<Error><Key>{key}</Key><Code>AccessDenied</Code><Message>Access Denied because object protected by object lock.</Message></Error>"
            for key in kept)
        self.answer(200, f"<DeleteResult>{errors}</DeleteResult>".encode())

    def bucket_forbidden(self):
        keys = re.findall(rb"<Key>([^<]*)</Key>", self.body)
        errors = "".join(f"<Error><Key>{key.decode()}</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>" for key in keys)
        self.answer(200, f"<DeleteResult>{errors}</DeleteResult>".encode())

    def bucket_partial(self):
        self.answer(200, b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>")

    def bucket_echo(self):
        self.answer(200, f"{self.key_id} {self.headers.get('x-amz-security-token') or ''}".encode())

    # A machine's own keys.

    def metadata(self):
        token = self.headers.get("X-aws-ec2-metadata-token")
        if self.path == "/latest/api/token":
            if self.command != "PUT" or not self.headers.get("X-aws-ec2-metadata-token-ttl-seconds"):
                return self.answer(400)
            return self.answer(200, b"session")
        if token != "session":
            return self.answer(401)
        if self.path.rstrip("/") == "/latest/meta-data/iam/security-credentials":
            return self.answer(200, b"role")
        if self.path == "/latest/meta-data/iam/security-credentials/role":
            until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
            return self.answer(200, json.dumps({
                "Code": "Success", "AccessKeyId": "machine", "SecretAccessKey": "secret", "Token": "machine-token", "Expiration": until}).encode())
        self.answer(404)


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
