"""Every way in which a capture of another format can be malformed gets one sentence, and nothing is written."""

import json
import math
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neus_ns.data.datamanager import SurfaceDataManagerConfig
from neus_ns.errors import InputError
from tests.source_samples import SAMPLES, Shots, take_shots

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Shots:
    return take_shots(tmp_path_factory.mktemp("rendered"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def npz(change: Callable[[dict[str, np.ndarray]], object], name: str = "cameras_sphere.npz") -> Change:
    """Change the matrices of a capture in DTU's layout."""

    def apply(folder: Path) -> None:
        matrices = dict(np.load(folder / name))
        change(matrices)
        np.savez(folder / name, **matrices)

    return apply


def edit(name: str, old: str, new: str) -> Change:
    """Replace text in a file, where it must be."""

    def apply(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return apply


def write(name: str, content: bytes = b"") -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def cut(name: str, share: float = 0.5) -> Change:
    """Keep only the first part of a file."""

    def apply(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(share * len(data))])

    return apply


def remove(*names: str) -> Change:
    return lambda folder: [(folder / name).unlink() for name in names]


def rename(name: str, to: str) -> Change:
    return lambda folder: (folder / name).rename(folder / to)


def loop(name: str) -> Change:
    """A link that leads to itself in place of a file or folder."""

    def apply(folder: Path) -> None:
        (folder / name).rename(folder / "elsewhere")
        (folder / name).symlink_to(name)

    return apply


def meta(change: Callable[[dict], object], name: str = "transforms.json") -> Change:
    def apply(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return apply


def picture(name: str, size: tuple[int, int], mode: str = "RGB") -> Change:
    return lambda folder: Image.new(mode, size, 255).save(folder / name)


def mirror_extrinsic(folder: Path) -> None:
    path = folder / "cams/00000003_cam.txt"
    lines = path.read_text().splitlines()
    lines[1] = " ".join(str(-float(word)) for word in lines[1].split())
    path.write_text("\n".join(lines))


def set_number(name: str, line: int, column: int, value: str) -> Change:
    """Replace one word of a text file."""

    def apply(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines()
        words = lines[line].split(" ")
        words[column] = value
        lines[line] = " ".join(words)
        (folder / name).write_text("\n".join(lines) + "\n")

    return apply


def zero_focal_model(folder: Path) -> None:
    path = folder / "colmap/sparse/0/cameras.bin"
    path.write_bytes(path.read_bytes()[:32] + struct.pack("<d", 0.0) + path.read_bytes()[40:])


def drop_views(folder: Path) -> None:
    """Leave one photograph of a capture in DTU's layout."""
    for view in range(1, 9):
        (folder / f"image/{view:06d}.png").unlink()
        (folder / f"mask/{view:03d}.png").unlink()
    npz(lambda m: [m.pop(f"{kind}_mat_{view}") for kind in ("world", "scale") for view in range(1, 9)])(folder)


def spoil_member(folder: Path) -> None:
    """A whole archive, one of whose members is text."""
    with zipfile.ZipFile(folder / "cameras_sphere.npz", "a") as archive:
        archive.writestr("notes.npy", b"nothing")


def all_masks(level: int, folder: str, count: int = 9) -> Change:
    def apply(capture: Path) -> None:
        for path in list((capture / folder).iterdir())[:count]:
            Image.new("L", Image.open(path).size, level).save(path)

    return apply


_WORLD = "world_mat_2"
_CAM = "cams/00000003_cam.txt"
_MODEL = "colmap/sparse/0"
# The format, what is done to its sample, what the sentence must name, and a word of its reason.
MALFORMED: dict[str, tuple[str, Change, str, str]] = {
    "DTU: npz cut short": ("DTU", cut("cameras_sphere.npz"), "cameras_sphere.npz", "npz archive"),
    "DTU: npz of no bytes": ("DTU", write("cameras_sphere.npz"), "cameras_sphere.npz", "npz archive"),
    "DTU: npz is text": ("DTU", write("cameras_sphere.npz", b"cameras"), "cameras_sphere.npz", "npz archive"),
    "DTU: npz is a single array": (
        "DTU",
        lambda f: np.save((f / "cameras_sphere.npz").open("wb"), np.eye(4)),
        "cameras_sphere.npz",
        "single array",
    ),
    "DTU: npz with a member that is no array": ("DTU", spoil_member, "cameras_sphere.npz", "npz archive"),
    "DTU: the object's ball is in other units": (
        "DTU",
        npz(lambda m: m["scale_mat_0"][:3].__imul__(1e7)),
        "cameras_sphere.npz",
        "cameras' middle",
    ),
    "DTU: the object's ball overflows": (
        "DTU",
        npz(lambda m: m["scale_mat_0"][:3].__imul__(1e150)),
        "cameras_sphere.npz",
        ".",
    ),
    "DTU: npz holds objects": (
        "DTU",
        npz(lambda m: m.update(world_mat_2=np.array([{}], dtype=object))),
        "cameras_sphere.npz",
        "npz archive",
    ),
    "DTU: no such camera": ("DTU", npz(lambda m: m.update(world_mat_9=m.pop(_WORLD))), _WORLD, "no 4x4 matrix"),
    "DTU: too few cameras": ("DTU", npz(lambda m: m.pop("world_mat_8")), "cameras_sphere.npz", "8 cameras"),
    "DTU: camera of another shape": ("DTU", npz(lambda m: m.update({_WORLD: np.eye(3)})), _WORLD, "no 4x4 matrix"),
    "DTU: NaN": ("DTU", npz(lambda m: m[_WORLD].__setitem__((0, 0), math.nan)), _WORLD, "NaN"),
    "DTU: infinite": ("DTU", npz(lambda m: m[_WORLD].__setitem__((1, 3), math.inf)), _WORLD, "infinite"),
    "DTU: zero focal length": ("DTU", npz(lambda m: m[_WORLD].__setitem__(0, m[_WORLD][2])), _WORLD, "singular"),
    "DTU: mirrored": ("DTU", npz(lambda m: m[_WORLD].__imul__([[-1], [1], [1], [1]])), _WORLD, "mirrors"),
    "DTU: negated": ("DTU", npz(lambda m: m[_WORLD].__imul__(-1)), _WORLD, "looks backwards"),
    "DTU: skewed": (
        "DTU",
        npz(lambda m: m.update({_WORLD: np.array([[1, 0.2, 0, 0], *np.eye(4)[1:]]) @ m[_WORLD]})),
        _WORLD,
        "skews the pixels",
    ),
    "DTU: scale_mat no ball": (
        "DTU",
        npz(lambda m: m["scale_mat_0"].__setitem__((1, 1), 9.0)),
        "scale_mat_0",
        "same factor",
    ),
    "DTU: scale_mat NaN": (
        "DTU",
        npz(lambda m: m["scale_mat_0"].__setitem__((0, 3), math.nan)),
        "scale_mat_0",
        "NaN",
    ),
    "DTU: one spot": (
        "DTU",
        npz(lambda m: [m.update({f"world_mat_{v}": m["world_mat_0"]}) for v in range(9)]),
        "DTU",
        "in one spot",
    ),
    "DTU: one photograph": ("DTU", drop_views, "DTU", "holds 1 photograph,"),
    "DTU: photograph missing": ("DTU", remove("image/000004.png"), "cameras_sphere.npz", "9 cameras"),
    "DTU: photograph of no bytes": ("DTU", write("image/000004.png"), "image/000004.png", "0 bytes"),
    "DTU: photograph cut short": ("DTU", cut("image/000004.png", 0.7), "image/000004.png", "truncated"),
    "DTU: photograph is text": ("DTU", write("image/000004.png", b"no picture"), "image/000004.png", "as an image"),
    "DTU: link in a circle for a photograph": (
        "DTU",
        lambda f: ((f / "image/000004.png").unlink(), (f / "image/000004.png").symlink_to("000004.png")),
        "image/000004.png",
        "does not exist",
    ),
    "DTU: mask missing": ("DTU", remove("mask/004.png"), "mask", "no mask for 000000 (9 of 9"),
    "DTU: mask of another size": ("DTU", picture("mask/004.png", (9, 9)), "mask/004.png", "9x9"),
    "DTU: mask of no bytes": ("DTU", write("mask/004.png"), "mask/004.png", "0 bytes"),
    "DTU: masks black": ("DTU", all_masks(0, "mask"), "mask/", "all are black"),
    "DTU: masks white": ("DTU", all_masks(255, "mask"), "mask/", "everything as object"),
    "DTU: masks unnumbered": ("DTU", rename("mask/004.png", "mask/ünï.png"), "mask", "no mask for 000000"),
    "DTU: images folder is a link in a circle": ("DTU", loop("image"), "DTU", "known here"),
    "BlendedMVS: no extrinsic": ("BlendedMVS", edit(_CAM, "extrinsic", "extr"), _CAM, "4x4 matrix after `extrinsic`"),
    "BlendedMVS: camera cut short": ("BlendedMVS", cut(_CAM, 0.3), _CAM, "4x4 matrix after `extrinsic`"),
    "BlendedMVS: camera of no bytes": ("BlendedMVS", write(_CAM), _CAM, "does not give a 4x4"),
    "BlendedMVS: camera is binary": ("BlendedMVS", write(_CAM, b"\xff\xfe\x00"), _CAM, "UTF-8"),
    "BlendedMVS: NaN": ("BlendedMVS", set_number(_CAM, 2, 1, "nan"), _CAM, "NaN"),
    "BlendedMVS: words for numbers": ("BlendedMVS", set_number(_CAM, 2, 1, "left"), _CAM, "does not give a 4x4"),
    "BlendedMVS: mirrored": ("BlendedMVS", mirror_extrinsic, _CAM, "mirrors"),
    "BlendedMVS: scaled axes": ("BlendedMVS", set_number(_CAM, 2, 0, "7.5"), _CAM, "not rigid"),
    "BlendedMVS: zero focal length": ("BlendedMVS", set_number(_CAM, 7, 0, "0.0"), _CAM, "no matrix of intrinsics"),
    "BlendedMVS: negative focal length": ("BlendedMVS", set_number(_CAM, 7, 0, "-40.0"), "00000003.png", "positive"),
    "BlendedMVS: focal length in millimetres": (
        "BlendedMVS",
        set_number(_CAM, 7, 0, "0.03"),
        "00000003.png",
        "looks like",
    ),
    "BlendedMVS: photograph missing": (
        "BlendedMVS",
        remove("blended_images/00000003.png"),
        "blended_images",
        "no picture 00000003 ",
    ),
    "Middlebury: empty": ("Middlebury", write("ball_par.txt"), "ball_par.txt", "number of photographs"),
    "Middlebury: line missing": ("Middlebury", set_number("ball_par.txt", 0, 0, "12"), "ball_par.txt", "promises 12"),
    "Middlebury: line cut short": ("Middlebury", cut("ball_par.txt", 0.97), "ball_par.txt", "the 21 numbers"),
    "Middlebury: NaN": ("Middlebury", set_number("ball_par.txt", 3, 4, "nan"), "ball0002.png", "NaN"),
    "Middlebury: zero focal": (
        "Middlebury",
        set_number("ball_par.txt", 3, 1, "0"),
        "ball0002.png",
        "intrinsics",
    ),
    "Middlebury: not rigid": ("Middlebury", set_number("ball_par.txt", 3, 10, "3.0"), "ball0002.png", "not rigid"),
    "Middlebury: skewed": ("Middlebury", set_number("ball_par.txt", 3, 2, "8.0"), "ball0002.png", "skews"),
    "Middlebury: names do not match": (
        "Middlebury",
        rename("ball0003.png", "Ball 3.png"),
        "ball0003.png",
        "is missing",
    ),
    "Middlebury: two calibrations": ("Middlebury", write("other_par.txt"), "Middlebury", "2 files of cameras"),
    "Blender: no angle": (
        "Blender",
        meta(lambda m: m.pop("camera_angle_x"), "transforms_train.json"),
        "transforms_train.json",
        "`camera_angle_x` is None",
    ),
    "Blender: not json": ("Blender", cut("transforms_train.json"), "transforms_train.json", "not valid JSON"),
    "Blender: NaN pose": (
        "Blender",
        meta(lambda m: m["frames"][1]["transform_matrix"][0].__setitem__(0, math.nan), "transforms_train.json"),
        "transforms_train.json",
        "NaN",
    ),
    "Blender: photograph missing": ("Blender", remove("train/r_3.png", "train/r_4.png"), "train/r_3.png", "2 of 8"),
    "Blender: validation photograph missing": ("Blender", remove("train/r_0.png"), "train/r_0.png", "1 of 1"),
    "Blender: some without alpha": ("Blender", picture("train/r_3.png", (32, 32)), "train/r_3.png", "nor an alpha"),
    "OmniObject3D: angle in degrees": (
        "OmniObject3D",
        meta(lambda m: m.update(camera_angle_x=40)),
        "transforms",
        "is 40,",
    ),
    "OmniObject3D: angle NaN": (
        "OmniObject3D",
        meta(lambda m: m.update(camera_angle_x=math.nan)),
        "transforms",
        "is nan",
    ),
    "OmniObject3D: distorted": (
        "OmniObject3D",
        meta(lambda m: m.update(k1=0.05)),
        "transforms.json",
        "`k1` is not read",
    ),
    "OmniObject3D: a frame's fisheye": (
        "OmniObject3D",
        meta(lambda m: m["frames"][3].update(camera_model="OPENCV_FISHEYE")),
        "frame r_3",
        "`camera_model`",
    ),
    "OmniObject3D: split": (
        "OmniObject3D",
        meta(lambda m: m.update(test_filenames=[])),
        "`test_filenames`",
        "not read",
    ),
    "OmniObject3D: centre a share": ("OmniObject3D", meta(lambda m: m.update(cx=0.5)), "`cx` of r_0", "of pixels"),
    "OmniObject3D: another size": ("OmniObject3D", meta(lambda m: m.update(w=56, h=56)), "r_0", "promises 56x56"),
    "OmniObject3D: mask of one frame only": (
        "OmniObject3D",
        meta(lambda m: m["frames"][3].update(mask_path="masks/r_3.png")),
        "transforms.json",
        "for 8 of 9 frames",
    ),
    "Blender: distorted": (
        "Blender",
        meta(lambda m: m["frames"][0].update(distortion_params=[0.1, 0, 0, 0]), "transforms_train.json"),
        "transforms_train.json",
        "`distortion_params`",
    ),
    "Blender: off centre": (
        "Blender",
        meta(lambda m: m["frames"][2].update(cy=11.0), "transforms_train.json"),
        "train/r_3",
        "not the centred one",
    ),
    "Blender: masks": (
        "Blender",
        meta(lambda m: m["frames"][2].update(mask_path="masks/r_3.png"), "transforms_train.json"),
        "transforms_train.json",
        "`mask_path`",
    ),
    "OmniObject3D: frames no list": ("OmniObject3D", meta(lambda m: m.update(frames=3)), "transforms.json", "a list"),
    "OmniObject3D: one frame": (
        "OmniObject3D",
        meta(lambda m: m.update(frames=m["frames"][:1])),
        "transforms.json",
        "1 frame,",
    ),
    "OmniObject3D: mirrored": (
        "OmniObject3D",
        meta(lambda m: [row.__setitem__(0, -row[0]) for row in m["frames"][2]["transform_matrix"][:3]]),
        "frame r_2",
        "mirrors",
    ),
    "OmniObject3D: photograph missing": ("OmniObject3D", remove("images/r_5.png"), "images/r_5.png", "is missing"),
    "OmniObject3D: mask missing": ("OmniObject3D", remove("masks/r_5.png"), "masks", "no mask for r_5.png"),
    "nerfstudio: masks beside do not match": (
        "nerfstudio, masks beside",
        lambda f: [path.rename(path.with_stem("mask_" + path.stem)) for path in list((f / "masks").iterdir())],
        "masks",
        "of 9 photographs have none",
    ),
    "nerfstudio: mask beside of another size": (
        "nerfstudio, masks beside",
        picture("masks/003.png", (28, 27)),
        "masks/003.png",
        "28x27 pixels but its camera says 28x28; save the mask",
    ),
    "nerfstudio: masks beside black": ("nerfstudio, masks beside", all_masks(0, "masks"), "masks/", "all are black"),
    "COLMAP: cameras cut short": ("COLMAP binary", cut(f"{_MODEL}/cameras.bin"), "cameras.bin", "."),
    "COLMAP: images cut short": ("COLMAP binary", cut(f"{_MODEL}/images.bin"), "images.bin", "."),
    "COLMAP: points cut short": ("COLMAP binary", cut(f"{_MODEL}/points3D.bin"), "points3D.bin", "."),
    "COLMAP: cameras missing": ("COLMAP binary", remove(f"{_MODEL}/cameras.bin"), _MODEL, "of a COLMAP model"),
    "COLMAP: points missing": (
        "COLMAP text",
        remove("sparse/0/points3D.txt"),
        "sparse/0 has cameras.txt, images.txt of",
        "copy the missing files",
    ),
    "COLMAP: zero focal length": ("COLMAP binary", zero_focal_model, "cameras.bin", "."),
    "COLMAP: photographs elsewhere": ("COLMAP binary", rename("images", "photographs"), "000.png", "9 of 9"),
    "COLMAP: photograph missing": ("COLMAP binary", remove("images/004.png"), "images/004.png", "1 of 9"),
    "COLMAP: photograph of another size": ("COLMAP binary", picture("images/004.png", (30, 28)), "004.png", "30x28"),
    "COLMAP: mask missing": ("COLMAP binary", remove("masks/004.png"), "masks", "no mask for 004.png"),
    "COLMAP: text camera garbled": (
        "COLMAP text",
        edit("sparse/0/cameras.txt", "PINHOLE 28", "PINHOLE wide"),
        "cameras.txt",
        ".",
    ),
    "COLMAP: cameras of several kinds": (
        "COLMAP text",
        edit("sparse/0/cameras.txt", "2 PINHOLE 28 28", "2 OPENCV_FISHEYE 28 28 40 40 14 14 0 0 0 0\n3 PINHOLE 28 28"),
        "sparse/0",
        "kinds",
    ),
    "COLMAP: a kind that nerfstudio lacks": (
        "COLMAP text",
        edit("sparse/0/cameras.txt", "1 PINHOLE", "1 FOV 28 28 40 40 14 14 0.1\n3 PINHOLE"),
        "sparse/0",
        "FOV lens",
    ),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_capture_gets_one_sentence(tmp_path: Path, shots: Shots, fault: str) -> None:
    name, change, names, reason = MALFORMED[fault]
    folder = tmp_path / f"ünï {name}"
    folder.mkdir()
    SAMPLES[name].write(shots, folder)
    change(folder)
    before = contents(folder)
    with pytest.raises(InputError) as caught:
        SurfaceDataManagerConfig(data=folder).setup(device="cpu", test_mode="val")
    message = str(caught.value)
    assert names in message and reason in message, message
    assert "\n" not in message and message.endswith(".") and ". " not in message, message
    assert contents(folder) == before


@pytest.mark.parametrize("holds", [[], ["photo.jpg"], ["notes.txt", "images/1.png", "cams/pair.txt"]])
def test_a_folder_of_no_known_format_is_told_what_is_known(tmp_path: Path, holds: list[str]) -> None:
    for name in holds:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(InputError) as caught:
        SurfaceDataManagerConfig(data=tmp_path).setup(device="cpu", test_mode="val")
    message = str(caught.value)
    assert all(name.split("/")[0] in message for name in holds) and ("is empty" in message) == (not holds)
    for known in ("transforms.json", "Blender", "DTU", "BlendedMVS", "Middlebury", "COLMAP", "ns-process-data"):
        assert known in message
    assert "\n" not in message and message.endswith(".") and ". " not in message, message


def test_places_that_are_no_folder(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "circle").symlink_to("circle")
    for name, reason in (("nowhere", "does not exist"), ("circle", "does not exist"), ("clip.mp4", "is a file")):
        with pytest.raises(InputError, match=f"{name} {reason}"):
            SurfaceDataManagerConfig(data=tmp_path / name).setup(device="cpu", test_mode="val")
