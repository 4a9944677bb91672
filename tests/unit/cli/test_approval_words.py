"""What an approval asks for, in a sentence that leaves nothing out."""

import json

import pytest

from kmsgw.cli.approval_words import in_words

SERVICE = "/kmsgw.v1.KeyService/"


@pytest.mark.parametrize(
    ("verb", "request_", "words"),
    [
        ("CreateKey", {"key_id": "ehr", "dry_run": False, "reason": "new"}, "Create the key ehr"),
        ("CreateKey", {"key_id": "", "tenant": "lab"}, 'Create the key (generated id); tenant = "lab"'),
        ("RotateKey", {"key": "ehr"}, "Rotate the key ehr: make a new version that encrypts from then on"),
        ("EnableKeyVersion", {"key": "ehr", "version": 2}, "Let version 2 of the key ehr decrypt again"),
        ("DisableKeyVersion", {"key": "ehr", "version": 2}, "Refuse version 2 of the key ehr for every use"),
        (
            "ScheduleKeyDestruction",
            {"key": "ehr", "version": 0, "days": 0, "force": False, "etag": "7"},
            'DESTROY the key ehr with all its versions after 30 days; etag = "7"',
        ),
        (
            "ScheduleKeyDestruction",
            {"key": "ehr", "version": 3, "days": 7, "force": True},
            "DESTROY version 3 of the key ehr after 7 days, ALTHOUGH it was used lately or data may be left under it",
        ),
        (
            "CancelKeyDestruction",
            {"key": "ehr", "version": 0},
            "Cancel the destruction of the key ehr with all its versions, which is left disabled",
        ),
        (
            "SetMinimumDecryptVersion",
            {"key": "ehr", "version": 3, "force": True},
            (
                "Refuse decryption under versions below 3 of the key ehr, for good, "
                "ALTHOUGH one of them was used lately or data may be left under it"
            ),
        ),
        (
            "UpdateKey",
            {
                "key": "ehr",
                "update_mask": "deletion_protection, description, rotation",
                "new_values": {"description": "x, deletion_protection = on", "rotation": {"period": "3600s"}},
            },
            (
                "Change the key ehr: deletion_protection = (none, or off), "
                'description = "x, deletion_protection = on", rotation = {period: "3600s"}'
            ),
        ),
        ("CreateAlias", {"alias": "alias/a", "key": "ehr"}, "Let alias/a lead to the key ehr"),
        ("DeleteAlias", {"alias": "alias/a"}, "Take the name alias/a away from its key"),
        (
            "ImportKey",
            {"key": "ehr", "token": "sha256:00", "wrapped_material": "sha256:01", "labels": {"a": "b"}},
            'Import material from elsewhere as the key ehr, or as a new version of it; labels = {a: "b"}',
        ),
        (
            "ResetOfficer",
            {"officer_id": "amira"},
            "Reset the officer amira: its one-time codes stop working, and it may enrol anew",
        ),
    ],
)
def test_a_request_is_told_in_a_sentence(verb: str, request_: dict[str, object], words: str) -> None:
    assert in_words(SERVICE + verb, json.dumps(request_)) == words


@pytest.mark.parametrize("verb", ["ScheduleKeyDestruction", "ExportKey"])
@pytest.mark.parametrize("text", ['{\n  "new_field": "x"\n}', "no JSON", "[]", "7"])
def test_what_no_sentence_is_for_is_shown_as_it_is(verb: str, text: str) -> None:
    assert in_words(SERVICE + verb, text) == f"{verb} {' '.join(text.split())}"
