"""edgead records queue and review, as a person without a browser uses them."""

from __future__ import annotations

import json

from recorded import a_line, hear

from edgead.cli.main import main


def test_the_queue_is_listed_and_a_review_takes_a_frame_out_of_it(
    open_records, results, tmp_path, capsys
):
    good, alarm = results
    records = open_records()
    hear(records, (a_line(0, good), good), (a_line(1, alarm), alarm), (a_line(2, alarm), alarm))
    folder = str(tmp_path / "records")
    assert main(["records", "queue", folder]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out[:2]] == [a_line(n, alarm)["id"] for n in (2, 1)]
    assert (
        out[2] == f"next   edgead records review {folder} {a_line(2, alarm)['id']} good --by NAME"
    )
    words = ["records", "review", folder, a_line(2, alarm)["id"], "good", "--by", "Ada"]
    assert main([*words, "--note", "dust", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["label"], told["reviewer"], told["note"]) == ("good", "Ada", "dust")
    assert main(["records", "queue", folder, "--json"]) == 0
    waiting = json.loads(capsys.readouterr().out)["waiting"]
    assert [entry["id"] for entry in waiting] == [a_line(1, alarm)["id"]]
    assert main(["records", "queue", folder, "--camera", "none"]) == 0
    assert capsys.readouterr().out == "nothing waits for review\n"


def test_what_is_missing_or_out_of_place_is_named(open_records, results, tmp_path, capsys):
    good, _ = results
    records = open_records()
    hear(records, (a_line(0, good), good))
    folder = str(tmp_path / "records")
    for words, sentence in (
        (["review", folder, "left-1"], "expected FOLDER ID good or defective --by NAME"),
        (["review", folder, a_line(0, good)["id"], "good"], "--by NAME"),
        (["review", folder, a_line(0, good)["id"], "good", "--by", "Ada"], "has no frame: it was"),
        (["review", folder, "left-1", "good", "--by", "Ada"], "there is no record left-1"),
        (["queue", folder, "left-1"], "edgead records queue"),
        (["queue", folder, "--csv", "a.csv"], "--csv beside queue: it goes with"),
        (["export", folder], "expected --csv FILE, --parquet FILE or --mvtec DIR"),
        (["queue", str(tmp_path)], "expected a folder of records"),
    ):
        assert main(["records", *words]) == 1
        assert sentence in capsys.readouterr().err
