"""What nerfstudio's viewer, renderer and exporters ask of pictures: crops, another background, depth everywhere."""

import math
from pathlib import Path

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.model_components.renderers import background_color_override_context

from neus_ns.models.pipeline import SurfacePipeline
from tests.scenes import tiny_capture
from tests.test_neus_hash import pipeline_of, tiny_config, trained


@pytest.fixture(scope="module", params=["masks", "learned background"])
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SurfacePipeline:
    """A ball of radius 0.5 in the unit frame, as every training of an object begins."""
    folder: Path = tmp_path_factory.mktemp("capture")
    tiny_capture(folder, size=32, views=6, masks=request.param == "masks")
    pipeline = pipeline_of(trained(tiny_config(folder, tmp_path_factory.mktemp("runs"), 1)))
    pipeline.eval()
    return pipeline


def camera_before(pipeline: SurfacePipeline, towards: float) -> Cameras:
    """A camera three radii of the region before its middle, looking at it (1) or away (-1)."""
    frame = pipeline.surface_model.field.frame
    pose = torch.eye(4)[:3]
    pose[:, :3] *= torch.tensor([1.0, 1.0, towards])
    pose[0, 0] *= towards
    pose[:, 3] = (frame.parser_from_unit @ torch.tensor([0.0, 0.0, 3.0, 1.0], dtype=torch.float64))[:3].float()
    return Cameras(pose[None], 40.0, 40.0, 24.0, 24.0, 48, 48, camera_type=CameraType.PERSPECTIVE)


def box(pipeline: SurfacePipeline, middle: tuple[float, float, float], side: float) -> OrientedBox:
    """A cube given in the unit frame."""
    frame = pipeline.surface_model.field.frame
    centre = (frame.parser_from_unit @ torch.tensor([*middle, 1.0], dtype=torch.float64))[:3].float()
    return OrientedBox(torch.eye(3), centre, torch.full((3,), side * frame.parser_units_per_unit))


def test_a_crop_shows_what_is_inside(pipeline: SurfacePipeline):
    camera, render = camera_before(pipeline, 1.0), pipeline.model.get_outputs_for_camera
    whole = render(camera)["accumulation"][..., 0]
    around = render(camera, obb_box=box(pipeline, (0.0, 0.0, 0.0), 1.9))["accumulation"][..., 0]
    right = render(camera, obb_box=box(pipeline, (0.5, 0.0, 0.0), 1.0))
    nothing = render(camera, obb_box=box(pipeline, (5.0, 0.0, 0.0), 1.0))
    torch.testing.assert_close(around, whole, atol=0.05, rtol=0)
    half = right["accumulation"][..., 0]
    assert half[:, :20].max() < 0.01 and half[20:28, 26:28].min() > 0.8
    assert nothing["accumulation"].max() == 0
    assert all(torch.isfinite(value).all() for outputs in (right, nothing) for value in outputs.values())


def test_nerfstudio_s_background_goes_before_ours(pipeline: SurfacePipeline):
    red = torch.tensor([1.0, 0.0, 0.0])
    with background_color_override_context(red):
        outputs = pipeline.model.get_outputs_for_camera(camera_before(pipeline, -1.0))
    torch.testing.assert_close(outputs["rgb"], red.expand_as(outputs["rgb"]))


def test_where_nothing_is_met_depth_lies_beyond_and_normals_are_grey(pipeline: SurfacePipeline):
    units = pipeline.surface_model.field.frame.parser_units_per_unit
    outputs = pipeline.model.get_outputs_for_camera(camera_before(pipeline, 1.0))
    opacity, depth = outputs["accumulation"][..., 0], outputs["depth"][..., 0] / units
    assert depth[24, 24] == pytest.approx(2.5, abs=0.1)
    # The corner's ray passes the ball's middle, three away, at the angle of the corner.
    corner = 3 * math.cos(math.atan(23.5 * 2**0.5 / 40))
    assert opacity[0, 0] == 0 and depth[0, 0] == pytest.approx(corner, abs=0.01)
    missed = opacity < 0.1
    assert missed.any() and (outputs["normals"][missed] == 0.5).all() and depth[missed].min() > 2.0
    assert depth[~missed].max() < 3.2
    away = pipeline.model.get_outputs_for_camera(camera_before(pipeline, -1.0))
    assert away["accumulation"].max() == 0 and torch.isfinite(away["depth"]).all()
