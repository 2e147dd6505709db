"""Binary glTF 2.0 with colours as its standard means them: linear light, on a material that does not shine.

General mesh libraries write vertex colours as they are stored, in sRGB, and leave the material out, whose default is
bare metal: viewers that follow the standard then show the mesh too bright or nearly black.
"""

import json
import struct
from typing import Any

import numpy as np
import trimesh
from jaxtyping import UInt8, UInt16
from numpy import ndarray

from neus_ns.surface.colour import vertex_normals

_FLOAT, _UNSIGNED_SHORT, _UNSIGNED_INT = 5126, 5123, 5125
_VERTICES, _INDICES = 34962, 34963


def glb(mesh: trimesh.Trimesh, colours: UInt8[ndarray, "vertices 4"] | None) -> bytes:
    """The mesh as a .glb file: positions and normals in single precision, sRGB colours as 16-bit linear ones."""
    parts: list[tuple[str, ndarray, dict[str, Any]]] = []
    positions = np.asarray(mesh.vertices, dtype="<f4")
    bounds = {"min": positions.min(0).tolist(), "max": positions.max(0).tolist()} if len(positions) else {}
    parts.append(("POSITION", positions, {"componentType": _FLOAT, "type": "VEC3", **bounds}))
    normals = vertex_normals(mesh).astype("<f4")
    # The standard wants unit vectors, also where a vertex has no area around it.
    normals[np.linalg.norm(normals, axis=1) < 0.5] = (0.0, 0.0, 1.0)
    parts.append(("NORMAL", normals, {"componentType": _FLOAT, "type": "VEC3"}))
    if colours is not None:
        linear = {"componentType": _UNSIGNED_SHORT, "type": "VEC4", "normalized": True}
        parts.append(("COLOR_0", linear_light(colours).astype("<u2"), linear))
    indices = np.asarray(mesh.faces, dtype="<u4").reshape(-1)
    parts.append(("indices", indices, {"componentType": _UNSIGNED_INT, "type": "SCALAR"}))
    views, accessors, offset = [], [], 0
    for name, values, says in parts:
        target = _INDICES if name == "indices" else _VERTICES
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": values.nbytes, "target": target})
        accessors.append({"bufferView": len(accessors), "count": len(values), **says})
        offset += values.nbytes
    attributes = {name: index for index, (name, _, _) in enumerate(parts[:-1])}
    material = {"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}
    content = {
        "asset": {"version": "2.0", "generator": "neus_ns"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": len(parts) - 1, "material": 0}]}],
        "materials": [material],
        "buffers": [{"byteLength": offset}],
        "bufferViews": views,
        "accessors": accessors,
    }
    return _file(json.dumps(content).encode(), b"".join(values.tobytes() for _, values, _ in parts))


def linear_light(srgb: UInt8[ndarray, "vertices 4"]) -> UInt16[ndarray, "vertices 4"]:
    """Colours of sRGB as shares of light in 16 bits, by the curve of IEC 61966-2-1; alpha is a share already."""
    steps = np.arange(256) / 255
    curve = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    table = np.round(65535 * curve).astype(np.uint16)
    return np.concatenate([table[srgb[:, :3]], srgb[:, 3:].astype(np.uint16) * 257], axis=1)


def _file(content: bytes, binary: bytes) -> bytes:
    """The header and two chunks, each padded to four bytes."""
    content += b" " * (-len(content) % 4)
    binary += b"\0" * (-len(binary) % 4)
    chunks = (
        struct.pack("<II", len(content), 0x4E4F534A) + content + struct.pack("<II", len(binary), 0x004E4942) + binary
    )
    return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks
