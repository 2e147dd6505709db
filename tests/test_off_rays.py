"""What a step asks the field off its rays: normals beside samples, and colours across the surface."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from neus_ns.models.off_rays import OffRays, look_off_rays
from neus_ns.models.pipeline import SurfacePipeline, surface_pipeline
from tests.scenes import tiny_capture
from tests.test_neus_hash import pipeline_config, tiny_config, trained


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> SurfacePipeline:
    folder: Path = tmp_path_factory.mktemp("bare")
    tiny_capture(folder, size=32, views=6, masks=False)
    config = tiny_config(folder, folder / "out", 20)
    pipeline_config(config).model.weights.across = 2.0
    found = surface_pipeline(trained(config).pipeline)
    found.train()
    return found


def off_rays_of(pipeline: SurfacePipeline) -> tuple[OffRays, dict, dict[str, Tensor]]:
    bundle, batch = pipeline.datamanager.next_train(20)
    outputs = pipeline.surface_model(bundle)
    return outputs["off_rays"], outputs, batch


def test_what_is_asked_is_taken_apart_as_it_was_put_together(pipeline):
    off, outputs, _ = off_rays_of(pipeline)
    free, surface = off.sdf_at_known
    parts = [len(free), len(surface), len(off.gradient_beside), len(off.repainted)]
    assert sum(parts) == len(off.sample.sdf) and parts[0] == len(off.known.free) and parts[3] == 512
    torch.testing.assert_close(off.gradient_beside, off.sample.gradient[parts[0] + parts[1] : -parts[3]])
    assert len(off.ray_index) == parts[2] and len(off.across_ray_index) == parts[3]


def test_colours_count_by_how_plain_the_photograph_is_on_their_own_ray(pipeline):
    off, outputs, batch = off_rays_of(pipeline)
    assert "plain" in batch
    plain = torch.rand(len(batch["image"]), generator=torch.Generator().manual_seed(0))
    model = pipeline.surface_model
    losses = model.geometry_losses(outputs, batch | {"plain": plain})
    expected = 2.0 * (plain[off.across_ray_index] * off.repainted.abs().sum(-1)).mean()
    torch.testing.assert_close(losses["across"], expected)
    textured = model.geometry_losses(outputs, batch | {"plain": torch.zeros_like(plain)})
    assert textured["across"] == 0


def test_a_field_that_paints_by_the_normal_alone_changes_no_colour_across(pipeline):
    field = pipeline.surface_model.field
    before = {name: value.clone() for name, value in field.state_dict().items()}
    assert off_rays_of(pipeline)[0].repainted.abs().max() > 1e-3
    with torch.no_grad():
        # Columns of the place, and of the feature, which is last where photographs have no appearance.
        first = next(layer for layer in field.colour_network.layers if isinstance(layer, torch.nn.Linear))
        first.weight[:, :3] = 0
        first.weight[:, -field.sdf_network.output.out_features + 1 :] = 0
    assert off_rays_of(pipeline)[0].repainted.abs().max() < 1e-5
    field.load_state_dict(before)


def test_colours_off_the_surface_follow_and_pull_neither_poses_nor_those_on_it(pipeline):
    model = pipeline.surface_model
    bundle, _ = pipeline.datamanager.next_train(20)
    rays = model.clipped(bundle.origins.clone().requires_grad_(), bundle.directions.clone().requires_grad_())
    appearance = torch.zeros(len(bundle.origins), 0)
    _, samples = model.render_surface(rays, appearance)
    off = look_off_rays(model.field, model.draw_known(), samples, appearance, model.config.weights)
    wanted = [rays.origins, rays.directions, samples.colour, model.field.sdf_network.grid.table]
    found = torch.autograd.grad(off.repainted.square().sum(), wanted, allow_unused=True)
    assert found[0] is None and found[1] is None and found[2] is None
    assert found[3] is not None and found[3].abs().max() > 0


def test_what_counts_nothing_is_not_asked(pipeline):
    model = pipeline.surface_model
    bundle, _ = pipeline.datamanager.next_train(20)
    rays, appearance = model.unit_rays(bundle), torch.zeros(len(bundle.origins), 0)
    _, samples = model.render_surface(rays, appearance)
    known = model.draw_known()
    off = look_off_rays(model.field, known, samples, appearance, replace(model.config.weights, across=0.0))
    assert len(off.repainted) == 0 and len(off.sample.sdf) == len(known.free) + len(known.surface) + len(off.ray_index)
