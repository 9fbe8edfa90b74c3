"""What the OpenAPI document can't say of requests: rules between two fields, and of a key that came before."""
import re
import uuid

import schemathesis

PLAIN = re.compile(r"[!-~]([ -~]{0,126}[!-~])?")
KEY = re.compile(r'"([ !#-\[\]-~]|\\["\\]){1,255}"|[!#-~][ -~]{0,254}')


@schemathesis.hook
def filter_case(context, case):
    query = case.query or {}
    return not ("ids" in query and len(query) > 1) and not ("userId" in query and "productId" in query)


@schemathesis.hook
def before_call(context, case, **kwargs):
    headers, body = case.headers or {}, case.body
    # It stands in for a missing userId, and must not name another user.
    user = headers.get("x-user-id")
    if isinstance(user, str) and 1 <= len(user) <= 128:
        if isinstance(body, dict) and isinstance(body.get("userId"), str) and PLAIN.fullmatch(body["userId"]):
            headers["x-user-id"] = body["userId"]
        else:
            del headers["x-user-id"]
    key = headers.get("idempotency-key")
    if isinstance(key, str) and KEY.fullmatch(key):
        headers["idempotency-key"] = uuid.uuid4().hex
