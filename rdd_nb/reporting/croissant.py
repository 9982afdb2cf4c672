"""Croissant metadata of an exported set: what its files hold, for whoever reads data sets by machine.

Format: Croissant 1.0 of MLCommons (Akhtar et al., 2403.19546), JSON-LD over schema.org.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

__all__ = ["croissant"]

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(name: str, description: str, licence: str, table: str, soft: str = "") -> str:
    """``croissant.json`` of a folder of images with ``metadata.csv``, as text.

    Args:
        name, description, licence: of the set; the licence as its card names it.
        table: the text of ``metadata.csv``.
        soft: that of ``soft_labels.csv``, where there is one.
    """
    files = [_file("metadata.csv", table), *([_file("soft_labels.csv", soft)] if soft else [])]
    pictures = {
        "@type": "cr:FileSet",
        "@id": "images",
        "name": "images",
        "encodingFormat": "image/png",
        "includes": "*/*.png",
    }
    label = {"fileObject": {"@id": "metadata.csv"}, "extract": {"column": "label"}}
    named = {"fileObject": {"@id": "metadata.csv"}, "extract": {"column": "file_name"}}
    content = {"fileSet": {"@id": "images"}, "extract": {"fileProperty": "content"}}
    path = {"fileSet": {"@id": "images"}, "extract": {"fileProperty": "fullpath"}}
    labels = [_field("labels/file_name", "sc:Text", named), _field("labels/label", "sc:Text", label)]
    shown = [_field("pictures/path", "sc:Text", path), _field("pictures/image", "sc:ImageObject", content)]
    told: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": description,
        "license": licence,
        "distribution": [*files, pictures],
        "recordSet": [
            {"@type": "cr:RecordSet", "@id": "labels", "name": "labels", "field": labels},
            {"@type": "cr:RecordSet", "@id": "pictures", "name": "pictures", "field": shown},
        ],
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _file(name: str, text: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "encodingFormat": "text/csv",
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def _field(place: str, kind: str, source: dict[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": place,
        "name": place.rpartition("/")[2],
        "dataType": kind,
        "source": source,
    }
