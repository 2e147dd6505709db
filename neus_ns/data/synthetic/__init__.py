"""A capture made here: an analytic object, photographs of it from known cameras, and its exact surface.

`shapes` (distances) and `texture` → `demo` (the object) → `trace`, `shading`, `render` (photographs from `cameras`) →
`truth` (mesh and points) → `capture` (the folder that nerfstudio reads).
"""
