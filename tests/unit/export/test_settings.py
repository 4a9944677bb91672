"""`[[audit.export]]`: every fault is named at once, in the file and in what it names."""

from pathlib import Path

import pytest

from kmsgw.bootstrap.exporter import examine_exports
from kmsgw.cli.development import DevelopmentCa
from kmsgw.config import MirrorExportSettings, OtlpExportSettings, SyslogExportSettings, parse_settings
from kmsgw.errors import ConfigurationError
from tests.unit.test_config import BASE, GOOD, faults_of

SYSLOG = '[[audit.export]]\nkind = "syslog"\nname = "siem"\naddress = "siem.example:6514"\nca = "siem.pem"\n'
OTLP = (
    '[[audit.export]]\nkind = "otlp"\nname = "collector"\nendpoint = "https://collector.example:4317"\nca = "c.pem"\n'
)
MIRROR = '[[audit.export]]\nkind = "mirror"\nname = "other-disk"\nfolder = "mirror"\n'


def test_targets_of_each_kind_with_paths_relative_to_the_file() -> None:
    syslog, otlp, mirror = parse_settings(GOOD + SYSLOG + OTLP + MIRROR, BASE).audit.export
    assert isinstance(syslog, SyslogExportSettings)
    assert isinstance(otlp, OtlpExportSettings)
    assert isinstance(mirror, MirrorExportSettings)
    assert (syslog.ca, mirror.folder) == (BASE / "siem.pem", BASE / "mirror")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (SYSLOG.replace("siem.example:6514", "siem.example"), "audit.export.0.address: use HOST:PORT"),
        (SYSLOG + 'certificate = "a.pem"\n', "audit.export.0: give both or neither of certificate and private_key"),
        (SYSLOG + "max_message_bytes = 100\n", "audit.export.0.max_message_bytes:"),
        (SYSLOG + "colour = 1\n", "audit.export.0.colour: no such field"),
        (SYSLOG.replace('"syslog"', '"relp"'), "audit.export.0:"),
        (OTLP.replace("https:", "http:"), "audit.export.0.endpoint: use https://HOST:PORT"),
        (OTLP.replace('"collector"', '"The Collector"'), "audit.export.0.name: use 1 to 40"),
        (SYSLOG + OTLP.replace('"collector"', '"siem"'), "audit.export: the name 'siem' appears twice"),
        (MIRROR + MIRROR.replace("other-disk", "third"), "audit.export.0.folder: /srv/kmsgw/mirror is another"),
        ("[audit]\nexport = 1\n", "audit.export: write a [[table]] with two brackets"),
    ],
)
def test_a_fault_of_a_target_is_named_with_its_field(text: str, fault: str) -> None:
    found = faults_of(GOOD + text)
    assert any(each.startswith(fault) for each in found), found


@pytest.mark.parametrize("folder", ["audit", "audit/copy", "."])
def test_a_mirror_is_neither_in_the_logs_nor_around_them(folder: str) -> None:
    (fault,) = faults_of(GOOD + MIRROR.replace('folder = "mirror"', f'folder = "{folder}"'))
    assert "keep the mirror apart" in fault


def test_what_the_targets_name_is_tried_at_a_start_and_every_fault_told(tmp_path: Path) -> None:
    authority, other = DevelopmentCa.create(), DevelopmentCa.create()
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    (tmp_path / "no.pem").write_text("no certificate")
    (tmp_path / "client.pem").write_bytes(authority.issue_client("gateway").certificate)
    for name, mode in (("other.key", 0o600), ("open.key", 0o644)):
        (tmp_path / name).write_bytes(other.issue_client("gateway").private_key)
        (tmp_path / name).chmod(mode)

    def target(ca: str, key: str = "") -> SyslogExportSettings:
        pair = {"certificate": tmp_path / "client.pem", "private_key": tmp_path / key} if key else {}
        values = {"kind": "syslog", "name": "siem", "address": "localhost:6514", "ca": tmp_path / ca, **pair}
        return SyslogExportSettings.model_validate(values)

    with pytest.raises(ConfigurationError) as refusal:
        examine_exports(
            [
                target("ca.pem"),
                target("gone.pem"),
                target("no.pem"),
                target("ca.pem", "other.key"),
                target("ca.pem", "open.key"),
                MirrorExportSettings.model_validate({"kind": "mirror", "name": "m", "folder": tmp_path / "nowhere"}),
            ]
        )
    places = [fault.partition(": ")[0] for fault in refusal.value.faults]
    assert places == [
        "audit.export.1.ca",
        "audit.export.2.ca",
        "audit.export.3.private_key",
        "audit.export.4.private_key",
        "audit.export.5.folder",
    ]
    assert "lets others read it" in refusal.value.faults[3]
    assert "PRIVATE" not in str(refusal.value)
