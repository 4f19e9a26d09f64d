"""Images as Gemini takes them: the bytes of a `data:` URL inline, any other by its address.

Source: `Blob` and `FileData` of https://ai.google.dev/api/caching#Part; MIME types after
https://ai.google.dev/gemini-api/docs/image-understanding.
"""

import base64
import binascii
from typing import Any
from urllib.parse import urlsplit

from gateway.core.errors import GatewayError

_MIME_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "gif": "image/gif",
}


def image_part(url: str) -> dict[str, Any]:
    """Return the part for an image; raise `GatewayError` (`provider_rejected`) for a URL that names none."""
    if url[:5].lower() == "data:":
        return {"inlineData": _inline(url[5:])}
    try:
        address = urlsplit(url)
    except ValueError:
        raise _refused("An image's address is not a URL.") from None
    if address.scheme not in ("http", "https") or not address.netloc:
        raise _refused("An image must be given as an https: or data: URL.")
    mime_type = _MIME_TYPES.get(address.path.rpartition(".")[2].lower())
    return {"fileData": {"mimeType": mime_type, "fileUri": url} if mime_type else {"fileUri": url}}


def _inline(rest: str) -> dict[str, str]:
    head, comma, data = rest.partition(",")
    mime_type, *options = (field.strip().lower() for field in head.split(";"))
    if not comma or "base64" not in options or not mime_type.startswith("image/"):
        raise _refused("An image's data: URL must name an image type and hold base64.")
    try:
        decoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise _refused("An image's data: URL does not hold base64.") from None
    if not decoded:
        raise _refused("An image's data: URL is empty.")
    return {"mimeType": "image/jpeg" if mime_type == "image/jpg" else mime_type, "data": data}


def _refused(detail: str) -> GatewayError:
    return GatewayError("provider_rejected", detail)
