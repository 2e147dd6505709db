"""Captures with random damage end in success or in one sentence, whatever the damage: recognition, checks, region."""

import copy
import json
import os
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nerfstudio.utils.rich_utils import CONSOLE

from neus_ns.data import region_masks
from neus_ns.data.datamanager import SurfaceDataManager, SurfaceDataManagerConfig
from neus_ns.data.region_options import RegionOptions
from neus_ns.data.survey import survey
from neus_ns.errors import InputError
from tests.colmap_scene import ball_scene, write_binary
from tests.source_samples import SAMPLES, Shots, dtu_matrices, take_shots
from tests.test_colmap import mutated

FUZZ_CASES = int(os.environ.get("NEUS_NS_FUZZ_CASES", "200"))

STRANGE: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 1e-30, 1e30, 1e308, -1e308, float("nan"), float("inf"), 2**31, 2**63, 10**400),
    *("", "0", "nan", "1e999", "x", "..", "/", ".", "../..", "\0", "\ud800", "images/000.png", "a" * 5000, "ünï.png"),
    *(
        [],
        {},
        [[]],
        [None],
        {"": None},
        [1, 2, 3],
        [[1, 0, 0, 0]] * 4,
        [[0.0] * 4] * 3,
        "OPENCV",
        "FISHEYE",
        "PERSPECTIVE",
    ),
]
KEYS = [
    *("fl_x", "fl_y", "cx", "cy", "w", "h", "k1", "k2", "k3", "k4", "p1", "p2", "camera_model", "camera_angle_x"),
    *("frames", "file_path", "mask_path", "depth_file_path", "transform_matrix", "applied_transform", "applied_scale"),
    *("ply_file_path", "orientation_override", "auto_scale_poses_override", "fisheye_crop_radius", "colmap_im_id"),
    *(
        "train_filenames",
        "val_filenames",
        "test_filenames",
        "depth_unit_scale_factor",
        "aabb_scale",
        "distortion_params",
    ),
]


def places(node: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every (container, key) of a json."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(items):
        found.append((node, key))
        places(value, found)
    return found


def damaged_json(text: str, rng: random.Random) -> bytes:
    """One to three changes of the structure: values replaced, removed, repeated, shuffled, keys added."""
    meta = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        found = places(meta, [])
        # Most places are numbers of matrices; the few others matter as much.
        named = [place for place in found if isinstance(place[1], str)]
        if not found:
            break
        node, key = rng.choice(named if named and rng.random() < 0.7 else found)
        kind = rng.randrange(7)
        value = node[key]
        if kind <= 1:
            node[key] = copy.deepcopy(rng.choice(STRANGE))
        elif kind == 2:
            del node[key]
        elif kind == 3 and isinstance(value, int | float):
            node[key] = value * rng.choice([-1, 0, 1e-9, 1e9, 1e300, 1.0001])
        elif kind == 4 and isinstance(value, list) and value:
            value.append(copy.deepcopy(rng.choice(value)))
        elif kind == 5 and isinstance(value, list):
            rng.shuffle(value)
        else:
            target = node if isinstance(node, dict) else meta if isinstance(meta, dict) else {}
            target[rng.choice(KEYS)] = copy.deepcopy(rng.choice(STRANGE))
    # Lone surrogates cannot be written as UTF-8 but as escapes, as json does by default.
    return json.dumps(meta).encode()


def damaged_npz(matrices: dict[str, np.ndarray], path: Path, rng: random.Random) -> None:
    """The same for an archive of matrices: numbers, shapes, types and names."""
    matrices = dict(matrices)
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(sorted(matrices))
        matrix = np.array(matrices[name])
        # What an earlier change turned into words or truth values stays as it is.
        kind = rng.randrange(9) if matrix.dtype.kind == "f" else 8
        if kind <= 2 and matrix.size:
            number = rng.choice([np.nan, np.inf, 0.0, -1.0, 1e-300, 1e300, 1e8, -1e8, 1e-8])
            flat = matrix.astype(np.float64).reshape(-1)
            flat[rng.randrange(flat.size)] = number
            matrix = flat.reshape(matrix.shape)
        elif kind == 3:
            matrix = matrix * rng.choice([-1.0, 0.0, 1e-200, 1e200, 1e20])
        elif kind == 4:
            matrix = matrix[: rng.randint(0, 3)]
        elif kind == 5:
            matrix = matrix.T if rng.random() < 0.5 else matrix[None]
        elif kind == 6:
            matrix = matrix.astype(rng.choice(["f2", "i1", "c16", "U8", "?", "f4", "S3"]))
        elif kind == 7:
            matrices[f"world_mat_{rng.choice(['9', '-1', 'x', '00', ''])}"] = matrix
        else:
            del matrices[name]
            if not matrices:
                break
            continue
        matrices[name] = matrix
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.savez(path, **matrices)


def look_over(folder: Path) -> SurfaceDataManager:
    """What training does with a capture before its first step."""
    manager = SurfaceDataManagerConfig(data=folder).setup(device="cpu", test_mode="val")
    found = survey(manager, "object", RegionOptions())
    assert np.isfinite(found.region.radius) and found.region.radius > 0
    assert bool(found.frame.world_from_unit.isfinite().all())
    return manager


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Shots:
    return take_shots(tmp_path_factory.mktemp("rendered"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nerfstudio's log, and with a hull of few cells, which takes most of a case's time otherwise."""
    monkeypatch.setattr(CONSOLE, "quiet", True)
    monkeypatch.setattr(region_masks, "_COARSE", 24)
    monkeypatch.setattr(region_masks, "_FINE", 24)


Damage = Callable[[random.Random], None]


def json_damage(path: Path) -> Damage:
    text = path.read_text()

    def apply(rng: random.Random) -> None:
        path.write_bytes(
            mutated(text.encode(), np.random.default_rng(rng.getrandbits(32)))
            if rng.random() < 0.3
            else damaged_json(text, rng)
        )

    return apply


def npz_damage(path: Path, matrices: dict[str, np.ndarray]) -> Damage:
    content = path.read_bytes()

    def apply(rng: random.Random) -> None:
        if rng.random() < 0.4:
            path.write_bytes(mutated(content, np.random.default_rng(rng.getrandbits(32))))
        else:
            damaged_npz(matrices, path, rng)

    return apply


def captures(shots: Shots, root: Path) -> list[tuple[Path, Damage]]:
    """Small captures, each with the damage that is done to it."""
    found = []
    for name in ("nerfstudio", "Polycam", "OmniObject3D", "DTU", "NeuS without masks"):
        folder = root / name
        folder.mkdir()
        SAMPLES[name].write(shots, folder)
        archive = next((path for path in folder.glob("*.npz")), None)
        if archive is None:
            found.append((folder, json_damage(folder / "transforms.json")))
        else:
            found.append((folder, npz_damage(archive, dtu_matrices(shots))))
    # Points of other poses beside a capture are left out, whatever transforms.json says.
    write_binary(ball_scene(views=3, points=40), root / "Polycam/colmap/sparse/0")
    return found


def test_damaged_captures_are_read_or_refused_and_nothing_else(tmp_path: Path, shots: Shots, quick: None) -> None:
    """NEUS_NS_FUZZ_CASES sets how many; case by case the seed is the number, so that one can be had again."""
    prepared = captures(shots, tmp_path)
    outcomes = {True: 0, False: 0}
    for case in range(FUZZ_CASES):
        rng = random.Random(case)
        folder, damage = prepared[case % len(prepared)]
        damage(rng)
        try:
            look_over(folder)
            outcomes[True] += 1
        except InputError as error:
            message = str(error)
            assert "\n" not in message and message.endswith("."), f"case {case}: {message}"
            outcomes[False] += 1
        except Exception as error:
            raise AssertionError(f"case {case} in {folder.name}: {type(error).__name__}: {error}") from error
    assert min(outcomes.values()) > FUZZ_CASES // 20
    shutil.rmtree(tmp_path)
