"""Captures in other people's formats: one reader a format, and one place that tells which of them a folder is in.

`recognise` looks at a folder and names its format. The formats that nerfstudio reads are left to its own parsers
(`colmap`, `blender` only keep them from prompting and failing); the others (`dtu`, `blended_mvs`, `middlebury`,
`angle_json`) each fill one record, `photos.PosedPhotos`, which `parser` hands to nerfstudio. `masks` finds the masks
that no format names.
"""
