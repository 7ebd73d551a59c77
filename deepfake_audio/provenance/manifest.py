"""C2PA manifests: who signed what about a file, if `c2pa-python` is there to say so.

Nothing is fetched: a manifest in another place, and whether a certificate was revoked, stay open.
Without lists of trusted signers a state `Valid` says that the file is as it was signed, not who
the signer is.
"""

from __future__ import annotations

import json
from typing import Any, cast

from .._containers import SeekableFile
from ..labels import Claim
from .places import Found

MAX_MANIFEST_BYTES = 16 * 1024**2
"""A larger manifest is reported as present, and not verified."""

_OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
_GENERATED = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia")
_MIME = {
    "WAV": "audio/wav", "MP3": "audio/mpeg", "FLAC": "audio/flac", "M4A": "audio/mp4",
    "MP4": "video/mp4", "MOV": "video/quicktime", "3GP": "video/mp4",
}  # fmt: skip
_MAX_TEXT = 200


def read_manifest(file: SeekableFile, container: str, found: Found) -> dict[str, Any]:
    """Return what is known of a manifest that was found in a file.

    Parameters
    ----------
    file : seekable file
        The whole of it; what was signed is compared with its bytes.
    container : str
        Label of its :class:`~deepfake_audio._containers.Container`.
    found : Found
        Where the manifest is.

    Returns
    -------
    dict
        ``where``, ``n_bytes``, ``state`` (``unverified``, or of the C2PA library ``Trusted``,
        ``Valid``, ``Invalid``), ``problem`` (why not more is known), ``generator``, ``signer``,
        ``source_types`` (IPTC digital source types of the active manifest) and ``says``.
    """
    about: dict[str, Any] = {
        "where": found.where, "n_bytes": found.n_bytes, "state": "unverified", "problem": None,
        "generator": None, "signer": None, "source_types": [], "says": None,
    }  # fmt: skip
    if found.n_bytes > MAX_MANIFEST_BYTES:
        return about | {"problem": "too large to be verified"}
    try:
        import c2pa
    except ImportError:
        return about | {"problem": 'verifying needs pip install "deepfake-audio[provenance]"'}
    try:
        file.seek(0)
        mime = _MIME.get(container)
        with (
            c2pa.Context.from_dict(_OFFLINE) as context,
            c2pa.Reader(mime, _ReadOnly(file), context=context) as reader,
        ):
            return about | _summary(json.loads(reader.json()))
    except Exception as error:  # of a library in another language, on bytes of a stranger
        return about | {"problem": _text(f"{type(error).__name__}: {error}")}


class _ReadOnly:
    """A file with all the methods that the C2PA library asks for."""

    def __init__(self, file: SeekableFile) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, cast(Any, file).tell

    def write(self, content: bytes) -> int:
        raise OSError("read only")

    def flush(self) -> None:
        """Nothing was written."""


def _summary(store: dict[str, Any]) -> dict[str, Any]:
    manifest = store.get("manifests", {}).get(store.get("active_manifest"), {})
    state = _text(store.get("validation_state")) or "unverified"
    kinds = sorted(_source_types(manifest))[:16]
    generators = manifest.get("claim_generator_info") or [{}]
    name = " ".join(str(generators[0][key]) for key in ("name", "version") if key in generators[0])
    failures = store.get("validation_results", {}).get("activeManifest", {}).get("failure", [])
    codes = ", ".join(sorted({str(failure.get("code")) for failure in failures}))
    # What does not hold says nothing.
    generated = state in ("Valid", "Trusted") and any(kind in _GENERATED for kind in kinds)
    return {
        "state": state,
        "problem": _text(codes),
        "generator": _text(name or manifest.get("claim_generator")),
        "signer": _text((manifest.get("signature_info") or {}).get("issuer")),
        "source_types": kinds,
        "says": Claim.IS_GENERATED.value if generated else None,
    }


def _source_types(manifest: dict[str, Any]) -> set[str]:
    """Return the digital source types that the actions of a manifest name."""
    found = set()
    for assertion in manifest.get("assertions", []):
        if str(assertion.get("label", "")).startswith("c2pa.actions"):
            for action in assertion.get("data", {}).get("actions", []):
                kind = action.get("digitalSourceType")
                if isinstance(kind, str):
                    found.add(kind.rsplit("/", 1)[-1][:_MAX_TEXT])
    return found


def _text(value: object) -> str | None:
    return str(value)[:_MAX_TEXT].encode("utf-8", "backslashreplace").decode() if value else None
