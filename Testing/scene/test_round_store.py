"""The rounds of a volume go with it: through saving, loading, renaming, and into a scene with another patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import slicer.util
from parameters import Parameters
from scene_parts import addVolume

from UnCoLSegmentLib.Scene import RoundStore, RunScene
from UnCoLSegmentLib.Scene.Rounds import Round


def roundsBelow(name: str) -> list[Round]:
    return RoundStore.read(slicer.util.getNode(name))


def test_no_volume_has_no_rounds() -> None:
    assert RoundStore.read(None) == []


def test_rounds_go_with_their_volume_into_a_scene_where_it_gets_another_id(scene, make_volume, tmp_path: Path) -> None:
    first = addVolume(make_volume(), "Patient A")
    RoundStore.write(first, [Round(("K:1",), model="of A")])
    oldId = first.GetID()
    assert slicer.util.saveScene(str(tmp_path / "a.mrb"))
    scene.Clear(False)
    second = addVolume(make_volume(), "Patient B")
    RoundStore.write(second, [Round(("K:2",), model="of B")])
    assert second.GetID() == oldId

    scene.ReadFromMRB(str(tmp_path / "a.mrb"), False)

    assert [each.model for each in roundsBelow("Patient A")] == ["of A"]
    assert [each.model for each in roundsBelow("Patient B")] == ["of B"]


def test_rounds_stay_with_a_renamed_volume(scene, make_volume) -> None:
    volume = addVolume(make_volume())
    RoundStore.write(volume, [Round(("K:1",))])

    volume.SetName("renamed")

    assert roundsBelow("renamed") == [Round(("K:1",))]


def oldScene(volume: Any) -> Parameters:
    text = '[{"volume": "%s", "annotated": ["K:5"], "model": "liver"}, {"volume": "gone", "annotated": ["K:1"]}]'
    return Parameters(inputVolume=volume, rounds=text % volume.GetID())


def test_rounds_of_a_scene_of_version_0_1_move_to_their_volume_once(scene, make_volume) -> None:
    volume, other = addVolume(make_volume()), addVolume(make_volume(), "other")
    parameters = oldScene(volume)

    [entry] = RunScene.roundsOf(parameters)

    assert (entry.annotated, entry.model) == (("K:5",), "liver")
    assert volume.GetID() not in parameters.rounds
    assert RunScene.roundsOf(parameters) == [entry]
    assert RoundStore.read(other) == []


def test_a_slice_that_a_round_of_version_0_1_has_seen_is_not_scored_as_new(scene, make_volume) -> None:
    volume = addVolume(make_volume())
    run = RunScene.RunScene(oldScene(volume))

    assert run.knownTo("liver") == ("K:5",)
    run.noteRound(Round(("K:5", "K:6"), model="liver-2", base="liver"))
    assert sorted(run.knownTo("liver-2")) == ["K:5", "K:6"]


def test_a_renamed_model_is_renamed_in_the_rounds_of_every_volume(scene, make_volume) -> None:
    volumes = [addVolume(make_volume(), name) for name in ("A", "B")]
    for volume in volumes:
        RoundStore.write(volume, [Round(("K:1",), model="old")])

    RoundStore.renameModel(Parameters(inputVolume=volumes[0], modelName="old"), "old", "new")

    assert [RoundStore.read(volume)[0].model for volume in volumes] == ["new", "new"]
