"""Style sheets and scripts under an address that changes with them, so that browsers may keep them for ever."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.core.errors import GatewayError

_FOLDER: Final = Path(__file__).parent / "assets"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOR_EVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Assets:
    """Every asset by name; `digest` is that of all of them together, since scripts import each other by relative address."""

    digest: str
    files: dict[str, bytes]

    def address(self, name: str) -> str:
        """Where an asset is. Raises `KeyError` for one that there is not."""
        if name not in self.files:
            raise KeyError(name)
        return f"/dashboard/assets/{self.digest}/{name}"


@cache
def assets() -> Assets:
    """The assets, read once a process."""
    files = {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.suffix in _TYPES}
    whole = hashlib.sha256(b"".join(name.encode() + body for name, body in files.items()))
    return Assets(whole.hexdigest()[:16], files)


async def asset(request: web.Request) -> web.Response:
    """One asset. Raises `GatewayError` `not_found`."""
    found, name = assets(), request.match_info["name"]
    if request.match_info["digest"] != found.digest or name not in found.files:
        raise GatewayError("not_found", "There is nothing at this address.")
    kind = _TYPES[Path(name).suffix]
    return web.Response(body=found.files[name], content_type=kind, charset="utf-8", headers={"Cache-Control": _FOR_EVER})
