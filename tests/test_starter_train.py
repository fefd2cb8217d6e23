"""The starter's training goes on where it was stopped, and what it exports paints."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from gen.models import resolve
from gen.pipeline import load
from gen.starter import checkpoint, data, evaluate, judge, scenes, train
from gen.starter.evaluate import frechet, prompts, table
from gen.starter.judge import Judge, Seen, judged
from provenance.recipe import Recipe

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def small() -> Any:
    """Shards of a few scenes, states on disk after every second step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "SHARD", 24)
        patch.setattr(data, "_WITH_PIXELS", 1)
        patch.setattr(judge, "_SHARD", 16)
        patch.setattr(checkpoint, "_SAVED", 2)
        patch.setattr(train, "_SAMPLED", 10**9)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, sprites_folder: Path, small: Any) -> Path:
    """A run with two shards of scenes, of which one has pixels."""
    folder = tmp_path_factory.mktemp("run")
    data.render(folder, sprites_folder, 48, 1)
    return folder


def _weights(file: Path) -> list[torch.Tensor]:
    saved = torch.load(file, weights_only=True)
    assert saved["step"] == 4
    return [*saved["module"].values(), *saved["average"]]


def test_scenes_that_are_there_are_not_drawn_again(run: Path, sprites_folder: Path) -> None:
    files = sorted(run.glob("scenes-*.npz"))
    before = [file.stat().st_mtime_ns for file in files]
    data.render(run, sprites_folder, 48, 1)
    assert [file.stat().st_mtime_ns for file in files] == before
    latents, covered, captions, parts = data.latents_of(run)
    assert latents.shape == (48, 32, 16, 16)
    assert covered.shape == (48, 1, 16, 16)
    outside = covered.clone()
    for part in parts:
        left, top, right, foot = part.box
        outside[part.scene, 0, top:foot, left:right] = 0
        assert set(part.captions) == set(scenes.LANGUAGES)
    assert {part.scene for part in parts} == set(range(48))
    assert covered.max() > 200
    assert outside.max() == 0
    assert len(captions) == 48
    assert set(captions[0]) == set(scenes.LANGUAGES)
    assert [pixels.shape for pixels in data.pixels_of(run)] == [(24, 256, 256, 3)]


@pytest.mark.parametrize(
    ("learn", "file"), [(train.train_flow, "flow.pt"), (train.train_decoder, "decoder.pt")]
)
def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    run: Path, tmp_path: Path, learn: Any, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("straight", "stopped"):
        (tmp_path / name).mkdir()
        for each in [*run.glob("scenes-*"), *run.glob("captions-*")]:
            (tmp_path / name / each.name).symlink_to(each)
        data.autoencoder(run).save_pretrained(tmp_path / name / "vae")
    learn(tmp_path / "straight", 4, batch=2)
    save = checkpoint.Training._save

    def save_and_die(training: checkpoint.Training) -> None:
        save(training)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Training, "_save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            learn(tmp_path / "stopped", 4, batch=2)
    learn(tmp_path / "stopped", 4, batch=2)
    pairs = zip(
        _weights(tmp_path / "straight" / file), _weights(tmp_path / "stopped" / file), strict=True
    )
    assert all(torch.equal(a, b) for a, b in pairs)


def test_what_is_exported_paints_in_both_languages(run: Path, tmp_path: Path) -> None:
    train.train_flow(run, 2, batch=2)
    train.export(run, tmp_path / "model")
    painter = load(resolve(str(tmp_path / "model")))
    for prompt in ("a fox in the forest", "森林里的一只狐狸"):
        recipe = painter.complete(Recipe(prompt, seed=1, steps=2))
        picture = painter.paint(recipe, lambda done, steps: None)
        assert picture.size == (scenes.SIZE, scenes.SIZE)


def test_a_new_run_goes_on_from_a_models_weights(
    run: Path, tmp_path: Path, sprites_folder: Path
) -> None:
    train.train_flow(run, 2, batch=2)
    train.export(run, tmp_path / "model")
    further = tmp_path / "further"
    train.begin(further, tmp_path / "model")
    data.render(further, sprites_folder, 24, 1)
    train.train_flow(further, 1, batch=2, rate=0.0)
    train.export(further, tmp_path / "again")
    before, after = (load_file(tmp_path / each / UNET) for each in ("model", "again"))
    assert all(torch.equal(after[name], before[name]) for name in before)
    with pytest.raises(SystemExit, match="begun already"):
        train.begin(further, tmp_path / "model")


def test_the_encoder_keeps_most_of_what_it_sees(run: Path) -> None:
    model = data.autoencoder(run)
    truth = data.as_input(data.pixels_of(run)[0])
    with torch.no_grad():
        back = model.decode(model.encode(truth).latents, return_dict=False)[0]
    assert (back - truth).square().mean() < 0.05 * truth.var()


def test_the_judge_learns_and_is_kept(tmp_path: Path, sprites_folder: Path, small: Any) -> None:
    made = judge.train(tmp_path, sprites_folder, count=16, steps=2, workers=1)
    kept = judge.load(tmp_path)
    picture = data.as_input(np.full((1, judge.SIDE, judge.SIDE, 3), 90, np.uint8))
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(made(picture), kept(picture), strict=True))
    drawn = scenes.draw(judge.scene_of(2, 0), scenes.load_sprites(sprites_folder))
    (seen,) = judged(kept, [drawn])
    assert seen.setting in scenes.SETTINGS
    assert seen.light in scenes.LIGHTS
    assert seen.objects <= set(scenes.OBJECTS)


def test_prompts_ask_for_what_was_never_drawn_in_both_languages() -> None:
    asked = prompts(80)
    for each in asked:
        names = each.scene.names
        if len(names) == 1:
            assert scenes.held_out(names[0], each.scene.setting)
        else:
            assert scenes.held_out_together(*names)
    assert {(each.language, len(each.scene.names)) for each in asked} == {
        (language, count) for language in scenes.LANGUAGES for count in (1, 2)
    }
    assert asked[0].scene == asked[1].scene
    assert asked[0].prompt != asked[1].prompt


def test_the_table_counts_what_was_followed() -> None:
    asked = prompts(8)
    right = [
        Seen(frozenset(each.scene.names), each.scene.setting, each.scene.light) for each in asked
    ]
    assert table(asked, right).count("100.0%") == 12
    wrong = [seen._replace(objects=frozenset[str]()) for seen in right]
    assert table(asked, wrong).count("| 0.0% |") == 4


def test_a_frechet_distance_is_that_of_gaussians() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, 3))
    assert frechet(rows, rows) == pytest.approx(0, abs=1e-6)
    moved = frechet(rows, rng.normal(size=(4000, 3)) * 2 + [3, 0, 0])
    assert moved == pytest.approx(9 + 3 * (2 - 1) ** 2, rel=0.05)


def test_features_are_of_the_judge() -> None:
    pictures = [Image.new("RGB", (256, 256), colour) for colour in ("red", "navy", "white")]
    assert evaluate.features(Judge().eval(), pictures).shape == (3, 224)
