from collections import Counter
from pathlib import Path

import pytest

from dynaip.evaluation.benchmarks.dreambooth import read_dreambooth

ASSETS = Path(__file__).parents[3].parent / "shared" / "assets" / "dreambooth"


def test_the_real_data_set_is_read() -> None:
    if not ASSETS.is_dir():
        pytest.skip("the DreamBooth photographs are not beside this checkout")
    manifest = read_dreambooth(ASSETS, pictures=2)
    assert manifest == read_dreambooth(ASSETS / "dataset", pictures=2)
    assert manifest.settings["subjects"] == 15
    assert len(manifest.cases) == 15 * 25
    assert Counter(case.prompt_kind for case in manifest.cases) == {"scene": 300, "look": 75}
    by_id = {case.id: case for case in manifest.cases}
    dog, sloth = by_id["dog-01"], by_id["grey_sloth_plushie-24"]
    assert dog.prompt == "a dog in the snow"
    assert sloth.prompt == "a cube shaped stuffed animal"
    assert by_id["cat-11"].prompt == "a cat wearing a santa hat"
    assert (dog.subjects[0].kind, sloth.subjects[0].kind) == ("animal", "object")
    assert [path.name for path in dog.subjects[0].references][:2] == ["00.jpg", "01.jpg"]
    assert len({seed for case in manifest.cases for seed in case.seeds}) == 750


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not DreamBooth's data set"):
        read_dreambooth(tmp_path)
    (tmp_path / "prompts_and_classes.txt").write_text("subject_name,class\ndog,dog\n")
    with pytest.raises(ValueError, match="25 prompts"):
        read_dreambooth(tmp_path)
