"""COLMAP models: read back exactly, the same from binary and text, and refused in one sentence when damaged."""

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from neus_ns.data.colmap.model import CAMERA_MODELS, ColmapModel
from neus_ns.data.colmap.read import find_model, read_model
from neus_ns.errors import InputError
from tests.colmap_scene import SIZE, Scene, ball_scene, image_id, point_id, write_binary, write_text

WRITERS = {".bin": write_binary, ".txt": write_text}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return ball_scene()


@pytest.mark.parametrize("kind", WRITERS)
def test_a_model_is_read_back_exactly(tmp_path: Path, scene: Scene, kind: str) -> None:
    model = read_model(WRITERS[kind](scene, tmp_path))
    assert model.images.names == scene.names
    assert model.images.ids.tolist() == [image_id(view) for view in range(len(scene.names))]
    assert model.cameras.models == [lens[0] for lens in scene.lenses]
    assert [params.tolist() for params in model.cameras.params] == [lens[2] for lens in scene.lenses]
    assert model.cameras.widths.tolist() == [SIZE[0]] * 3 and model.cameras.heights.tolist() == [SIZE[1]] * 3
    assert model.image_camera.tolist() == scene.camera_of
    np.testing.assert_allclose(model.cv_from_world, scene.cv_from_world, atol=1e-12)
    assert np.array_equal(model.points.xyz, scene.points) and np.array_equal(model.points.errors, scene.errors)
    assert model.points.ids.tolist() == [point_id(point) for point in range(len(scene.points))]
    assert np.array_equal(model.images.keypoints, np.concatenate(scene.keypoints))
    elements = [(point, *element) for point, track in enumerate(scene.tracks) for element in track]
    found = np.stack([model.element_point, model.element_image, model.points.element_keypoint], axis=1)
    assert np.array_equal(found, elements)
    expected = np.array([scene.keypoints[image][keypoint] for _, image, keypoint in elements])
    assert np.array_equal(model.element_xy, expected)


def everything(model: ColmapModel) -> list[np.ndarray]:
    images, points = model.images, model.points
    return [
        *(images.ids, images.camera_ids, images.quaternions, images.translations, images.first_keypoint),
        *(images.keypoints, points.ids, points.xyz, points.errors, points.first_element),
        *(points.element_image_ids, points.element_keypoint, *model.cameras.params),
    ]


def test_binary_and_text_say_the_same(tmp_path: Path, scene: Scene) -> None:
    binary, text = read_model(write_binary(scene, tmp_path / "b")), read_model(write_text(scene, tmp_path / "t"))
    for a, b in zip(everything(binary), everything(text), strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)


def test_the_binary_model_wins_where_both_are(tmp_path: Path, scene: Scene) -> None:
    write_text(ball_scene(seed=1), tmp_path)
    write_binary(scene, tmp_path)
    assert np.array_equal(read_model(tmp_path).points.xyz, scene.points)


@pytest.mark.parametrize(("number", "model"), list(enumerate(CAMERA_MODELS)))
def test_every_camera_model_has_its_number_of_parameters(tmp_path: Path, number: int, model: tuple[str, int]) -> None:
    one = ball_scene(views=2, points=4)
    one.lenses = [(model[0], number, [9.0 + index for index in range(model[1])], [])]
    one.camera_of = [0, 0]
    for kind, writer in WRITERS.items():
        cameras = read_model(writer(one, tmp_path / kind)).cameras
        assert cameras.models == [model[0]] and cameras.params[0].tolist() == one.lenses[0][2]


@pytest.mark.parametrize("place", ["colmap/sparse/0", "sparse/0", "sparse", "."])
def test_a_model_is_found_where_it_usually_lies(tmp_path: Path, scene: Scene, place: str) -> None:
    (tmp_path / "sparse").mkdir()
    assert find_model([tmp_path]) is None
    write_text(scene, tmp_path / place)
    found = find_model([tmp_path / "elsewhere", tmp_path])
    assert found is not None and found.resolve() == (tmp_path / place).resolve()


def test_images_stripped_of_their_keypoints_leave_tracks_without_positions(tmp_path: Path, scene: Scene) -> None:
    write_text(scene, tmp_path)
    lines = (tmp_path / "images.txt").read_text().split("\n")
    # The very last line may be missing altogether.
    (tmp_path / "images.txt").write_text("\n".join(line if i % 2 else "" for i, line in enumerate(lines)).rstrip())
    model = read_model(tmp_path)
    assert len(model.images.keypoints) == 0 and np.isnan(model.element_xy).all()


def test_a_text_model_may_have_no_points_yet(tmp_path: Path, scene: Scene) -> None:
    write_text(scene, tmp_path)
    (tmp_path / "points3D.txt").write_text("")
    model = read_model(tmp_path)
    assert model.points.xyz.shape == (0, 3) and len(model.element_xy) == 0


# Damage done to one file of a sound model: what is done, to which file, and what the sentence says.


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(share * len(content))]


def put(at: int, layout: str, *values: float) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        new = struct.pack(layout, *values)
        start = at % len(content)
        return content[:start] + new + content[start + len(new) :]

    return damage


def word(line: int, column: int, new: str) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        lines = content.decode().split("\n")
        words = lines[line].split(" ")
        words[column] = new
        lines[line] = " ".join(words)
        return "\n".join(lines).encode()

    return damage


def columns(line: int, keep: int) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        lines = content.decode().split("\n")
        lines[line] = " ".join(lines[line].split(" ")[:keep])
        return "\n".join(lines).encode()

    return damage


NAN = float("nan")
FIRST_IMAGE, FIRST_POINT = 8, 8
DAMAGES: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("cameras.bin", cut(0), "empty"),
    ("images.bin", cut(0), "empty"),
    ("points3D.bin", cut(0), "empty"),
    ("points3D.bin", cut(0.0003), "ends after 4 bytes|ends after"),
    ("cameras.bin", cut(0.7), "ends after"),
    ("images.bin", cut(0.5), "ends after"),
    ("points3D.bin", cut(0.9), "ends after"),
    ("points3D.bin", lambda content: content + b"12345", "goes on for 5 bytes"),
    ("cameras.bin", put(12, "<i", 77), "unknown model 77"),
    ("cameras.bin", put(16, "<Q", 0), "0x48 pixels"),
    ("cameras.bin", put(32, "<d", 0.0), "focal length"),
    ("cameras.bin", put(32, "<d", NAN), "not finite"),
    ("cameras.bin", put(8, "<i", 99), "camera 1, which cameras.bin does not have"),
    ("images.bin", put(0, "<Q", 2**61), "promises"),
    ("images.bin", put(0, "<Q", 0), "goes on for"),
    ("images.bin", put(0, "<Q", 8), "goes on for"),
    ("images.bin", put(FIRST_IMAGE + 4, "<4d", 0, 0, 0, 0), "not a finite rotation"),
    ("images.bin", put(FIRST_IMAGE + 36, "<d", NAN), "not a finite rotation"),
    ("images.bin", put(FIRST_IMAGE, "<i", 4711), "names image 5, which images.bin does not have"),
    ("images.bin", put(FIRST_IMAGE + 64, "<B", 255), "not UTF-8"),
    ("images.bin", put(-24, "<d", NAN), "keypoints that are not finite"),
    ("points3D.bin", put(0, "<Q", 149), "goes on for"),
    ("points3D.bin", put(0, "<Q", 151), "ends after"),
    ("points3D.bin", put(FIRST_POINT + 8, "<d", NAN), "1 of 150 points have coordinates that are not finite"),
    ("points3D.bin", put(FIRST_POINT + 43, "<Q", 2**63), "ends after"),
    ("points3D.bin", put(-8, "<i", 4711), "names image 4711"),
    ("points3D.bin", put(-4, "<i", 10**6), "names keypoint 1000000 of image"),
    ("points3D.bin", put(FIRST_POINT, "<Q", point_id(3)), "point 22 is there twice"),
    ("points3D.bin", put(FIRST_POINT, "<Q", 2**64 - 1), "impossible number"),
    ("cameras.txt", cut(0), "empty"),
    ("images.txt", cut(0), "empty"),
    ("cameras.txt", word(1, 1, "PINBALL"), "unknown camera model PINBALL"),
    ("cameras.txt", columns(1, 4), "too few columns"),
    ("cameras.txt", columns(1, 7), "has 3 parameters, but PINHOLE has 4"),
    ("cameras.txt", word(1, 2, "1e30"), "other than whole numbers"),
    ("cameras.txt", word(1, 5, "wide"), "something else where numbers"),
    ("images.txt", columns(1, 9), "too few columns"),
    ("images.txt", columns(2, 16), "come in threes"),
    ("images.txt", word(1, 3, "x"), "line 2 has something else where numbers"),
    ("images.txt", word(1, 5, "inf"), "not a finite rotation"),
    ("images.txt", word(2, 1, "nan"), "keypoints that are not finite"),
    ("images.txt", lambda content: b"# nothing\n", "holds no images"),
    ("images.txt", lambda content: b"\xff\xfe" + content, "UTF-8"),
    ("points3D.txt", columns(1, 7), "too few columns"),
    ("points3D.txt", word(1, 1, "nan"), "not finite"),
    ("points3D.txt", word(1, 0, "1.5"), "whole numbers"),
    ("points3D.txt", word(5, -1, "9999"), "names keypoint 9999"),
    ("points3D.txt", word(5, -2, "9999"), "names image 9999"),
    ("points3D.txt", word(5, -2, "-4"), "names image -4"),
    ("points3D.txt", word(5, 2, "oops"), "something else where numbers"),
]


@pytest.mark.parametrize(("name", "damage", "sentence"), DAMAGES, ids=[f"{d[0]}: {d[2][:30]}" for d in DAMAGES])
def test_a_damaged_file_is_named_in_one_sentence(
    tmp_path: Path, scene: Scene, name: str, damage: Callable[[bytes], bytes], sentence: str
) -> None:
    path = WRITERS[Path(name).suffix](scene, tmp_path) / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=sentence) as caught:
        read_model(tmp_path)
    assert name in str(caught.value) and str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["cameras.bin", "points3D.bin"])
def test_a_model_with_a_file_missing_is_refused(tmp_path: Path, scene: Scene, missing: str) -> None:
    (write_binary(scene, tmp_path) / missing).unlink()
    with pytest.raises(InputError, match="images.bin.* of a COLMAP model"):
        read_model(tmp_path)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path, scene: Scene) -> None:
    (write_binary(scene, tmp_path) / "cameras.bin").unlink()
    (tmp_path / "cameras.bin").mkdir()
    with pytest.raises(InputError):
        read_model(tmp_path)


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """A few random changes: bytes, bits, cuts, repeats, and (in text) words that numbers turn into."""
    out = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        kind, at = rng.integers(7), int(rng.integers(max(len(out), 1)))
        length = int(rng.integers(1, 24))
        if kind == 0:
            out[at : at + 1] = bytes([rng.integers(256)])
        elif kind == 1:
            out = out[:at]
        elif kind == 2:
            del out[at : at + length]
        elif kind == 3:
            out[at:at] = out[at : at + length]
        elif kind == 4:
            out[at : at + 8] = struct.pack("<d", rng.choice([NAN, np.inf, 0.0, -1.0, 1e308, 5e-324]))
        elif kind == 5:
            out[at : at + 8] = struct.pack(
                "<Q", rng.choice(np.array([0, 1, 2**31, 2**53, 2**62, 2**64 - 1], np.uint64))
            )
        else:
            words = [b" nan ", b" -1 ", b" 1e400 ", b"\n", b" ", b"#", b" 99999999999999999999 ", b"\0", b" x ", b"-"]
            out[at : at + length] = words[rng.integers(len(words))]
    return bytes(out)


FUZZ_CASES = int(os.environ.get("NEUS_NS_FUZZ_CASES", "500"))


def test_mutated_models_are_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    """NEUS_NS_FUZZ_CASES sets how many; 20000 take two minutes."""
    rng = np.random.default_rng(20)
    small = ball_scene(views=3, points=12)
    sound = {suffix: writer(small, tmp_path / suffix[1:]) for suffix, writer in WRITERS.items()}
    outcomes = {True: 0, False: 0}
    for case in range(FUZZ_CASES):
        suffix = (".bin", ".txt")[case % 2]
        name = ("cameras", "images", "points3D")[rng.integers(3)] + suffix
        path = sound[suffix] / name
        content = path.read_bytes()
        path.write_bytes(mutated(content, rng))
        try:
            model = read_model(sound[suffix])
            assert np.isfinite(model.points.xyz).all() and np.isfinite(model.cv_from_world).all()
            assert len(model.element_xy) == len(model.element_image)
            outcomes[True] += 1
        except InputError as error:
            assert "\n" not in str(error) and str(error).endswith(".")
            outcomes[False] += 1
        path.write_bytes(content)
    assert min(outcomes.values()) > FUZZ_CASES // 20
    shutil.rmtree(tmp_path)
